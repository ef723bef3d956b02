package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// defaultParallel is how many calls to services are under way at a time.
const defaultParallel = 4

// rotation reads [rotation].
func (r *reader) rotation(tree *table, c *Rotation) {
	c.Timezone, c.Parallel = time.UTC, defaultParallel
	t, ok := r.table(tree, "rotation", "[rotation] on a line of its own")
	if !ok {
		return
	}
	r.check(t, rotationKeys)
	if name, at, ok := r.text(t, "timezone", `timezone = "Europe/Berlin"`); ok {
		zone, err := time.LoadLocation(name)
		if err != nil || name == "" || name == "Local" {
			r.fail(at, `a name of the time zone database: timezone = "Europe/Berlin", or "UTC"`, "there is no time zone %q", name)
		} else {
			c.Timezone = zone
		}
	}
	windows, _ := r.list(t, "freeze", `freeze = ["Fri 16:00-Mon 08:00"]`)
	for _, w := range windows {
		if r.passes(w.pos, w.text, r.options.Freeze) {
			c.Freeze = append(c.Freeze, w.text)
		}
	}
	// A sanity check: a service would refuse so many long before.
	c.Parallel = r.number(t, "parallel", 1, 64, defaultParallel)
}

// passes has a text checked by whoever will read it.
func (r *reader) passes(at pos, text string, check func(string) (problem, remedy string)) bool {
	if check == nil {
		return true
	}
	problem, remedy := check(text)
	if problem != "" {
		r.fail(at, remedy, "%s", problem)
	}
	return problem == ""
}

// rotate reads of a secret's table what has to do with its rotation.
func (r *reader) rotate(t *table, s *Secret) {
	const example = `rotate = { provider = "generate", schedule = "0 4 1 * *" }`
	if e := t.get("rotate"); e != nil && r.is(e, unstable.InlineTable, example) {
		s.Rotate = r.provider(e)
	}
	s.Announce = r.commands(t)
	s.Confirm = r.command(t.get("confirm"), "confirm", `confirm = ["/usr/local/bin/gateway-uses-it"]`)
	if t.get("grace") != nil {
		if d, ok := r.span(t, "grace"); ok {
			s.Grace = &d
		}
	}
	if t.get("grace_hard") != nil {
		if d, ok := r.span(t, "grace_hard"); ok {
			s.GraceHard = d
		}
	}
	for _, key := range []string{"confirm", "grace", "grace_hard"} {
		if e := t.get(key); e != nil && t.get("rotate") == nil {
			r.warn(e.pos, "add rotate, or remove it", "%q has no use without rotate", key)
		}
	}
}

// span is a duration that may be 0.
func (r *reader) span(t *table, key string) (d time.Duration, ok bool) {
	if s := t.get(key); s.value.kind == unstable.String && (s.value.text == "0" || s.value.text == "0s") {
		return 0, true
	}
	return r.duration(t, key, 0)
}

// commands reads announce: a list of commands.
func (r *reader) commands(t *table) (out [][]string) {
	const example = `announce = [["/usr/local/bin/tell-the-gateway"]]`
	e := t.get("announce")
	if e == nil || !r.is(e, unstable.Array, example) {
		return nil
	}
	for _, item := range e.value.items {
		if argv := r.command(&entry{key: "announce", pos: e.pos, value: item}, "announce", example); argv != nil {
			out = append(out, argv)
		}
	}
	if len(e.value.items) == 0 {
		r.fail(e.pos, "fill it, or remove the line", "%q is empty", "announce")
	}
	return out
}

// command reads one command with its arguments.
func (r *reader) command(e *entry, what, example string) (argv []string) {
	if e == nil || !r.is(e, unstable.Array, example) {
		return nil
	}
	if len(e.value.items) == 0 {
		r.fail(e.pos, "for example: "+example, "a command of %q is empty", what)
		return nil
	}
	for _, word := range e.value.items {
		if word.kind != unstable.String || strings.ContainsRune(word.text, 0) {
			r.fail(e.pos, "for example: "+example, "%q must hold text", what)
			return nil
		}
		argv = append(argv, word.text)
	}
	if !r.absolute(e.pos, "the command of "+what, argv[0]) {
		return nil
	}
	return argv
}

