package broker

import (
	"slices"

	"secretctl/broker/audit"
	"secretctl/broker/config"
	"secretctl/sock"
)

// OwnerName is the name owners go by in leases and in the log. No agent can
// have it.
const OwnerName = "owner"

// Caller is who asks, as the kernel named the process at the other end. Every
// method that touches a secret takes one.
type Caller struct {
	Peer  *sock.Peer
	owner bool   // came through the owner's socket, as an owner
	agent *agent // through the agent's socket, as one; nil for an owner
}

// Name returns the agent's name, or [OwnerName].
func (c *Caller) Name() string {
	if c.owner {
		return OwnerName
	}
	return c.agent.Name
}

// agent is one agent of the config with what is worked out about it once.
type agent struct {
	config.Agent
	pins []sock.Pin // the executables it is narrowed to; none: any
	mode Mode
}

// settings is the config in force with what was worked out from it. It is
// never changed, only replaced as a whole.
type settings struct {
	*config.Config
	agents map[uint32]*agent // uid → agent
	mode   Mode              // the weakest of the agents'
	stores map[string]*placed
	shared bool // some store is one that other hosts keep secrets in too
}

// AsAgent names the caller of the agent's socket. Unknown is denied, and so is
// an executable the config does not name; an owner's uid is an agent like any
// other here.
func (b *Broker) AsAgent(p *sock.Peer) (*Caller, error) {
	a, ok := b.settings.Load().agents[p.UID]
	if !ok {
		return nil, errStranger
	}
	c := &Caller{Peer: p, agent: a}
	return c, b.check(c)
}

// AsOwner names the caller of the owner's socket.
func (b *Broker) AsOwner(p *sock.Peer) (*Caller, error) {
	if !b.isOwner(p.UID) {
		return nil, errStranger
	}
	c := &Caller{Peer: p, owner: true}
	return c, b.check(c)
}

// check is what must hold at every request, not only when the connection was
// made: the process is still there and runs what it may run.
func (b *Broker) check(c *Caller) error {
	if err := c.Peer.Alive(); err != nil {
		return errStranger
	}
	if c.agent != nil && len(c.agent.pins) > 0 {
		if err := c.Peer.Runs(c.agent.pins); err != nil {
			b.audit(c, audit.Record{Event: audit.EventConnect, Decision: audit.Deny, Reason: "executable"})
			return errStranger
		}
	}
	return nil
}

func (b *Broker) isOwner(uid uint32) bool {
	return uid == 0 || uid == b.uid ||
		slices.ContainsFunc(b.settings.Load().Broker.Owners, func(o config.Owner) bool { return o.UID == uid })
}

// errStranger is the one answer to whoever is not meant to be here.
var errStranger = &Error{Code: CodeDenied, Message: "this user is not served on this socket", Hint: "the owner names agents in secretctl.toml"}

// record starts an audit record with who asks.
func (b *Broker) record(c *Caller, event audit.Event) *audit.Record {
	r := &audit.Record{Event: event, Config: b.settings.Load().Hash, Epoch: b.epoch.Load()}
	if c == nil {
		r.Mode = b.settings.Load().mode.Code()
		return r
	}
	r.Agent, r.Peer = c.Name(), true
	r.UID, r.GID, r.PID, r.Strength = c.Peer.UID, c.Peer.GID, c.Peer.PID, string(c.Peer.Strength)
	r.Mode = b.settings.Load().mode.Code()
	if c.agent != nil {
		r.Mode = c.agent.mode.Code()
		if len(c.agent.pins) > 0 {
			if exe, err := c.Peer.Executable(); err == nil {
				r.Exe = audit.Sanitise(exe.Path, 200)
			}
		}
	}
	return r
}
