package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// broker reads [broker]. It returns the largest ttl a grant may have, 0 when the
// file does not say it legibly.
func (r *reader) broker(tree *table, b *Broker) (maxTTL time.Duration) {
	b.MaxTTL, b.DefaultTTL, b.MaxConnections = defaultMaxTTL, defaultTTL, defaultMaxConnections
	t, ok := r.table(tree, "broker", "[broker] on a line of its own")
	if !ok {
		return b.MaxTTL
	}
	r.check(t, brokerKeys)
	b.Owners = r.owners(t)
	var okMax, okDefault bool
	b.MaxTTL, okMax = r.duration(t, "max_ttl", defaultMaxTTL)
	b.DefaultTTL, okDefault = r.duration(t, "default_ttl", min(defaultTTL, b.MaxTTL))
	if okMax && okDefault && b.DefaultTTL > b.MaxTTL {
		r.fail(t.get("default_ttl").pos, "lower it, or raise max_ttl", "default_ttl %s is above max_ttl, %s",
			FormatDuration(b.DefaultTTL), FormatDuration(b.MaxTTL))
	}
	// A sanity check: more files than that a process cannot open anyway.
	b.MaxConnections = r.number(t, "max_connections", 1, 65536, defaultMaxConnections)
	if s, at, ok := r.text(t, "agent_socket", `agent_socket = "/run/secretctl/agent.sock"`); ok && r.absolute(at, "agent_socket", s) {
		b.AgentSocket = s
	}
	return b.MaxTTL
}

// owners reads user names and uids; who is named twice is one owner.
func (r *reader) owners(t *table) []Owner {
	const example = `owners = ["joel"]`
	e := t.get("owners")
	if e == nil || !r.is(e, unstable.Array, example) {
		return nil
	}
	var owners []Owner
	for _, item := range e.value.items {
		o := Owner{Name: item.text}
		ok := false
		switch item.kind {
		case unstable.String:
			o.UID, ok = r.uid(item.pos, item.text)
		case unstable.Integer:
			o.UID, ok = r.number32(&entry{key: "uid", pos: item.pos, value: item})
			o.Name = strconv.FormatUint(uint64(o.UID), 10)
		default:
			r.fail(item.pos, "for example: "+example, "%q must hold user names or uids, not %s", e.key, kindNames[item.kind])
		}
		if ok && !slices.ContainsFunc(owners, func(p Owner) bool { return p.UID == o.UID }) {
			owners = append(owners, o)
		}
	}
	return owners
}

// number32 reads a uid.
func (r *reader) number32(e *entry) (uint32, bool) {
	n, ok := r.integer(e, 0, 1<<32-1, "uid = 502")
	return uint32(n), ok && r.usable(e.value.pos, uint32(n))
}

// audit reads [audit].
func (r *reader) audit(tree *table, a *Audit) {
	a.Keep = defaultKeep
	t, ok := r.table(tree, "audit", "[audit] on a line of its own")
	if !ok {
		return
	}
	r.check(t, auditKeys)
	a.Keep, _ = r.duration(t, "keep", defaultKeep)
	command, ok := r.list(t, "anchor", `anchor = ["/usr/local/bin/ship-checkpoint"]`)
	if !ok || !r.absolute(command[0].pos, "the command of anchor", command[0].text) {
		return
	}
	for _, word := range command {
		a.Anchor = append(a.Anchor, word.text)
	}
}

// stores reads [store.NAME] into c.
func (r *reader) stores(tree *table, c *Config) {
	const example = "[store.keychain] with type below it"
	r.named(tree, "store", example, func(name string, at pos, t *table) {
		if name == ageStore {
			r.age(t, &c.Age)
			return
		}
		if !agentName().MatchString(name) || len(name) > maxAgentName {
			r.fail(at, "names are lower case letters, digits and hyphens, at most 64: [store.keychain]", "store name %q cannot be used", name)
		}
		s := Store{Name: name}
		// Also of one with something wrong: what is said about it elsewhere is not
		// another mistake.
		defer func() { c.Stores = append(c.Stores, s) }()
		kind, at2, ok := r.text(t, "type", `type = "keychain"`)
		switch {
		case t.get("type") == nil:
			r.fail(at, `say what it is: type = "keychain"`, "store %q has no type", name)
		case ok && kind == ageStore:
			r.fail(at, "remove it: the embedded store is always there and is called age", "store %q would be a second age store", name)
		case ok:
			s.Type = kind
			s.MaxStale, _ = r.duration(t, "max_stale", 0)
			r.store(t, at2, &s)
		}
	})
	slices.SortFunc(c.Stores, func(a, b Store) int { return strings.Compare(a.Name, b.Name) })
}

