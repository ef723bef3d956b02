package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"secretctl/broker"
	"secretctl/broker/mask"
	"secretctl/broker/secret"
	"secretctl/cmd/secretctl/child"
)

// filesVariable tells a command where its files are.
const filesVariable = "SECRETCTL_FILES"

// values are what was leased, by name.
type values map[secret.Name]*broker.Handed

func (v values) add(taken []*broker.Handed) {
	for _, h := range taken {
		v[secret.Name(h.Secret)] = h
	}
}

func (v values) clear() {
	for _, h := range v {
		h.Value.Clear()
	}
}

// names asks the broker for what is not said in the arguments, and returns the
// names of all secrets that are wanted.
func (r *runner) names(ctx context.Context, c *broker.Client, s broker.Socket) ([]secret.Name, error) {
	p := r.plan
	owner := !p.asAgent && isOwners(ctx, c, s)
	if owner && len(p.envFiles) > 0 {
		if err := refuseAgents(ctx, c, p.envFiles, "the command gets", "move it to where only you can write, or say --as-agent"); err != nil {
			return nil, err
		}
	}
	r.assigned = nil
	for _, path := range p.envFiles {
		more, err := readEnvFile(path)
		if err != nil {
			return nil, err
		}
		r.assigned = append(r.assigned, more...)
	}
	for _, wish := range p.env {
		if wish.key == "" {
			var err error
			if wish.key, err = variableOf(ctx, c, owner, wish.name); err != nil {
				return nil, err
			}
		}
		r.assigned = append(r.assigned, assignment{key: wish.key, name: wish.name})
	}
	var names []secret.Name
	seen := make(map[secret.Name]bool)
	add := func(name secret.Name) {
		if name != "" && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, a := range r.assigned {
		add(a.name)
	}
	for _, f := range p.files {
		add(f.name)
	}
	return names, nil
}

// isOwners reports whether a socket is the owner's. Where only its path is known
// the answers tell.
func isOwners(ctx context.Context, c *broker.Client, s broker.Socket) bool {
	if s != anySocket {
		return s == broker.OwnerSocket
	}
	_, err := c.Status(ctx)
	return err == nil
}

// variableOf returns the variable that the config names for a secret.
func variableOf(ctx context.Context, c *broker.Client, owner bool, name secret.Name) (string, error) {
	key := ""
	if owner {
		all, err := c.List(ctx, string(name))
		if err != nil {
			return "", err
		}
		for _, s := range all {
			key = s.Env
		}
	} else {
		all, err := c.Available(ctx)
		if err != nil {
			return "", err
		}
		for _, s := range all {
			if s.Name == string(name) {
				key = s.Env
			}
		}
	}
	if key == "" {
		likely := strings.ToUpper(strings.NewReplacer("/", "_", "-", "_", ".", "_").Replace(string(name)))
		return "", hinted(fmt.Errorf("no variable is known for %q", name), fmt.Sprintf("--env %s=%s", likely, name))
	}
	return key, nil
}

// environment returns the command's environment: what this process has, and the
// assignments over it, of which the last counts. The caller clears it, or the
// run of the command does.
func (r *runner) environment(v values, inherited []string, files *child.Dir) ([]byte, error) {
	last := make(map[string]int) // by key, the assignment that counts
	for i, a := range r.assigned {
		last[a.key] = i
	}
	size := len(filesVariable) + 2
	if files != nil {
		size += len(files.Path())
	}
	for _, entry := range inherited {
		size += len(entry) + 1
	}
	for _, a := range r.assigned {
		size += len(a.key) + len(a.plain) + 2
		if h := v[a.name]; h != nil {
			size += h.Value.Len()
		}
	}
	b := make([]byte, 0, size) // it must not grow: what it grew out of would stay
	for _, entry := range inherited {
		key, _, _ := strings.Cut(entry, "=")
		if _, replaced := last[key]; !replaced && (files == nil || key != filesVariable) {
			b = append(append(b, entry...), 0)
		}
	}
	for i, a := range r.assigned {
		if last[a.key] != i {
			continue
		}
		b = append(append(b, a.key...), '=')
		if a.name == "" {
			b = append(b, a.plain...)
		} else if err := v[a.name].Value.Use(func(value []byte) error {
			if bytes.IndexByte(value, 0) >= 0 {
				return hinted(fmt.Errorf("%q holds a NUL, which no environment can", a.name), fmt.Sprintf("--file %s=PATH", a.name))
			}
			b = append(b, value...)
			return nil
		}); err != nil {
			clear(b)
			return nil, err
		}
		b = append(b, 0)
	}
	if files != nil {
		b = append(append(append(b, filesVariable...), '='), files.Path()...)
		b = append(b, 0)
	}
	return b, nil
}

// makeFiles makes the files that were asked for; nil is none.
func (r *runner) makeFiles(v values) (*child.Dir, error) {
	if len(r.plan.files) == 0 {
		return nil, nil
	}
	dir, err := child.NewDir(child.Roots(r.w.getenv("XDG_RUNTIME_DIR"))[0])
	if err != nil {
		return nil, err
	}
	for _, f := range r.plan.files {
		err := v[f.name].Value.Use(func(b []byte) error { return dir.Put(f.path, b) })
		if err != nil {
			return nil, errors.Join(fmt.Errorf("making the file of %q: %w", f.name, err), dir.Remove())
		}
	}
	return dir, nil
}

// learn adds the values to those that are masked in what the command prints, and
// says of which it cannot.
func (r *runner) learn(v values) error {
	if r.plan.noMask {
		return nil
	}
	for name, h := range v {
		var unmasked error
		err := h.Value.Use(func(b []byte) error {
			r.known, unmasked = r.salt.Fingerprints(r.known, string(name), b)
			return nil
		})
		if err != nil {
			return err
		}
		if unmasked != nil {
			r.w.say("%s is not masked in what %s prints: %v", name, r.plan.argv[0], unmasked)
		}
	}
	r.set.Store(mask.New(r.salt, r.known))
	return nil
}
