package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/grant"
	"secretctl/broker/lease"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
)

// LeaseRequest asks for a lease. Only Secret is needed.
type LeaseRequest struct {
	Secret     string   `json:"secret"`
	Door       string   `json:"door,omitempty"`        // empty: "value"
	TTLSeconds int64    `json:"ttl_seconds,omitempty"` // 0: the default; a longer one than the grant's is clipped
	Pinned     bool     `json:"pinned,omitempty"`      // renewing keeps the version
	Bound      bool     `json:"bound,omitempty"`       // the lease ends with the connection
	Reuse      bool     `json:"reuse,omitempty"`       // pinned and not bound: see [Broker.Lease]
	Group      string   `json:"group,omitempty"`       // what the log calls the batch it is part of, at most 32 lower-case hex digits
	Reason     string   `json:"reason,omitempty"`      // the caller's words, for the log
	Scope      []string `json:"scope,omitempty"`       // refused: no door here narrows a credential

	Version uint64 `json:"version,omitempty"` // owners only; 0: the current one
}

// Issued is a lease with its value, which is in locked memory and gone once
// the lease ends.
type Issued struct {
	lease.Lease
	Value secret.Value
}

// ownerTTL bounds an owner's own leases: they exist to be seen in the listing.
const ownerTTL = time.Hour

// Lease decides, records and hands out, in this order.
//
// With Reuse, for a consumer that asks whenever it starts and keeps what it was
// given: a pinned lease on the current version that it was given so before is
// renewed instead, and one on an earlier version ends, since it now has the new
// one. Which those are is forgotten when the broker restarts, since no record of
// a lease says so: the next asking gets a new lease, and the one from before runs
// out by itself. Until then it counts for max_leases.
func (b *Broker) Lease(ctx context.Context, c *Caller, req LeaseRequest) (*Issued, error) {
	for {
		issued, version, err := b.give(ctx, c, req)
		if err == nil || version == 0 || !b.superseded(secret.Name(req.Secret), version) && !errors.Is(err, errReplaced) {
			return issued, err
		}
		// A rotation without grace ended what was chosen a moment ago, or another value
		// came to lie at the reference: now there is the new one.
	}
}

// superseded reports whether another version than this is what a lease gets.
func (b *Broker) superseded(name secret.Name, version uint64) bool {
	current, err := b.ledger.Current(name)
	return err == nil && current > version
}

// give is Lease for one choice of a version, which it returns: 0 where it did not
// come to that, or the caller chose.
func (b *Broker) give(ctx context.Context, c *Caller, req LeaseRequest) (_ *Issued, chose uint64, _ error) {
	if err := b.serving(); err != nil {
		b.refused(c, audit.EventLease, req.Secret)
		return nil, 0, err
	}
	name, door, err := req.parse(c)
	if err != nil {
		return nil, 0, err
	}
	if req.Reuse {
		defer b.reusing.lock(name)()
		if again, err := b.again(ctx, c, name, req); again != nil || err != nil {
			return again, 0, err
		}
	}
	now, id := b.now(), lease.NewID()
	d := b.decide(c, id, now, name, door, req)
	if req.Reuse && d.Code == grant.CodeMaxLeases && b.supersede(c, name, req, copied{}) {
		d = b.decide(c, id, now, name, door, req) // the place was its own
	}
	if !d.Allow {
		return nil, 0, b.denied(c, name, door, req.Reason, d)
	}
	err = b.follow(ctx, name)
	if err == nil && req.Version == 0 {
		err = b.look(ctx, name)
	}
	if err != nil {
		b.table.Cancel(id)
		return nil, 0, b.unseen(c, name, door, req, err)
	}
	l := lease.Lease{
		ID: id, Agent: c.Name(), UID: c.Peer.UID, PID: c.Peer.PID,
		Secret: name, Door: string(door), Pinned: req.Pinned,
		First: now.Wall, Issued: now.Wall, Expires: now.Wall.Add(d.TTL),
		TTL: d.TTL, BootDeadline: now.Boot + d.TTL, Epoch: b.epoch.Load(),
	}
	if d.Rule != nil {
		l.Rule = d.Rule.ID
	}
	r := b.record(c, audit.EventLease)
	r.Decision, r.Reason, r.Stated, r.Group = audit.Allow, string(d.Code), stated(req.Reason), req.Group
	unknown, err := b.choose(&l, r, func() (uint64, error) { return b.version(name, req.Version) })
	switch {
	case unknown != nil:
		b.table.Cancel(id)
		b.overlook(name)
		return nil, 0, b.noEntry(c, name, door, req, unknown)
	case err != nil:
		b.table.Cancel(id)
		b.overlook(name)
		return nil, 0, b.notRecorded(err)
	}
	issued, err := b.issue(ctx, c, l, now)
	if err == nil && req.Reuse {
		b.supersede(c, name, req, copied{l.ID, l.Version})
	}
	if req.Version == 0 {
		chose = l.Version
	}
	return issued, chose, err
}

