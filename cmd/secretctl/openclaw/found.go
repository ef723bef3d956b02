package openclaw

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"secretctl/broker/secret"
	"secretctl/broker/shape"
	"secretctl/cmd/secretctl/json5"
)

// Credential is a value in one of OpenClaw's files that can become a reference.
type Credential struct {
	File  string   // below OpenClaw's directory
	Path  []string // in the config, or in the auth-profile store
	Type  string   // of a target of the plan
	Env   string   // the variable of .env that has the value; "" when the file itself has it
	Name  string   // of the secret
	Value secret.Value

	Agent    string // whose auth-profile store it is; "" for the config and the shared store
	Provider string // of the auth profile
}

// Left is a credential that stays where it is.
type Left struct{ File, Path, Why string }

// Found is what a look through OpenClaw's files has found.
type Found struct {
	Credentials []*Credential
	Left        []Left
}

// Clear clears the values.
func (f *Found) Clear() {
	for _, c := range f.Credentials {
		c.Value.Clear()
	}
}

// Environment is the variables of OpenClaw's .env.
type Environment interface {
	// Lookup returns a copy of a variable's value, which the caller clears, and the
	// file it is in.
	Lookup(key string) (value []byte, file string, ok bool)
}

// redacted is what OpenClaw shows in the place of a credential, and what one of
// its bugs has written into configs.
const redacted = "__OPENCLAW_REDACTED__"

// variable matches the spellings of a reference to the environment.
var variable = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\$(?:\{([A-Z][A-Z0-9_]{0,127})\}|([A-Z][A-Z0-9_]{0,127}))$`)
})

// AddConfig adds the credentials of a config. Those of gateway.auth are left
// unless they are asked for: a gateway whose own token is a reference does not
// start while the broker is down.
func (f *Found) AddConfig(c *Config, env Environment, gatewayAuth bool) error {
	keys := make([]string, 0, len(c.leaves))
	for key := range c.leaves {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		l := c.leaves[key]
		p := patternOf(l.path)
		switch {
		case p == nil && l.path[0] == "env" && l.looksSecret():
			f.leave(l, "is a variable for OpenClaw's programs, where no reference can be")
		case p == nil:
		case !gatewayAuth && p[0] == "gateway" && p[1] == "auth":
			if l.node.Kind == json5.String {
				f.leave(l, "stays unless --include-gateway-auth is given: with it, no gateway starts while the broker is down")
			}
		default:
			if err := f.addLeaf(l, p, env); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *Found) leave(l leaf, why string) {
	f.Left = append(f.Left, Left{l.file.Name, strings.Join(l.path, "."), why})
}

func (f *Found) addLeaf(l leaf, p pattern, env Environment) error {
	if l.node.Kind == json5.Object {
		switch l.text("source") {
		case "env":
			return f.addVariable(l, p, l.text("id"), env)
		case "store":
			f.leave(l, "is in OpenClaw's own store, where it rests as plaintext: openclaw secrets store")
		}
		return nil
	}
	text := l.node.AppendText(make([]byte, 0, l.node.End-l.node.Start), l.file.Text)
	defer clear(text)
	m := variable().FindSubmatch(text)
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil
	case string(text) == redacted:
		f.leave(l, "is the word that OpenClaw shows in the place of a value: the value is lost")
		return nil
	case m != nil:
		return f.addVariable(l, p, string(m[1])+string(m[2]), env)
	case bytes.Contains(text, []byte("${")):
		f.leave(l, "is put together with a variable: OpenClaw's references are whole values")
		return nil
	}
	return f.add(&Credential{File: l.file.Name, Path: l.path, Type: p.String()}, text)
}

// looksSecret reports whether a string is a credential by its looks and its key.
func (l leaf) looksSecret() bool {
	text := l.node.AppendText(nil, l.file.Text)
	defer clear(text)
	_, is := shape.LooksSecret(l.path[len(l.path)-1], text)
	return is
}

// addVariable adds what the config takes from the environment.
func (f *Found) addVariable(l leaf, p pattern, key string, env Environment) error {
	value, file, ok := env.Lookup(key)
	defer clear(value)
	if !ok || len(bytes.TrimSpace(value)) == 0 {
		f.leave(l, "is the variable "+key+", which comes from somewhere else than OpenClaw's .env")
		return nil
	}
	return f.add(&Credential{File: file, Path: l.path, Type: p.String(), Env: key}, value)
}

// add takes a credential with its value, which it clears. OpenClaw does without
// the space around a value, and so do we.
func (f *Found) add(c *Credential, value []byte) (err error) {
	if !secret.Text(value) {
		f.Left = append(f.Left, Left{c.File, strings.Join(c.Path, "."), "is not text"})
		return nil
	}
	if c.Value, err = secret.New(bytes.TrimSpace(value)); err != nil {
		return fmt.Errorf("taking %s: %w", strings.Join(c.Path, "."), err)
	}
	f.Credentials = append(f.Credentials, c)
	return nil
}

// AssignNames names the secrets. One value is one secret, wherever it lies, so that
// it is rotated once.
func (f *Found) AssignNames(prefix string) error {
	taken := map[string]*Credential{}
	for i, c := range f.Credentials {
		for _, earlier := range f.Credentials[:i] {
			if earlier.Value.Equal(c.Value) {
				c.Name = earlier.Name
				break
			}
		}
		if c.Name != "" {
			continue
		}
		for _, name := range []string{c.shortName(), words(c.Path, true)} {
			if name = prefix + "/" + name; taken[name] == nil {
				c.Name = name
				break
			}
		}
		if _, err := secret.ParseName(c.Name); err != nil {
			return fmt.Errorf("%s in %s cannot be given a name of its own: rename its key", strings.Join(c.Path, "."), c.File)
		}
		taken[c.Name] = c
	}
	return nil
}

// shortName is a name that a person would give.
func (c *Credential) shortName() string {
	if c.Provider == "" {
		return words(c.Path, false)
	}
	profile, _ := strings.CutSuffix(c.Path[1], ":default")
	if c.Path[2] == "key" {
		return words([]string{profile, "apiKey"}, false)
	}
	return words([]string{profile, c.Path[2]}, false)
}
