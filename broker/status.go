package broker

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"secretctl/providers"
)

// Status is the state of the broker, for the owner.
type Status struct {
	Version     string               `json:"version"`
	PID         int                  `json:"pid"`
	Home        string               `json:"home"`
	Mode        string               `json:"mode"`
	ModeReasons []string             `json:"mode_reasons"`
	StartedAt   time.Time            `json:"started_at"`
	Killed      bool                 `json:"killed"`
	Secrets     int                  `json:"secrets"`
	Leases      int                  `json:"leases"`
	Overdue     []string             `json:"overdue"`
	Rotations   []providers.Progress `json:"rotations"` // under way, or needing their owner
	Agents      []AgentStatus        `json:"agents"`
	Stores      []StoreStatus        `json:"stores"`
	Audit       AuditStatus          `json:"audit"`
	Limits      []string             `json:"not_protected"` // what no mode protects against
}

// AgentStatus is an agent of the config.
type AgentStatus struct {
	Name string `json:"name"`
	UID  uint32 `json:"uid"`
}

// StoreStatus is the state of one store.
type StoreStatus struct {
	Name  string     `json:"name"`
	Type  string     `json:"type"`
	OK    bool       `json:"ok"`
	Error *string    `json:"error"`
	Hint  string     `json:"hint,omitempty"`
	Note  string     `json:"note,omitempty"`  // what it has to say while it works, too
	Since *time.Time `json:"since,omitempty"` // it has not worked, as far as was seen
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

// healthTime is how long a store may take to say whether it works.
const healthTime = 2 * time.Second

// Status returns the state of the broker.
func (b *Broker) Status(ctx context.Context) (Status, error) {
	s := b.settings.Load()
	out := Status{
		Version: b.Version, PID: os.Getpid(), Home: b.Home,
		Mode: s.mode.String(), ModeReasons: append([]string{}, s.mode.Reasons...),
		StartedAt: b.started, Killed: b.killed.Load(),
		Leases: len(b.table.List(b.now(), nil)), Rotations: []providers.Progress{}, Limits: NotProtected,
		Agents: []AgentStatus{}, Audit: b.auditStatus(),
	}
	for _, a := range s.Agents {
		out.Agents = append(out.Agents, AgentStatus{a.Name, a.UID})
	}
	if len(s.agents) == 0 {
		out.ModeReasons = []string{"the config names no agent yet"}
	}
	if b.rotations != nil {
		out.Rotations = append(out.Rotations, b.rotations.Flights()...)
	}
	var err error
	if out.Secrets, err = b.ledger.Count(); err != nil {
		return out, err
	}
	unopened, err := b.unopened()
	if err != nil {
		return out, err
	}
	out.Secrets += len(unopened)
	if out.Overdue, err = b.overdue(); err != nil {
		return out, err
	}
	out.Stores = b.storeStatus(ctx)
	return out, nil
}

// storeStatus asks every store at once, so that one that hangs holds up neither
// the others nor the answer.
func (b *Broker) storeStatus(ctx context.Context) []StoreStatus {
	ctx, stop := context.WithTimeout(ctx, healthTime)
	defer stop()
	stores := b.settings.Load().stores
	names := slices.Sorted(maps.Keys(stores))
	out := make([]StoreStatus, len(names))
	var asked sync.WaitGroup
	for i, name := range names {
		asked.Go(func() {
			s := stores[name]
			out[i] = StoreStatus{Name: name, Type: s.spec.Type, OK: true}
			if err := s.Health(ctx); err != nil {
				out[i].fail(err, s.failing())
			}
			if n, ok := s.inner.(providers.Noter); ok {
				out[i].Note = n.Note()
			}
		})
	}
	asked.Wait()
	return out
}

func (s *StoreStatus) fail(err error, since time.Time) {
	text := err.Error()
	s.OK, s.Error, s.Since = false, &text, &since
	if told := (*providers.StoreError)(nil); errors.As(err, &told) {
		s.Hint = told.Remedy
	}
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
