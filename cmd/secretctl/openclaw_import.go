package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"secretctl/broker"
	"secretctl/broker/secret"
)

// importer stores values in the vault.
type importer interface {
	Import(ctx context.Context, entries []broker.ImportEntry, dryRun bool) ([]broker.ImportResult, error)
}

// owner imports over the owner's socket.
type owner struct{ w *world }

func (o owner) Import(ctx context.Context, entries []broker.ImportEntry, dryRun bool) (results []broker.ImportResult, err error) {
	err = o.w.asOwner(ctx, func(c *broker.Client) (err error) {
		results, err = c.Import(ctx, entries, broker.ImportOptions{DryRun: dryRun})
		return err
	})
	return results, err
}

// parent imports through the process that started this one and is an owner,
// which this one, having become the agent's user, is not.
type parent struct{ conn io.ReadWriter }

// What goes over the connection are messages without a body (see [send]), and
// behind a request its values, one after the other: from locked memory and into it.
type (
	importRequest struct {
		DryRun  bool          `json:"dry_run"`
		Entries []importedRow `json:"entries"`
	}
	importedRow struct {
		Name string `json:"name"`
		Env  string `json:"env"`
		Size int    `json:"size"`
	}
	importReply struct {
		Results []broker.ImportResult `json:"results"`
		Error   string                `json:"error"`
		Hint    string                `json:"hint"`
	}
)

// maxImport bounds what a child may ask for in one request.
const (
	maxImportEntries = 1024
	maxImportValues  = 2 << 20 // bytes, all values together: they are in locked memory
)

func (p parent) Import(_ context.Context, entries []broker.ImportEntry, dryRun bool) ([]broker.ImportResult, error) {
	r := importRequest{DryRun: dryRun}
	for _, e := range entries {
		r.Entries = append(r.Entries, importedRow{string(e.Name), e.Env, e.Value.Len()})
	}
	if err := send(p.conn, r, nil); err != nil {
		return nil, err
	}
	for _, e := range entries {
		err := e.Value.Use(func(b []byte) error { _, err := p.conn.Write(b); return err })
		if err != nil {
			return nil, fmt.Errorf("handing the values on: %w", err)
		}
	}
	var reply importReply
	if _, err := receive(p.conn, &reply); err != nil {
		return nil, err
	}
	if reply.Error != "" {
		return nil, hinted(errors.New(reply.Error), reply.Hint)
	}
	return reply.Results, nil
}

// serveImports carries out what a child asks for until it hangs up. The child
// runs as the agent's user, who can have it ask for anything: so nothing is
// stored but under the prefix, nothing that is there is replaced, and what was
// called a dry run here is one.
func serveImports(ctx context.Context, conn io.ReadWriter, to importer, prefix string, dryRun bool) error {
	for {
		entries, wanted, err := readImport(conn, prefix)
		if errors.Is(err, errEnded) {
			return nil
		}
		var reply importReply
		if err == nil {
			reply.Results, err = importNew(ctx, to, entries, dryRun || wanted)
		}
		for _, e := range entries {
			e.Value.Clear()
		}
		if err != nil {
			reply.Error, reply.Hint = err.Error(), hintOf(err)
		}
		if err := send(conn, reply, nil); err != nil {
			return err
		}
		if reply.Error != "" {
			return nil
		}
	}
}

// importNew imports what is not there yet.
func importNew(ctx context.Context, to importer, entries []broker.ImportEntry, dryRun bool) ([]broker.ImportResult, error) {
	results, err := to.Import(ctx, entries, true)
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		if r.Action == actionUpdated && !dryRun {
			return nil, hinted(fmt.Errorf("%s is there already, with another value than the agent's files have", r.Name),
				fmt.Sprintf("if it is to be replaced: secretctl rm %s, and run this again; else say another --prefix", r.Name))
		}
	}
	if dryRun {
		return results, nil
	}
	return to.Import(ctx, entries, false)
}

func readImport(conn io.ReadWriter, prefix string) (entries []broker.ImportEntry, dryRun bool, err error) {
	var r importRequest
	if _, err := receive(conn, &r); err != nil {
		return nil, false, err
	}
	total := 0
	for _, row := range r.Entries {
		name, err := secret.ParseName(row.Name)
		total += row.Size
		switch {
		case err != nil:
			return entries, false, err
		case !strings.HasPrefix(row.Name, prefix+"/"):
			return entries, false, fmt.Errorf("the agent's side wants to store %q, which is not below %s/", row.Name, prefix)
		case row.Size < 0, row.Size > broker.MaxValue, total > maxImportValues, len(r.Entries) > maxImportEntries:
			return entries, false, errors.New("the agent's side wants to store too much at once")
		}
		value, err := secret.Fill(row.Size, func(b []byte) error { _, err := io.ReadFull(conn, b); return err })
		if err != nil {
			return entries, false, fmt.Errorf("taking the values over: %w", err)
		}
		entries = append(entries, broker.ImportEntry{Name: name, Env: row.Env, Value: value})
	}
	return entries, r.DryRun, nil
}

// importFD is where a child finds its end of the connection.
const importFD = 3