// copied is what a lease for reuse gave away. The consumer has it still when the
// lease has expired: it asks only when it starts or is told to.
type copied struct {
	id      lease.ID
	version uint64
}

// choose picks a lease's version and records the lease, which is in the table
// then. unknown is why there is no version to give.
func (b *Broker) choose(l *lease.Lease, r *audit.Record, pick func() (uint64, error)) (unknown, err error) {
	b.choosing.RLock()
	defer b.choosing.RUnlock()
	if l.Version, unknown = pick(); unknown != nil {
		return unknown, nil
	}
	l.Describe(r)
	return nil, b.log.Append(r)
}

// reuser is who may be given a lease again: of one user's consumers, the one that
// states the same reason.
type reuser struct {
	agent  string
	uid    uint32
	name   secret.Name
	reason string
}

func (c *Caller) reuser(name secret.Name, req LeaseRequest) reuser {
	return reuser{c.Name(), c.Peer.UID, name, stated(req.Reason)}
}

// again renews the lease that was given for reuse before, if it is on the
// current version. It returns nil when there is none.
func (b *Broker) again(ctx context.Context, c *Caller, name secret.Name, req LeaseRequest) (*Issued, error) {
	given, ok := b.reuse.get(c.reuser(name, req))
	if !ok {
		return nil, nil
	}
	old, ok := b.table.Get(given.id, b.now())
	if !ok {
		return nil, nil
	}
	if current, err := b.ledger.Current(name); err != nil || current != old.Version {
		return nil, nil
	}
	again, err := b.renew(ctx, c, old.ID.String(), req.Reason, req.Group)
	if errors.Is(err, ErrNoSuchLease) || errors.Is(err, errReplaced) {
		return nil, nil // it ended in this moment, or its value is gone and there is another
	}
	if err == nil && b.superseded(name, again.Version) {
		return nil, nil // which it heard of only now
	}
	return again, err
}

// supersede remembers a lease for [Broker.again] (none: nothing) and ends the one
// before it. It reports whether it ended one. There is one a secret and reason
// that an agent may have, at most.
func (b *Broker) supersede(c *Caller, name secret.Name, req LeaseRequest, now copied) (ended bool) {
	before, ok := b.reuse.put(c.reuser(name, req), now)
	if !ok {
		return false
	}
	old, ok := b.table.Get(before.id, b.now())
	if ok {
		b.release(c, &old, "superseded")
	}
	return ok
}

// parse reads what does not depend on who may have what.
func (req *LeaseRequest) parse(c *Caller) (secret.Name, grant.Door, error) {
	name, err := secret.ParseName(req.Secret)
	if err != nil {
		return "", "", badRequest(err.Error(), "names look like openai/api-key")
	}
	door := grant.DoorValue
	if req.Door != "" {
		if door, err = grant.ParseDoor(req.Door); err != nil {
			return "", "", badRequest(err.Error(), "")
		}
	}
	switch {
	case len(req.Scope) > 0:
		return "", "", badRequest(fmt.Sprintf("the %s door cannot narrow a credential to a scope", door), "leave scope out: the lease then covers the whole secret")
	case req.TTLSeconds < 0 || req.TTLSeconds > int64(365*24*time.Hour/time.Second):
		return "", "", badRequest("ttl_seconds is not between 0 and a year", "")
	case req.Reuse && (!req.Pinned || req.Bound):
		return "", "", badRequest("reuse is for leases that are pinned and not bound", `{"secret":"openai/api-key","pinned":true,"reuse":true}`)
	case len(req.Group) > 32 || strings.Trim(req.Group, "0123456789abcdef") != "":
		return "", "", badRequest("group is not at most 32 lower-case hex digits", "")
	case req.Version != 0 && !c.owner:
		return "", "", badRequest("only an owner can ask for a version", "")
	case door != grant.DoorValue:
		return "", "", badRequest(fmt.Sprintf("the %s door is not open in this version", door), "use the value door")
	}
	return name, door, nil
}

