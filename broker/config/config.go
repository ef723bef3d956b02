package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"time"

	"secretctl/broker/grant"
	"secretctl/broker/secret"
)

// Config is what secretctl.toml says, checked. It must not be changed.
type Config struct {
	Broker   Broker
	Audit    Audit
	Agents   []Agent // sorted by name
	Secrets  map[secret.Name]Secret
	Stores   []Store       // sorted by name
	Policy   *grant.Policy // never nil
	Hash     string        // 16 hex digits of the file's sha256, to tell two versions apart
	Warnings []*Error      // allowed, and probably not meant; in the order of the file
}

// Broker is the [broker] table.
type Broker struct {
	Owners         []Owner       // besides root and the broker's own uid, which always are
	MaxTTL         time.Duration // no lease lives longer between renewals; 1h unless set
	DefaultTTL     time.Duration // of a lease for which nothing was asked; 10m unless set, never above MaxTTL
	MaxConnections int           // for one uid; 128 unless set
	AgentSocket    string        // absolute path; "": below the home
}

// Owner is a person the broker obeys.
type Owner struct {
	Name string // as written: a user name, or a uid's digits
	UID  uint32
}

// Audit is the [audit] table.
type Audit struct {
	Anchor []string      // command and arguments that get each signed checkpoint; nil: none
	Keep   time.Duration // how long records are kept; 400d unless set
}

// Agent is an OS user that the broker serves.
type Agent struct {
	Name string
	User string // as written; "" when the file gives the uid
	UID  uint32
	Exe  []string // absolute paths that narrow who may ask; nil: any program of the uid
}

// Secret is what the file says of one secret. It need not exist in the vault.
type Secret struct {
	Store  string        // "": wherever the ledger has it
	Env    string        // name of the variable `run` offers it under; "": the ledger's
	MaxAge time.Duration // older is overdue; 0: never
}

// Store is a place where values rest.
type Store struct {
	Name, Type string
}

// Defaults of what the file leaves out.
const (
	defaultMaxTTL         = time.Hour
	defaultTTL            = 10 * time.Minute
	defaultMaxConnections = 128
	defaultKeep           = 400 * day
)

// ageStore is the embedded store, the only one in this build.
const ageStore = "age"

// Agent returns the agent of that name.
func (c *Config) Agent(name string) (Agent, bool) {
	return c.find(func(a Agent) bool { return a.Name == name })
}

// AgentByUID returns the agent that is the uid. There is at most one.
func (c *Config) AgentByUID(uid uint32) (Agent, bool) {
	return c.find(func(a Agent) bool { return a.UID == uid })
}

func (c *Config) find(is func(Agent) bool) (Agent, bool) {
	if i := slices.IndexFunc(c.Agents, is); i >= 0 {
		return c.Agents[i], true
	}
	return Agent{}, false
}

// ParseOptions bends how a file is read. The zero value is the usual way.
type ParseOptions struct {
	// LookupUser returns the uid of a user of this machine. An error that is a
	// [user.UnknownUserError] means there is none of that name. Nil asks the
	// operating system.
	LookupUser func(name string) (uid uint32, err error)
}

// Parse reads a config with the zero [ParseOptions].
func Parse(path string, data []byte) (*Config, error) {
	return ParseOptions{}.Parse(path, data)
}

// Parse reads a config whole or not at all. path is for messages only. The error
// is an [Errors] with everything wrong; where the file is not even TOML, with
// the first such place.
func (o ParseOptions) Parse(path string, data []byte) (*Config, error) {
	tree, wrong := parseTree(data)
	if wrong != nil {
		wrong.Path = path
		return nil, Errors{wrong}
	}
	r := &reader{path: path, lookup: o.LookupUser}
	if r.lookup == nil {
		r.lookup = systemUser
	}
	c := r.config(tree)
	if len(r.errs) > 0 {
		return nil, Errors(sorted(r.errs))
	}
	sum := sha256.Sum256(data)
	c.Hash = hex.EncodeToString(sum[:8])
	c.Warnings = sorted(r.warnings)
	return c, nil
}

// systemUser asks the operating system for the uid of a user.
func systemUser(name string) (uint32, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("reading uid %q: %w", u.Uid, err)
	}
	return uint32(uid), nil
}

// config reads the whole tree.
func (r *reader) config(tree *table) *Config {
	r.check(tree, topKeys)
	c := &Config{Secrets: make(map[secret.Name]Secret), Stores: []Store{{Name: ageStore, Type: ageStore}}}
	limits := r.broker(tree, &c.Broker)
	r.audit(tree, &c.Audit)
	r.stores(tree)
	declared := r.agents(tree, c)
	r.secrets(tree, c)
	rules := r.grants(tree, declared, limits)
	r.warnIdle(tree, c, rules)
	slices.SortFunc(c.Agents, func(a, b Agent) int { return cmp.Compare(a.Name, b.Name) })
	if len(r.errs) > 0 {
		return c
	}
	policy, err := grant.NewPolicy(rules, c.Broker.MaxTTL, c.Broker.DefaultTTL)
	if err != nil {
		// All it checks was checked above, with places; should the two ever
		// differ, the file is refused all the same.
		r.fail(pos{}, "", "making the policy: %v", err)
	}
	c.Policy = policy
	return c
}

// uid resolves a user name. ok is false when that was reported.
func (r *reader) uid(at pos, name string) (uid uint32, ok bool) {
	uid, err := r.lookup(name)
	var unknown user.UnknownUserError
	switch {
	case errors.As(err, &unknown):
		r.fail(at, "create the user first, or correct the name", "there is no user %q on this machine", name)
		return 0, false
	case err != nil:
		r.fail(at, "give its number instead: uid = 502", "looking up user %q: %v", name, err)
		return 0, false
	}
	return uid, r.usable(at, uid)
}

// usable refuses the uids that stand for no user in particular: what the kernel
// shows for an id it cannot map, and what it takes for "leave as it is".
func (r *reader) usable(at pos, uid uint32) bool {
	const overflow, unset = 65534, 1<<32 - 1
	if uid == overflow || uid == unset {
		r.fail(at, "run it as a user of its own", "uid %d stands for no user in particular", uid)
		return false
	}
	return true
}
