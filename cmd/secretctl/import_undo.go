package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/cmd/secretctl/dotenv"
)

// references is the plan to write back the values that a file refers to.
func references(path string, f *dotenv.File) *plan {
	p := &plan{path: path, file: f}
	for i := range f.Entries() {
		e := &f.Entries()[i]
		m := move{entry: e, index: i}
		if name, ok := dotenv.Reference(e.Value); ok {
			m.name = secret.Name(name) // restore looks at it before it is used
		} else {
			m.leave("it is no reference")
		}
		p.moves = append(p.moves, m)
	}
	return p
}

// restore writes the values back. Nothing is written unless all can be.
func (m *importing) restore(ctx context.Context, files envFiles, plans []*plan) error {
	for _, p := range plans {
		for _, move := range p.moves {
			if _, err := secret.ParseName(string(move.name)); move.taken() && err != nil {
				return fmt.Errorf("%s: line %d: %w", p.path, move.entry.Line, err)
			}
		}
	}
	err := m.w.asOwner(ctx, func(client *broker.Client) error {
		if err := m.mayRestore(ctx, client, plans); err != nil {
			return err
		}
		for _, p := range plans {
			for i := range p.moves {
				if move := &p.moves[i]; move.taken() {
					if err := m.putBack(ctx, client, p, move); err != nil {
						return fmt.Errorf("%s: line %d: %w", p.path, move.entry.Line, err)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !m.dryRun {
		for _, p := range plans {
			err = errors.Join(err, m.rewriteBack(files, p))
		}
	}
	return errors.Join(err, m.report(ctx, plans))
}

// mayRestore refuses files by which an agent would get what it is not granted: what
// is in the file decides which secrets are written into it.
func (m *importing) mayRestore(ctx context.Context, client *broker.Client, plans []*plan) error {
	if m.user == "" {
		var paths []string
		for _, p := range plans {
			paths = append(paths, p.path)
		}
		return refuseAgents(ctx, client, paths, "are written into it", "for a file of an agent's: sudo secretctl import --undo --user NAME FILE…")
	}
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	uid, _ := m.uid()
	at := slices.IndexFunc(status.Agents, func(a broker.AgentStatus) bool { return a.UID == uid })
	for _, p := range plans {
		for _, move := range p.moves {
			if !move.taken() {
				continue
			}
			granted := false
			if at >= 0 {
				check, err := client.Check(ctx, status.Agents[at].Name, string(move.name), "value")
				if err != nil {
					return err
				}
				granted = check.Allow
			}
			if !granted {
				return hinted(fmt.Errorf("%s: line %d: %s is not granted to the user whose file this is", p.path, move.entry.Line, move.name),
					"who may have it is decided by a grant: secretctl check AGENT "+string(move.name))
			}
		}
	}
	return nil
}

// putBack has the value of one secret written in the place of its reference.
func (m *importing) putBack(ctx context.Context, client *broker.Client, p *plan, move *move) error {
	handed, err := client.Lease(ctx, broker.LeaseRequest{Secret: string(move.name), TTLSeconds: 60, Reason: "import --undo"})
	if err != nil {
		return err
	}
	defer handed.Value.Clear()
	if m.dryRun {
		move.action, move.why = actionRestored, "it would be written back"
		return client.Release(ctx, handed.LeaseID)
	}
	written := false
	err = handed.Value.Use(func(value []byte) error {
		written = p.file.Write(move.index, value, dotenv.ReferenceSpelling(move.entry.Value))
		return nil
	})
	switch {
	case err != nil:
		return err
	case !written:
		return hinted(fmt.Errorf("the value of %s cannot be written in a .env file so that it is read again", move.name),
			"take it to where it is needed: secretctl get "+string(move.name))
	}
	move.action, move.why = actionRestored, "it is plaintext again"
	return client.Release(ctx, handed.LeaseID)
}

func (m *importing) rewriteBack(files envFiles, p *plan) error {
	if !slices.ContainsFunc(p.moves, func(m move) bool { return m.taken() }) {
		return nil
	}
	b := p.file.Bytes()
	defer clear(b)
	if err := files.rewrite(p.path, b); err != nil {
		return err
	}
	p.done = true
	return nil
}