// provider reads what rotate is set to.
func (r *reader) provider(e *entry) *Rotate {
	t := e.value.table
	name, at, ok := r.text(t, "provider", `provider = "generate"`)
	if t.get("provider") == nil {
		r.fail(e.pos, `name what replaces it: provider = "generate"; secretctl providers lists them`, "rotate has no provider")
	}
	if !ok {
		return nil
	}
	var kind providers.Kind
	if r.options.Provider != nil {
		kind, ok = r.options.Provider(name)
	}
	if r.options.Provider == nil || !ok {
		r.fail(at, "secretctl providers lists those there are", "there is no provider %q", name)
		return nil
	}
	out := &Rotate{Provider: name, Schedule: kind.Schedule}
	if expr, at, ok := r.text(t, "schedule", `schedule = "0 4 1 * *"`); ok {
		switch {
		case kind.Shape == providers.ShapeManual && expr != "":
			r.fail(at, "remove it, and set max_age: then it becomes overdue", "credentials of %q are made by hand, so no schedule can replace them", name)
		case expr == "":
			out.Schedule = ""
		case r.passes(at, expr, r.options.Schedule):
			out.Schedule = expr
		}
	}
	options, ok := r.pluginOptions(t, e.pos, &plugin{
		who: fmt.Sprintf("provider %q", kind.Name), reserved: []string{"provider", "schedule"}, options: kind.Options,
		check: func(set map[string]any) (providers.Options, error) {
			o, err := kind.NewOptions(set)
			if err == nil {
				_, err = kind.Open(o)
			}
			return o, err
		},
	})
	if !ok {
		return nil
	}
	out.Options, out.Files = options, filesOf(kind.Options, options)
	for _, o := range kind.Options {
		if o.Type == providers.Own && options.IsSet(o.Name) {
			out.Managing = append(out.Managing, options.Own(o.Name))
		}
	}
	if kind.Accounts != nil {
		out.Accounts = kind.Accounts(options)
	}
	return out
}

// checkManaging refuses credentials that manage each other: when one of them is
// lost, so are all.
func (r *reader) checkManaging(c *Config) {
	with := make(map[secret.Name][]secret.Name)
	for name, s := range c.Secrets {
		if s.Rotate != nil && len(s.Rotate.Managing) > 0 {
			with[name] = s.Rotate.Managing
		}
	}
	for _, name := range slices.Sorted(maps.Keys(with)) {
		if chain := cycle(with, name, nil); chain != nil {
			r.fail(pos{}, "give one of them another managing credential, or rotate it by hand", "%s is rotated with itself in the end: %s", name, strings.Join(chain, " with "))
			return
		}
	}
}

// checkAccounts refuses secrets that would end each other's credentials.
func (r *reader) checkAccounts(c *Config) {
	of := make(map[string]secret.Name)
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		s := c.Secrets[name]
		if s.Rotate == nil {
			continue
		}
		for _, a := range s.Rotate.Accounts {
			key := s.Rotate.Provider + " " + a
			if other, taken := of[key]; taken {
				r.fail(pos{}, "give each its own; or have both consumers use one secret",
					"%s and %s are both rotated with %s: rotating one would end the other's credential", other, name, a)
				return
			}
			of[key] = name
		}
	}
}

// cycle returns the way from name back to itself, nil when there is none.
func cycle(with map[secret.Name][]secret.Name, name secret.Name, way []string) []string {
	if slices.Contains(way, string(name)) {
		if way[0] == string(name) {
			return append(way, string(name))
		}
		return nil
	}
	way = append(way, string(name))
	for _, next := range with[name] {
		if found := cycle(with, next, slices.Clone(way)); found != nil {
			return found
		}
	}
	return nil
}