// credential is the name of one, as systemd takes it.
var credential = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^credential:[A-Za-z0-9_][A-Za-z0-9_.-]*\z`) })

// isInKeyring reports whether the text names an identity in the user's keyring.
func isInKeyring(s string) bool {
	name, ok := strings.CutPrefix(s, "keychain:")
	_, err := secret.ParseName(name)
	return ok && err == nil
}

// age reads [store.age].
func (r *reader) age(t *table, a *Age) {
	r.check(t, ageKeys)
	if s, at, ok := r.text(t, "identity", `identity = "credential:agekey"`); ok {
		switch {
		case credential().MatchString(s), isInKeyring(s):
			a.Identity = s
		case strings.Contains(s, ":") && !strings.HasPrefix(s, "/"):
			r.fail(at, `"credential:" and letters, digits, dots, hyphens and underscores; "keychain:" and what could be a secret's name; or the path of a file, from / on`, "identity %q is not where an identity can be", s)
		case r.absolute(at, "identity", s):
			a.Identity = s
		}
	}
	items, _ := r.list(t, "recipients", `recipients = ["age1…"]`)
	for _, item := range items {
		if r.options.Recipient != nil {
			if problem, remedy := r.options.Recipient(item.text); problem != "" {
				r.fail(item.pos, remedy, "%s", problem)
				continue
			}
		}
		a.Recipients = append(a.Recipients, item.text)
	}
}

// store reads what a store's type takes.
func (r *reader) store(t *table, at pos, s *Store) {
	i := slices.IndexFunc(r.options.Stores, func(k providers.StoreKind) bool { return k.Name == s.Type })
	if i < 0 {
		var names []string
		for _, k := range r.options.Stores {
			names = append(names, strconv.Quote(k.Name))
		}
		remedy := "type is one of " + strings.Join(names, ", ")
		if len(names) == 0 {
			remedy = "this build has the embedded store alone"
		}
		r.fail(at, remedy, "there is no store type %q", s.Type)
		return
	}
	kind := r.options.Stores[i]
	options, ok := r.pluginOptions(t, at, &plugin{
		who: fmt.Sprintf("store type %q", kind.Name), reserved: []string{"type", "max_stale"}, options: kind.Options,
		check: func(set map[string]any) (providers.Options, error) {
			o, err := kind.NewOptions(set)
			if err == nil {
				_, err = kind.Open(providers.StoreSetup{Name: s.Name, Options: o})
			}
			return o, err
		},
	})
	if ok {
		s.Options, s.Files, s.Fresh = options, filesOf(kind.Options, options), kind.Fresh
		s.Shared = options.Has(providers.SharedOption) && options.Switch(providers.SharedOption)
	}
}

var (
	agentName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9-]*\z`) })
	envName   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\z`) }) // see IsEnv
)

// maxAgentName is the longest name of an agent, in bytes. A sanity check: it is
// part of every audit record.
const maxAgentName = 64

// agents reads [agent.NAME] into c and returns all names declared, those with
// something wrong too: what is said about them elsewhere is not another mistake.
func (r *reader) agents(tree *table, c *Config) (declared []string) {
	r.named(tree, "agent", `[agent.openclaw] with user = "aiagent" below it`, func(name string, at pos, t *table) {
		declared = append(declared, name)
		r.check(t, agentKeys)
		switch {
		case name == "owner":
			r.fail(at, "owners are named in [broker] and need no grant", `an agent cannot be called "owner"`)
		case !agentName().MatchString(name) || len(name) > maxAgentName:
			r.fail(at, "names are lower case letters, digits and hyphens, at most 64: [agent.openclaw]", "agent name %q cannot be used", name)
		}
		a := Agent{Name: name}
		at, ok := r.identity(t, at, &a)
		if !ok {
			return
		}
		if twin, taken := c.AgentByUID(a.UID); taken {
			r.fail(at, "one uid is one agent: give each its own user, or make them one", "agent %q has the uid of agent %q, %d", name, twin.Name, a.UID)
			return
		}
		if a.UID == 0 {
			r.warn(at, "give it a user of its own", "agent %q is root: nothing is kept from it", name)
		}
		a.Exe = r.exe(t)
		c.Agents = append(c.Agents, a)
	})
	return declared
}

// identity reads which uid the agent is. It returns where the file says so.
func (r *reader) identity(t *table, at pos, a *Agent) (pos, bool) {
	const remedy = `name its OS user: user = "aiagent", or uid = 502`
	name, number := t.get("user"), t.get("uid")
	switch {
	case name == nil && number == nil:
		r.fail(at, remedy, "agent %q has neither user nor uid", a.Name)
		return at, false
	case name != nil && number != nil:
		r.fail(number.pos, "keep one of the two", "agent %q has both user and uid", a.Name)
		return at, false
	case name == nil:
		uid, ok := r.number32(number)
		a.UID = uid
		return number.value.pos, ok
	}
	text, at, ok := r.text(t, "user", `user = "aiagent"`)
	if ok {
		a.User = text
		a.UID, ok = r.uid(at, text)
	}
	return at, ok
}

