package broker

import (
	"os"
	"slices"
	"strings"
	"time"
)

// Status is the state of the broker, for the owner.
type Status struct {
	Version     string        `json:"version"`
	PID         int           `json:"pid"`
	Home        string        `json:"home"`
	Mode        string        `json:"mode"`
	ModeReasons []string      `json:"mode_reasons"`
	StartedAt   time.Time     `json:"started_at"`
	Killed      bool          `json:"killed"`
	Secrets     int           `json:"secrets"`
	Leases      int           `json:"leases"`
	Overdue     []string      `json:"overdue"`
	Rotations   []struct{}    `json:"rotations"` // filled once there is rotation
	Agents      []AgentStatus `json:"agents"`
	Stores      []StoreStatus `json:"stores"`
	Audit       AuditStatus   `json:"audit"`
	Limits      []string      `json:"not_protected"` // what no mode protects against
}

// AgentStatus is an agent of the config.
type AgentStatus struct {
	Name string `json:"name"`
	UID  uint32 `json:"uid"`
}

// StoreStatus is the state of one store.
type StoreStatus struct {
	Name  string  `json:"name"`
	Type  string  `json:"type"`
	OK    bool    `json:"ok"`
	Error *string `json:"error"`
}

// AuditStatus is the state of the log.
type AuditStatus struct {
	Records uint64  `json:"records"`
	Head    string  `json:"head"` // the chain over all records, base64url
	OK      bool    `json:"ok"`
	Error   *string `json:"error"`
}

// NotProtected is what the broker cannot protect against, in the order people
// should worry about it.
var NotProtected = []string{
	"root, and code that runs as the broker's or an owner's user",
	"a value once it was given: only rotating the key at its service ends it",
	"misuse within a grant",
	"old plaintext copies: snapshots, backups, git history, shell history",
}

// checker is a store that can say whether it works without being asked for a
// value.
type checker interface{ Check() error }

// Status returns the state of the broker.
func (b *Broker) Status() (Status, error) {
	s := b.settings.Load()
	out := Status{
		Version: b.Version, PID: os.Getpid(), Home: b.Home,
		Mode: s.mode.String(), ModeReasons: append([]string{}, s.mode.Reasons...),
		StartedAt: b.started, Killed: b.killed.Load(),
		Leases: len(b.table.List(b.now(), nil)), Rotations: []struct{}{}, Limits: NotProtected,
		Agents: []AgentStatus{}, Audit: b.auditStatus(),
	}
	for _, a := range s.Agents {
		out.Agents = append(out.Agents, AgentStatus{a.Name, a.UID})
	}
	if len(s.agents) == 0 {
		out.ModeReasons = []string{"the config names no agent yet"}
	}
	var err error
	if out.Secrets, err = b.ledger.Count(); err != nil {
		return out, err
	}
	if out.Overdue, err = b.overdue(); err != nil {
		return out, err
	}
	for name, store := range b.Stores {
		st := StoreStatus{Name: name, Type: name, OK: true}
		if c, ok := store.(checker); ok {
			if err := c.Check(); err != nil {
				text := err.Error()
				st.OK, st.Error = false, &text
			}
		}
		out.Stores = append(out.Stores, st)
	}
	slices.SortFunc(out.Stores, func(a, b StoreStatus) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (b *Broker) auditStatus() AuditStatus {
	if b.log == nil {
		text := b.logErr.Error()
		return AuditStatus{Error: &text}
	}
	head := b.log.Head()
	out := AuditStatus{Records: head.Seq, Head: head.Chain, OK: head.Err == nil}
	if head.Err != nil {
		text := head.Err.Error()
		out.Error = &text
	}
	return out
}
