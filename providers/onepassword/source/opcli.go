package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"time"

	"secretctl/providers"
	"secretctl/providers/onepassword/wire"
)

// opCLI is the op program, of version 2.30 or later. It gets the token by its
// environment and items by its stdin, and nothing of either by its arguments.
type opCLI struct {
	path, token string
	transport   *Transport // which counts, and knows how long a command may take
	start       func(*exec.Cmd) error
}

// lastWords is how long after its end of time the program may take to end.
const lastWords = time.Second

// run runs the program and returns what it printed.
func (o *opCLI) run(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	if err := providers.Trusted("the op program", o.path); err != nil {
		return nil, &wire.Error{Kind: wire.Unavailable, Problem: err.Error(), Remedy: "let nobody but root and the broker's user write it, or a directory above it"}
	}
	if o.transport.writing && slices.Contains([]string{"create", "edit", "delete"}, args[1]) {
		o.transport.writes++
	} else {
		o.transport.reads++
	}
	ctx, stop := context.WithDeadline(ctx, o.transport.end)
	defer stop()
	cmd := exec.CommandContext(ctx, o.path, append(args, "--format", "json")...)
	cmd.Dir, cmd.WaitDelay = "/", lastWords
	// Its cache would be a process that stays, and show a change late.
	cmd.Env = []string{"OP_SERVICE_ACCOUNT_TOKEN=" + o.token, "OP_CACHE=false", "NO_COLOR=1"}
	if me, err := user.Current(); err == nil {
		cmd.Env = append(cmd.Env, "HOME="+me.HomeDir) // where its settings are
	}
	for _, key := range wire.PassedOn {
		if value, ok := os.LookupEnv(key); ok {
			cmd.Env = append(cmd.Env, key+"="+value)
		}
	}
	cmd.Stdin = bytes.NewReader(stdin)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{&out, maxAnswer}, &limited{&words, maxWords}
	switch err := o.start(cmd); {
	case err == nil:
		return out.Bytes(), nil
	case ctx.Err() != nil:
		return nil, &wire.Error{Kind: wire.Unavailable, Problem: "the op program did not end in time", Remedy: "is this machine online?"}
	case !isExit(err):
		return nil, &wire.Error{Kind: wire.Unavailable, Problem: fmt.Sprintf("the op program %q cannot be run", o.path), Remedy: o.path + " --version"}
	}
	return nil, saidBy(words.String())
}

func isExit(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit)
}

// maxWords is how much of what the program says of an error is looked at, in bytes.
const maxWords = 64 << 10

// limited takes so much and no more, and never fails: the program is not held up.
type limited struct {
	to   io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	_, err := l.to.Write(b[:n])
	return len(b), err
}

// saidBy says what the program's words mean, as far as they are documented. None of
// them says that something is not there: that is what lists are asked for.
func saidBy(words string) *wire.Error {
	err := errors.New(words)
	switch {
	case says(err, "too many requests", "rate limit", "429"):
		return &wire.Error{Kind: wire.RateLimited, Problem: "1Password was asked more often than the account may", Remedy: "op service-account ratelimit shows which limit it is"}
	case says(err, "not currently signed in", "unauthorized", "401", "not authenticated", "service account token", "service account deserialization"):
		return &wire.Error{Kind: wire.Refused, Auth: true, Problem: "1Password does not take the token: it has expired, was revoked, or is another account's"}
	case says(err, "permission", "forbidden", "403", "not authorized"):
		return &wire.Error{Kind: wire.Refused, Problem: "1Password does not let the service account do this", Remedy: "a service account must be made with read_items and write_items in the vault: what it may cannot be changed later"}
	case says(err, "dial tcp", "no such host", "network", "timeout", "connection", "tls:", "x509"):
		return &wire.Error{Kind: wire.Unavailable, Problem: "the op program could not reach 1Password", Remedy: "is this machine online?"}
	}
	return errUntold
}

// errUntold is what comes of the program's other words.
var errUntold = &wire.Error{Kind: wire.Unavailable, Problem: "the op program failed for a reason that is not told apart", Remedy: "op vault list, with the service account's token, may show it"}

// list runs a command whose answer is a list.
func (o *opCLI) list(ctx context.Context, args ...string) (out []overview, err error) {
	b, err := o.run(ctx, nil, args...)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, nil // it prints nothing of nothing
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, notUnderstood("a list")
	}
	return out, nil
}

func (o *opCLI) vaults(ctx context.Context) ([]overview, error) { return o.list(ctx, "vault", "list") }

func (o *opCLI) items(ctx context.Context, vault string) ([]overview, error) {
	return o.list(ctx, "item", "list", "--vault", vault)
}

// get asks for all items with one command. That fails as a whole where one is not
// there, so then it is asked for those that are.
func (o *opCLI) get(ctx context.Context, vault string, ids []string) ([]json.RawMessage, error) {
	out, failed := o.getAll(ctx, vault, ids)
	if failed != errUntold {
		return out, failed
	}
	all, err := o.items(ctx, vault)
	if err != nil {
		return nil, err
	}
	there := slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return !slices.ContainsFunc(all, func(item overview) bool { return item.ID == id })
	})
	if len(there) == len(ids) {
		return nil, failed
	}
	return o.getAll(ctx, vault, there)
}

func (o *opCLI) getAll(ctx context.Context, vault string, ids []string) (out []json.RawMessage, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	args := []string{"item", "get", ids[0]}
	var stdin []byte
	if len(ids) > 1 {
		args[2] = "-"
		wanted := make([]plainID, len(ids))
		for i, id := range ids {
			wanted[i].ID = id
		}
		if stdin, err = json.Marshal(wanted); err != nil {
			return nil, err
		}
	}
	b, err := o.run(ctx, stdin, append(args, "--vault", vault, "--reveal")...)
	if err != nil {
		return nil, err
	}
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		var item json.RawMessage
		switch err := d.Decode(&item); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, notUnderstood("an item")
		}
		out = append(out, item)
	}
}

func (o *opCLI) create(ctx context.Context, vault string, item []byte) (json.RawMessage, error) {
	return o.run(ctx, item, "item", "create", "-", "--vault", vault)
}

// put has no "-": op would take it for an assignment, change nothing, and say that
// all is well.
func (o *opCLI) put(ctx context.Context, vault, id string, item []byte) error {
	b, err := o.run(ctx, item, "item", "edit", id, "--vault", vault)
	if err != nil {
		return err
	}
	var now, was plainItem
	if json.Unmarshal(b, &now) != nil || json.Unmarshal(item, &was) != nil || now.ID != id || now.Version == was.Version {
		return notUnderstood("an answer to an edit")
	}
	return nil
}

func (o *opCLI) remove(ctx context.Context, vault, id string) error {
	_, err := o.run(ctx, nil, "item", "delete", id, "--vault", vault)
	if err != errUntold {
		return err
	}
	all, listed := o.items(ctx, vault)
	if listed == nil && !slices.ContainsFunc(all, func(item overview) bool { return item.ID == id }) {
		return nil
	}
	return err
}