// decide asks the policy, counting the lease at once when it is allowed. An
// owner has every secret.
func (b *Broker) decide(c *Caller, id lease.ID, now clock.Reading, name secret.Name, door grant.Door, req LeaseRequest) grant.Decision {
	asked := time.Duration(req.TTLSeconds) * time.Second
	s := b.settings.Load()
	return b.table.Reserve(id, c.Name(), now, func(counts grant.Counts) grant.Decision {
		switch {
		case c.owner && name.Own():
			return grant.Decision{Code: grant.CodeOwnSecret}
		case c.owner:
			if asked == 0 {
				asked = s.Policy.DefaultTTL()
			}
			return grant.Decision{Allow: true, Code: grant.CodeOwner, TTL: min(asked, ownerTTL)}
		}
		return s.Policy.Decide(grant.Request{
			Agent: c.Name(), Secret: name, Door: door, Reason: req.Reason, TTL: asked, At: now.Wall.Local(),
		}, counts)
	})
}

// version finds the version a lease gets: the one asked for, or the current.
func (b *Broker) version(name secret.Name, asked uint64) (uint64, error) {
	if asked == 0 {
		return b.ledger.Current(name)
	}
	e, err := b.ledger.Get(name)
	if err != nil {
		return 0, err
	}
	v, ok := e.Versions[asked]
	switch {
	case !ok:
		return 0, errNoVersion
	case v.Ended:
		return asked, ledger.ErrEnded
	}
	return asked, nil
}

var errNoVersion = errors.New("no such version")

// issue hands the value to a lease whose record is durable.
func (b *Broker) issue(ctx context.Context, c *Caller, l lease.Lease, now clock.Reading) (*Issued, error) {
	value, err := b.values.get(ctx, held{l.Secret, l.Version})
	if err == nil {
		b.leased.note(l.Secret, now.Wall)
		return b.issueLive(l, value, now)
	}
	b.hearAgain(ctx, l.Secret, err)
	b.table.Drop(l.ID)
	r := b.record(c, audit.EventUndelivered)
	l.Describe(r)
	r.Reason = "store_unavailable"
	b.log.Defer(r)
	if killed := b.serving(); killed != nil {
		return nil, killed
	}
	if errors.Is(err, errReplaced) { // who is to be given it has had it, and is to know
		return nil, err
	}
	b.Warn(fmt.Sprintf("opening %s version %d: %v", l.Secret, l.Version, err))
	if c.owner {
		return nil, unavailable("opening", l.Secret, err)
	}
	return nil, errNotGiven
}

// errNotGiven is what an agent is told of a store that failed.
var errNotGiven = &Error{CodeStoreUnavailable, "the store did not give the value", "ask the owner to run: secretctl status"}

// issueLive refuses a lease that ended while its record was on its way: whoever
// ended it cleared the values there were then, and nobody would clear this one.
func (b *Broker) issueLive(l lease.Lease, value secret.Value, now clock.Reading) (*Issued, error) {
	if _, ok := b.table.Get(l.ID, now); ok {
		return &Issued{l, value}, nil
	}
	if b.table.HeldBy(l.Secret, l.Version) == 0 {
		b.values.free(l.Secret, l.Version)
	}
	if err := b.serving(); err != nil {
		return nil, err
	}
	return nil, errNoSuchLease
}

// Renew decides again, and moves a following lease to the current version.
func (b *Broker) Renew(ctx context.Context, c *Caller, id string) (*Issued, error) {
	return b.renew(ctx, c, id, "", "")
}

func (b *Broker) renew(ctx context.Context, c *Caller, id, reason, group string) (*Issued, error) {
	if err := b.serving(); err != nil {
		b.refused(c, audit.EventRenew, "")
		return nil, err
	}
	now := b.now()
	old, err := b.own(c, id, now)
	if err != nil {
		return nil, err
	}
	req := LeaseRequest{Secret: string(old.Secret), TTLSeconds: int64(old.TTL / time.Second), Reason: "renew"}
	d := b.redecide(c, &old, now, req)
	if !d.Allow {
		return nil, b.denied(c, old.Secret, grant.Door(old.Door), req.Reason, d)
	}
	err = b.follow(ctx, old.Secret)
	if err == nil && !old.Pinned {
		err = b.look(ctx, old.Secret)
	}
	if err != nil {
		return nil, b.unseen(c, old.Secret, grant.Door(old.Door), req, err)
	}
	l := old
	if d.Rule != nil {
		l.Rule = d.Rule.ID // whose limits it counts against from now on
	}
	l.PID, l.Issued, l.Expires, l.TTL, l.BootDeadline = c.Peer.PID, now.Wall, now.Wall.Add(d.TTL), d.TTL, now.Boot+d.TTL
	r := b.record(c, audit.EventRenew)
	r.Decision, r.Reason, r.Stated, r.Group = audit.Allow, string(d.Code), stated(reason), group
	unknown, err := b.choose(&l, r, func() (uint64, error) {
		current, err := b.ledger.Current(old.Secret)
		if l.Pinned && current != old.Version {
			return old.Version, b.lives(old.Secret, old.Version)
		}
		return current, err
	})
	switch {
	case unknown != nil:
		b.overlook(old.Secret)
		return nil, b.noEntry(c, old.Secret, grant.Door(old.Door), req, unknown)
	case err != nil:
		b.overlook(old.Secret)
		return nil, b.notRecorded(err)
	}
	issued, err := b.issue(ctx, c, l, now)
	if err != nil && !l.Pinned && b.superseded(l.Secret, l.Version) && b.serving() == nil {
		return nil, errNoSuchLease // the version's end was the lease's
	}
	return issued, err
}