// exe reads the programs an agent is narrowed to.
func (r *reader) exe(t *table) (paths []string) {
	items, _ := r.list(t, "exe", `exe = ["/usr/local/bin/node"]`)
	for _, item := range items {
		if r.absolute(item.pos, "exe", item.text) {
			paths = append(paths, item.text)
		}
	}
	return paths
}

// secrets reads [secret."NAME"] into c.
func (r *reader) secrets(tree *table, c *Config) {
	const example = `[secret."openai/api-key"]`
	r.named(tree, "secret", example, func(text string, at pos, t *table) {
		name, err := secret.ParseName(text)
		if err != nil {
			r.fail(at, "for example: "+example, "%v", err)
		}
		if r.cutName(text, t) {
			return
		}
		r.check(t, secretKeys)
		s := Secret{}
		if store, at, ok := r.text(t, "store", `store = "age"`); ok {
			s.Store = store
			switch {
			case !slices.ContainsFunc(c.Stores, func(s Store) bool { return s.Name == store }):
				r.fail(at, fmt.Sprintf("[store.%s] with type below it; age is always there", store), "there is no store %q", store)
			case name.Own() && store != ageStore:
				r.fail(at, `store = "age": what opens the other stores must be there when they are not`, "%q is one of the broker's own secrets", text)
			}
		}
		s.Ref = r.ref(t, c, name, s.Store)
		if env, at, ok := r.text(t, "env", `env = "OPENAI_API_KEY"`); ok {
			switch s.Env = env; {
			case name.Own():
				r.fail(at, "remove it: names under own/ are the broker's own credentials and are never handed out", "%q has no use for env", text)
			case !IsEnv(env):
				r.fail(at, `letters, digits and underscores: env = "OPENAI_API_KEY"`, "%q cannot be the name of a variable", env)
			}
		}
		s.MaxAge, _ = r.duration(t, "max_age", 0)
		r.rotate(t, &s)
		if s.Grace != nil {
			r.graces[name] = t.get("grace").pos
		}
		if e := t.get("rotate"); e != nil && t.get("ref") != nil {
			r.fail(e.pos, "rotate it where it is kept, and remove this; or remove ref, and let secretctl set keep it", "%q is read where ref says and never written there, so nothing here can replace it", text)
		}
		c.Secrets[name] = s
	})
}

// ref reads where a secret lies in a store in which people keep it.
func (r *reader) ref(t *table, c *Config, name secret.Name, store string) string {
	const example = `ref = "op://Agents/github/token"`
	text, at, ok := r.text(t, "ref", example)
	if !ok {
		return ""
	}
	i := slices.IndexFunc(c.Stores, func(s Store) bool { return s.Name == store })
	switch {
	case name.Own():
		r.fail(at, "remove it: what opens the other stores must be there when they are not", "%q is one of the broker's own secrets", name)
		return ""
	case t.get("store") == nil:
		r.fail(at, `name it: store = "op"`, "ref does not say in which store")
		return ""
	case i < 0: // that has been said
		return ""
	}
	kind := slices.IndexFunc(r.options.Stores, func(k providers.StoreKind) bool { return k.Name == c.Stores[i].Type })
	switch {
	case kind < 0 && store != ageStore: // so has that
	case kind < 0 || r.options.Stores[kind].Reference == nil:
		r.fail(at, "remove it, or name a store that has them", "store %q is of a type that has no references", store)
	case r.passes(at, text, r.options.Stores[kind].Reference):
		return text
	}
	return ""
}

// IsEnv reports whether s can be the name of a variable in an environment.
func IsEnv(s string) bool { return len(s) <= 128 && envName().MatchString(s) }

// ObeyedEnv reports whether a program that is started with a variable of this name
// would run or load what the variable says. A value that somebody else chose is
// not to come under such a name.
func ObeyedEnv(name string) bool {
	for _, begin := range []string{"LD_", "DYLD_", "BASH_FUNC_", "PYTHON", "PERL", "RUBY", "GIT_", "NODE_", "NPM_", "JAVA_", "_JAVA_", "JDK_", "SECRETCTL_"} {
		if strings.HasPrefix(name, begin) {
			return true
		}
	}
	switch name {
	case "PATH", "HOME", "IFS", "ENV", "BASH_ENV", "SHELL", "SHELLOPTS", "BASHOPTS", "PS4", "PROMPT_COMMAND", "EDITOR", "VISUAL", "PAGER",
		"BROWSER", "LESSOPEN", "GCONV_PATH", "LOCPATH", "TMPDIR", "CLASSPATH", "LUA_INIT", "PHPRC", "GLIBC_TUNABLES":
		return true
	}
	return false
}

// cutName reports, and notes as wrong, a name that TOML took apart at its dots
// because it stands without quotes.
func (r *reader) cutName(text string, t *table) bool {
	for _, e := range t.entries {
		if e.value.kind == unstable.InlineTable && e.key != "rotate" {
			r.fail(e.pos, `quote the whole name: [secret."`+text+"."+e.key+`"]`, "%q is a table inside secret %q", e.key, text)
			return true
		}
	}
	return false
}
