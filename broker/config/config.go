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
	"secretctl/providers"
)

// Config is what secretctl.toml says, checked. It must not be changed.
type Config struct {
	Broker   Broker
	Audit    Audit
	Rotation Rotation
	Agents   []Agent // sorted by name
	Secrets  map[secret.Name]Secret
	Age      Age
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
	Ref    string        // where people keep it in that store; "": its versions are put there
	Env    string        // name of the variable `run` offers it under; "": the ledger's
	MaxAge time.Duration // older is overdue; 0: never

	Rotate    *Rotate        // nil: nothing replaces it
	Announce  [][]string     // commands that are told of a new version
	Confirm   []string       // command that must succeed before the old version is ended; nil: none
	Grace     *time.Duration // how long leases on the old version are waited for; nil: the largest ttl granted
	GraceHard time.Duration  // after which consumers that took a copy are not waited for; 0: for ever
}

// Rotate is how a secret is replaced.
type Rotate struct {
	Provider string
	Options  providers.Options
	Managing []secret.Name // of the broker's own secrets, those that replacing it takes
	Files    []string      // that replacing it believes: nobody else may write them
	Accounts []string      // what it takes for itself at the service, as the provider has it
	Schedule string        // a cron expression; "": by hand only
}

// Rotation is the [rotation] table.
type Rotation struct {
	Timezone *time.Location // of schedules and freezes; never nil, UTC unless set
	Freeze   []string       // when nothing is started
	Parallel int            // calls to services at a time; 4 unless set
}

// Age is the [store.age] table: the embedded store.
type Age struct {
	Identity   string   // an absolute path, credential:NAME or keychain:NAME; "": in the home
	Recipients []string // that each version is sealed to besides the identity
}

// Store is a place where values rest.
type Store struct {
	Name, Type string
	Options    providers.Options
	Files      []string      // that it believes: nobody else may write them
	Fresh      time.Duration // how long an opened value is believed without asking again; 0: always
	Shared     bool          // other hosts keep the same secrets in it
	MaxStale   time.Duration // how long after that it is still given, while the store does not work; 0: not at all
}

// Lag is how old what a host knows of a secret in a shared store may be.
func (s *Store) Lag() time.Duration { return 2*s.Fresh + s.MaxStale }

// Defaults of what the file leaves out.
const (
	defaultMaxTTL         = time.Hour
	defaultTTL            = 10 * time.Minute
	defaultMaxConnections = 128
	defaultKeep           = 400 * day
)

// ageStore is the embedded store, which is always there.
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

// LargestTTL is the longest that a lease on a secret lives without being renewed.
func (c *Config) LargestTTL(name secret.Name) time.Duration {
	return max(c.Policy.MaxTTLFor(name), c.Policy.DefaultTTL())
}

// ParseOptions bends how a file is read. The zero value is the usual way.
type ParseOptions struct {
	// LookupUser returns the uid of a user of this machine. An error that is a
	// [user.UnknownUserError] means there is none of that name. Nil asks the
	// operating system.
	LookupUser func(name string) (uid uint32, err error)
	// Provider returns the provider of a name. Nil knows none.
	Provider func(name string) (providers.Kind, bool)
	// Stores are the kinds of stores there are besides the embedded one.
	Stores []providers.StoreKind
	// Recipient says what is wrong with one that versions are sealed to, and what
	// would be right; a problem of "" is none. Nil accepts all.
	Recipient func(text string) (problem, remedy string)
	// Schedule and Freeze say what is wrong with a cron expression, and with a window
	// in which nothing is rotated, and what would be right; a problem of "" is none.
	// Nil accepts all.
	Schedule, Freeze func(text string) (problem, remedy string)
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
	r := &reader{path: path, options: o, lookup: o.LookupUser, graces: make(map[secret.Name]pos)}
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
	r.rotation(tree, &c.Rotation)
	r.stores(tree, c)
	declared := r.agents(tree, c)
	r.secrets(tree, c)
	r.checkManaging(c)
	r.checkAccounts(c)
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
	r.checkGraces(c)
	return c
}

// checkGraces refuses a grace in which leases that other hosts have given, which
// cannot be counted here, may not have moved.
func (r *reader) checkGraces(c *Config) {
	for name, at := range r.graces {
		s := c.Secrets[name]
		i := slices.IndexFunc(c.Stores, func(store Store) bool { return store.Name == s.Store && store.Shared })
		if i < 0 || c.Policy == nil {
			continue
		}
		least := c.LargestTTL(name) + c.Stores[i].Lag()
		if *s.Grace < least {
			r.fail(at, fmt.Sprintf("grace = %q, or leave it out", FormatDuration(least)),
				"grace %s is too short for a secret that other hosts keep too: a lease that one of them gave may live that long, and hear of the new version so late", FormatDuration(*s.Grace))
		}
	}
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