// lives returns nil for a version that was not ended at its service, of a secret
// that is there.
func (b *Broker) lives(name secret.Name, version uint64) error {
	e, err := b.ledger.Get(name)
	if err == nil && e.Versions[version].Ended {
		err = ledger.ErrEnded
	}
	return err
}

// redecide is decide for a lease that is already counted: it leaves itself out.
func (b *Broker) redecide(c *Caller, l *lease.Lease, now clock.Reading, req LeaseRequest) grant.Decision {
	s := b.settings.Load()
	if c.owner { // its lease was never on one of the broker's own
		return grant.Decision{Allow: true, Code: grant.CodeOwner, TTL: min(l.TTL, ownerTTL)}
	}
	return s.Policy.Decide(grant.Request{
		Agent: c.Name(), Secret: l.Secret, Door: grant.Door(l.Door), Reason: req.Reason, TTL: l.TTL, At: now.Wall.Local(),
	}, without{b.table.Counts(now), l.Rule})
}

// without leaves one lease of a rule out of the counts.
type without struct {
	grant.Counts
	rule string
}

func (w without) Live(rule string) int {
	n := w.Counts.Live(rule)
	if rule == w.rule {
		n--
	}
	return n
}

// LastHour does not hold a renewal back: it hands out no more than there was.
func (w without) LastHour(rule string) int {
	if rule == w.rule {
		return 0
	}
	return w.Counts.LastHour(rule)
}

// Release ends a lease of the caller's own.
func (b *Broker) Release(c *Caller, id string) error {
	l, err := b.own(c, id, b.now())
	if err != nil {
		return err
	}
	b.release(c, &l, "")
	return nil
}

// release ends a lease that its holder has no more use for. c is nil when the
// holder is gone.
func (b *Broker) release(c *Caller, l *lease.Lease, reason string) {
	if b.table.Drop(l.ID) == 0 || b.log == nil {
		return
	}
	r := b.record(c, audit.EventRelease)
	l.Describe(r)
	r.Reason = reason
	if err := b.log.Append(r); err != nil {
		b.Warn(fmt.Sprintf("recording a release: %v", err))
	}
}

// Leases returns the caller's own leases, or everybody's for an owner.
func (b *Broker) Leases(c *Caller) []lease.Lease {
	return b.table.List(b.now(), func(l *lease.Lease) bool { return c.owner || c.holds(l) })
}

// holds reports whether the lease is the caller's: an id alone is nobody's.
func (c *Caller) holds(l *lease.Lease) bool {
	return l.Agent == c.Name() && l.UID == c.Peer.UID
}

// own finds a lease the caller holds. One that never was, one that is over and
// one in other hands are the same answer.
func (b *Broker) own(c *Caller, text string, now clock.Reading) (lease.Lease, error) {
	id, err := lease.ParseID(text)
	if err != nil {
		return lease.Lease{}, errNoSuchLease
	}
	l, ok := b.table.Get(id, now)
	if !ok || !c.holds(&l) {
		b.audit(c, audit.Record{Event: audit.EventRenew, Decision: audit.Deny, Reason: "no_such_lease", Lease: id.String()})
		return lease.Lease{}, errNoSuchLease
	}
	return l, nil
}

var errNoSuchLease = &Error{CodeNoSuchLease, "there is no such lease", "ask for a new one"}

// serving says why nothing is handed out, or nil.
func (b *Broker) serving() error {
	if b.killed.Load() {
		return errKilled
	}
	if b.log == nil {
		return b.notRecorded(b.logErr)
	}
	return nil
}

