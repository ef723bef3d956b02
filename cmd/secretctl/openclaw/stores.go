package openclaw

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"secretctl/cmd/secretctl/json5"
)

// storesScript reads OpenClaw's databases where they can be read without linking
// a database into secretctl, which is started anew for every answer: in the node
// that OpenClaw needs anyway.
//
//go:embed stores.js
var storesScript string

// maxStores is the largest answer of the script, in bytes. A sanity check.
const maxStores = 8 << 20

// Node is the program that OpenClaw runs on, and what it works on.
type Node struct {
	Path string   // of the program
	Dir  string   // OpenClaw's
	Env  []string // of the process
}

// AddStores adds the credentials of the auth-profile stores: one for each agent,
// and the one they share.
func (f *Found) AddStores(ctx context.Context, n Node) error {
	text, err := n.run(ctx, map[string]any{"read": true})
	defer clear(text)
	if err != nil {
		return fmt.Errorf("reading the auth-profile stores: %w", err)
	}
	root, err := json5.ParseJSON(text)
	if err != nil {
		return fmt.Errorf("reading the auth-profile stores: %w", err)
	}
	for _, store := range root.At("stores").Items {
		file := string(store.Get("file").AppendText(nil, text))
		agent := string(store.Get("agent").AppendText(nil, text))
		profiles := store.At("store", "profiles")
		if profiles == nil {
			continue
		}
		for _, m := range profiles.Members {
			if err := f.addProfile(file, agent, m.Key, m.Value, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// addProfile adds the credential of one auth profile.
func (f *Found) addProfile(file, agent, id string, profile *json5.Node, text []byte) error {
	c := &Credential{File: file, Agent: agent, Provider: string(profile.Get("provider").AppendText(nil, text))}
	switch kind := string(profile.Get("type").AppendText(nil, text)); kind {
	case "api_key":
		c.Type, c.Path = "auth-profiles.api_key.key", []string{"profiles", id, "key"}
	case "token":
		c.Type, c.Path = "auth-profiles.token.token", []string{"profiles", id, "token"}
	default:
		if kind == "oauth" {
			f.Left = append(f.Left, Left{file, "profiles." + id, "is an OAuth login, which OpenClaw renews by itself: it cannot be a reference"})
		}
		return nil
	}
	node := profile.Get(c.Path[2])
	value := node.AppendText(nil, text)
	defer clear(value)
	if len(bytes.TrimSpace(value)) == 0 || profile.Get(c.Path[2]+"Ref") != nil {
		return nil
	}
	return f.add(c, value)
}

// shared reports whether the credential is a profile of the shared store.
func (c *Credential) shared() bool {
	return c.Agent == "" && strings.HasPrefix(c.Type, "auth-profiles.")
}

// change is an order to replace one value, if it is still the one that is in the
// vault, which the digest tells.
type change struct {
	Profile string `json:"profile"`
	Field   string `json:"field"`
	Ref     Ref    `json:"ref"`
	SHA256  string `json:"sha256"`
}

// ReplaceShared makes references of the profiles in the shared store, for which
// OpenClaw's own plan has no target, and returns how many.
func (n Node) ReplaceShared(ctx context.Context, credentials []*Credential) (int, error) {
	var changes []change
	for _, c := range credentials {
		if !c.shared() {
			continue
		}
		var sum [sha256.Size]byte
		if err := c.Value.Use(func(b []byte) error { sum = sha256.Sum256(b); return nil }); err != nil {
			return 0, err
		}
		changes = append(changes, change{c.Path[1], c.Path[2], RefTo(c.Name), hex.EncodeToString(sum[:])})
	}
	if len(changes) == 0 {
		return 0, nil
	}
	text, err := n.run(ctx, map[string]any{"changes": changes})
	if err != nil {
		return 0, fmt.Errorf("rewriting the shared auth-profile store: %w", err)
	}
	var answer struct{ Replaced int }
	return answer.Replaced, json.Unmarshal(text, &answer)
}

// Compact removes what databases keep of replaced values.
func (n Node) Compact(ctx context.Context, files []string) error {
	_, err := n.run(ctx, map[string]any{"compact": files})
	if err != nil {
		return fmt.Errorf("compacting %s: %w", strings.Join(files, ", "), err)
	}
	return nil
}

// run has the script carry out an order. What it answers may hold credentials;
// what it complains of is not repeated, for the same reason.
func (n Node) run(ctx context.Context, order map[string]any) ([]byte, error) {
	stdin, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, n.Path, "-e", storesScript, n.Dir)
	cmd.Env, cmd.Dir, cmd.Stdin = n.Env, n.Dir, bytes.NewReader(stdin)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	text := make([]byte, maxStores)
	size, err := io.ReadFull(stdout, text)
	if ended := cmd.Wait(); ended != nil {
		clear(text)
		return nil, fmt.Errorf("%s: %w (is it the node that OpenClaw runs on, 24 or newer?)", n.Path, ended)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		clear(text)
		return nil, errors.New("the answer of node is empty, or too large")
	}
	return text[:size], nil
}