// refused records that nothing is handed out because of the kill switch. That
// the log cannot be written is not recorded in it.
func (b *Broker) refused(c *Caller, event audit.Event, secretName string) {
	if b.log == nil {
		return
	}
	name, _ := secret.ParseName(secretName) // what is no name is not in the log
	b.audit(c, audit.Record{Event: event, Decision: audit.Deny, Reason: "killed", Secret: name})
}

var errKilled = &Error{CodeKilled, "the kill switch is on: nothing is handed out", "the owner ends it with: secretctl resume"}

func (b *Broker) notRecorded(err error) error {
	b.Warn(fmt.Sprintf("nothing is handed out: %v", err))
	return &Error{CodeStoreUnavailable, "the audit log cannot be written, so nothing is handed out", "ask the owner to run: secretctl status"}
}

// noEntry answers a request that was granted, for a secret that is not there.
// An agent gets the answer for what it was not granted.
func (b *Broker) noEntry(c *Caller, name secret.Name, door grant.Door, req LeaseRequest, err error) error {
	switch {
	case errors.Is(err, errNoVersion):
		return &Error{CodeNotFound, fmt.Sprintf("%q has no version %d", name, req.Version), "secretctl versions " + string(name)}
	case errors.Is(err, ledger.ErrEnded):
		return b.dead(c, name, door, req)
	case !errors.Is(err, ledger.ErrNoEntry):
		b.Warn(err.Error())
		return &Error{CodeStoreUnavailable, "the ledger cannot be read", "ask the owner to run: secretctl status"}
	case c.owner:
		return noSecret(name)
	}
	return b.denied(c, name, door, req.Reason, grant.Decision{Code: "no_such_secret"})
}

// dead answers a request that was granted, for a version that was ended at its
// service: whoever was given it would find out only there.
func (b *Broker) dead(c *Caller, name secret.Name, door grant.Door, req LeaseRequest) error {
	b.recordDenied(c, name, door, req.Reason, grant.Decision{Code: "version_ended"})
	e := &Error{CodeStoreUnavailable, fmt.Sprintf("%q was ended at its service, and there is no other version yet", name), replacing(name)}
	switch {
	case !c.owner:
		e.Hint = "ask the owner to run: secretctl rotate " + string(name)
	case req.Version != 0:
		e.Message = fmt.Sprintf("version %d of %q was ended at its service", req.Version, name)
	}
	return e
}

// replacing is how a secret gets a version in the place of a dead one.
func replacing(name secret.Name) string {
	return fmt.Sprintf("secretctl rotate %s; or make one by hand, then: secretctl set %s", name, name)
}

func noSecret(name secret.Name) error {
	return &Error{CodeNotFound, fmt.Sprintf("there is no secret %q", name), "secretctl ls"}
}

// denied records a denial and says no more than the caller may know: whether a
// secret exists, is forbidden or is merely not granted is one answer.
func (b *Broker) denied(c *Caller, name secret.Name, door grant.Door, reason string, d grant.Decision) error {
	b.recordDenied(c, name, door, reason, d)
	if c.owner {
		return &Error{CodeDenied, fmt.Sprintf("%q is a credential of the broker's own, which is nobody's lease", name), "the age program opens it: age -d -i identity.txt vault/…/@1.age"}
	}
	switch d.Code {
	case grant.CodeMaxLeases, grant.CodeLeasesPerHour:
		return &Error{CodeLimit, "the limit of the grant is reached (" + string(d.Code) + ")", "end a lease, or wait"}
	case grant.CodeReason:
		return &Error{CodeDenied, "this secret is given only with a reason", `secretctl get --reason "…"`}
	case grant.CodeHours, grant.CodeWeekday:
		return &Error{CodeDenied, "this secret is not given at this time", ""}
	case grant.CodeDoor:
		return &Error{CodeDenied, "this secret is not given through this door", ""}
	}
	return &Error{CodeDenied, "not granted to you", "secretctl ls shows what is; the owner can ask: secretctl check"}
}

func (b *Broker) recordDenied(c *Caller, name secret.Name, door grant.Door, reason string, d grant.Decision) {
	r := b.record(c, audit.EventLease)
	r.Decision, r.Reason, r.Stated = audit.Deny, string(d.Code), stated(reason)
	r.Secret, r.Door = name, string(door)
	if d.Rule != nil {
		r.Grant = d.Rule.ID
	}
	b.log.Defer(r)
}

// stated is the caller's reason as the log may hold it.
func stated(reason string) string { return audit.Sanitise(reason, 200) }
