package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/sock"
)

// leases are those that a run holds: pinned, since the command has copies of the
// values, and bound to the connection, so that they end with it however this
// process ends. A connection that is lost is made again.
type leases struct {
	w    *world
	plan *runPlan
	what string // the command, for messages

	// first is what is done at the connection before anything is leased: it
	// returns the names.
	first func(ctx context.Context, c *broker.Client, s broker.Socket) ([]secret.Name, error)

	ready  chan struct{} // closed once taken, cursor and the first leases are there
	taken  []*broker.Handed
	cursor string // from before the first lease was taken
	asks   chan leaseAsk
	over   chan struct{}              // has an element when something of old is over
	held   map[secret.Name]*heldLease // hold's alone
	old    []*replaced                // hold's alone
	killed bool                       // it was said that the kill switch is on
	gone   bool                       // it was said that the broker is gone
}

// heldLease is one lease.
type heldLease struct {
	id      string
	expires time.Time
	next    time.Time // when to renew it
	pause   time.Duration
	ended   bool // by the owner, for good
}

// replaced are leases on versions that the command has until it has newer ones:
// the services may refuse those as soon as nobody holds a lease on them.
type replaced struct {
	leases []*heldLease
	over   atomic.Bool // the command has them no more
}

// giveBack has leases given back that nothing needs any more.
func (l *leases) giveBack(r *replaced) {
	r.over.Store(true)
	select {
	case l.over <- struct{}{}:
	default: // that has them looked at as well
	}
}

// leaseAsk asks for new leases on names that there are leases on.
type leaseAsk struct {
	names []secret.Name
	reply chan leaseReply
}

type leaseReply struct {
	taken []*broker.Handed
	old   *replaced
	err   error
}

const (
	// quietTime is how long the connection is left alone at most. The broker
	// closes one that is idle for a minute.
	quietTime = 25 * time.Second
	// leastRenewal is the shortest time between two renewals of a lease.
	leastRenewal = 500 * time.Millisecond
	// releaseTime is how long the broker has to take the leases back at the end.
	releaseTime = 5 * time.Second
)

func newLeases(w *world, p *runPlan) *leases {
	return &leases{
		w: w, plan: p, what: p.argv[0],
		ready: make(chan struct{}), asks: make(chan leaseAsk), over: make(chan struct{}, 1), held: make(map[secret.Name]*heldLease),
	}
}

// run takes the leases and keeps them until ctx is done; then it gives them
// back. That they cannot be taken is an error, that they cannot be kept is not:
// it is said, and the broker is waited for.
func (l *leases) run(ctx context.Context) error {
	pause := firstPause
	for {
		err := l.w.ask(ctx, l.plan.asAgent, func(c *broker.Client, s broker.Socket) error {
			if !l.started() {
				if err := l.start(ctx, c, s); err != nil {
					return err
				}
			} else if err := l.again(ctx, c); err != nil {
				return err
			}
			pause = firstPause
			return l.hold(ctx, c)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case !l.started():
			return err
		case errors.Is(err, broker.ErrDenied), errors.Is(err, sock.ErrUntrusted):
			l.w.say("%v: %s goes on with the values it has", err, l.what)
			return nil
		case !l.gone:
			l.gone = true
			l.w.say("the broker is gone: %s goes on, and its leases will be taken again", l.what)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

func (l *leases) started() bool {
	select {
	case <-l.ready:
		return true
	default:
		return false
	}
}

// start takes the first leases.
func (l *leases) start(ctx context.Context, c *broker.Client, s broker.Socket) error {
	names, err := l.first(ctx, c, s)
	if err != nil {
		return err
	}
	news, err := c.Changes(ctx, "")
	if err != nil {
		return err
	}
	if l.taken, err = l.take(ctx, c, names); err != nil {
		return err
	}
	l.cursor = news.Cursor
	close(l.ready)
	return nil
}

// take takes leases and remembers them.
func (l *leases) take(ctx context.Context, c *broker.Client, names []secret.Name) (taken []*broker.Handed, err error) {
	for _, name := range names {
		h, err := c.Lease(ctx, broker.LeaseRequest{
			Secret: string(name), Pinned: true, Bound: true, Reason: l.plan.reason,
			TTLSeconds: int64(time.Duration(l.plan.ttl) / time.Second),
		})
		if err != nil {
			clearAll(taken)
			return nil, fmt.Errorf("leasing %q: %w", name, err)
		}
		taken = append(taken, h)
	}
	for _, h := range taken {
		l.remember(h)
	}
	return taken, nil
}

// clearAll clears the values of leases.
func clearAll(taken []*broker.Handed) {
	for _, h := range taken {
		h.Value.Clear()
	}
}

// remember keeps a lease that was taken or renewed.
func (l *leases) remember(h *broker.Handed) { l.held[secret.Name(h.Secret)] = l.lease(h) }

func (l *leases) lease(h *broker.Handed) *heldLease {
	life := h.ExpiresAt.Sub(h.IssuedAt)
	return &heldLease{
		id: h.LeaseID, expires: h.ExpiresAt,
		next: l.w.clock.Now().Wall.Add(max(life/2, leastRenewal)),
	}
}

// again binds the leases to a new connection after one was lost, and takes those
// again that have ended with it.
func (l *leases) again(ctx context.Context, c *broker.Client) error {
	for _, name := range slices.Sorted(maps.Keys(l.held)) {
		h := l.held[name]
		if h.ended {
			continue
		}
		err := l.renewOne(ctx, c, h)
		switch {
		case errors.Is(err, broker.ErrNoSuchLease):
			err = l.retake(ctx, c, name)
		case err != nil:
			err = l.failed(name, err)
		}
		if err != nil {
			return err
		}
	}
	l.renewOld(ctx, c, true) // those that did not end with the connection before
	if l.gone {
		l.gone = false
		l.w.say("the broker is back")
	}
	return nil
}

// retake takes a lease anew whose value the command has.
func (l *leases) retake(ctx context.Context, c *broker.Client, name secret.Name) error {
	taken, err := l.take(ctx, c, []secret.Name{name})
	if err != nil {
		return l.failed(name, err)
	}
	clearAll(taken)
	// It may be on a newer version than the command has. Of that the news tell.
	return nil
}

// renewOne renews a lease.
func (l *leases) renewOne(ctx context.Context, c *broker.Client, h *heldLease) error {
	renewed, err := c.Renew(ctx, h.id, true)
	if err != nil {
		return err
	}
	renewed.Value.Clear() // the command has it
	l.remember(renewed)
	return nil
}

// hold keeps the leases until the connection ends or ctx is done.
func (l *leases) hold(ctx context.Context, c *broker.Client) error {
	for {
		wake := time.NewTimer(l.untilNext())
		select {
		case <-ctx.Done():
			wake.Stop()
			return l.release(c)
		case ask := <-l.asks:
			taken, old, err := l.replace(ctx, c, ask.names)
			ask.reply <- leaseReply{taken, old, err}
		case <-l.over:
			l.releaseOld(ctx, c)
		case <-wake.C:
			if err := l.renewDue(ctx, c); err != nil {
				return err
			}
		}
		wake.Stop()
	}
}

// untilNext returns how long there is nothing to do.
func (l *leases) untilNext() time.Duration {
	next := quietTime
	soon := func(h *heldLease) {
		if !h.ended {
			next = min(next, h.next.Sub(l.w.clock.Now().Wall))
		}
	}
	for _, h := range l.held {
		soon(h)
	}
	for _, r := range l.old {
		for _, h := range r.leases {
			soon(h)
		}
	}
	return max(next, 0)
}

// renewOld renews of the replaced leases those that are due, or all. One that
// cannot be renewed has ended, and there is nothing in its place.
func (l *leases) renewOld(ctx context.Context, c *broker.Client, all bool) {
	for _, r := range l.old {
		for _, h := range r.leases {
			if h.ended || !all && l.w.clock.Now().Wall.Before(h.next) {
				continue
			}
			renewed, err := c.Renew(ctx, h.id, true)
			if h.ended = err != nil; !h.ended {
				renewed.Value.Clear()
				*h = *l.lease(renewed)
			}
		}
	}
}

// releaseOld gives back those that nothing needs any more.
func (l *leases) releaseOld(ctx context.Context, c *broker.Client) {
	l.old = slices.DeleteFunc(l.old, func(r *replaced) bool {
		if !r.over.Load() {
			return false
		}
		for _, h := range r.leases {
			if !h.ended {
				_ = c.Release(ctx, h.id) // it may be over by now, which is as well
			}
		}
		return true
	})
}

// renewDue renews what is to be renewed, and else shows the broker that somebody
// is there.
func (l *leases) renewDue(ctx context.Context, c *broker.Client) error {
	l.renewOld(ctx, c, false)
	asked := false
	for _, name := range slices.Sorted(maps.Keys(l.held)) {
		h := l.held[name]
		now := l.w.clock.Now().Wall
		if h.ended || now.Before(h.next) {
			continue
		}
		asked = true
		err := l.renewOne(ctx, c, h)
		switch {
		case err == nil:
		case errors.Is(err, broker.ErrNoSuchLease) && now.After(h.expires):
			err = l.retake(ctx, c, name) // this machine slept
		default:
			err = l.failed(name, err)
		}
		if err != nil {
			return err
		}
	}
	if asked {
		return nil
	}
	_, err := c.Changes(ctx, "")
	return err
}

// failed says what there is to say about a lease that cannot be kept. It returns
// the error when the connection is to blame.
func (l *leases) failed(name secret.Name, err error) error {
	h := l.held[name]
	var told *broker.Error
	switch {
	case errors.Is(err, broker.ErrKilled):
		if h.ended = true; !l.killed {
			l.killed = true
			l.w.say("the kill switch is on: the leases have ended, and %s goes on with the values it has", l.what)
		}
	case errors.Is(err, broker.ErrNoSuchLease):
		h.ended = true
		l.w.say("the lease on %s was ended: %s goes on with the value it has", name, l.what)
	case errors.Is(err, broker.ErrDenied), errors.Is(err, broker.ErrNotFound):
		h.ended = true
		l.w.say("%s is no longer given to this user: %s goes on with the value it has", name, l.what)
	case errors.As(err, &told):
		h.pause = min(max(2*h.pause, firstPause), lastPause)
		h.next = l.w.clock.Now().Wall.Add(h.pause)
	default:
		return err
	}
	return nil
}

// replace takes leases on the newest versions. The old ones are to be given back
// once the command has the new values; where a grant does not allow both at a
// time, they go first.
func (l *leases) replace(ctx context.Context, c *broker.Client, names []secret.Name) ([]*broker.Handed, *replaced, error) {
	old := new(replaced)
	for _, name := range names {
		old.leases = append(old.leases, l.held[name])
	}
	taken, err := l.take(ctx, c, names)
	switch {
	case errors.Is(err, broker.ErrLimit):
		old.over.Store(true)
		l.old = append(l.old, old)
		l.releaseOld(ctx, c)
		taken, err = l.take(ctx, c, names)
	case err == nil:
		l.old = append(l.old, old)
		l.killed = false
	}
	return taken, old, err
}

// renew asks for new leases on names, of whoever holds the old ones, which are
// to be given back with giveBack.
func (l *leases) renew(ctx context.Context, names []secret.Name) ([]*broker.Handed, *replaced, error) {
	ask := leaseAsk{names, make(chan leaseReply, 1)}
	select {
	case l.asks <- ask:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	reply := <-ask.reply
	return reply.taken, reply.old, reply.err
}

// release gives all leases back. A broker that does not answer ends them when
// the connection does.
func (l *leases) release(c *broker.Client) error {
	ctx, stop := context.WithTimeout(context.Background(), releaseTime)
	defer stop()
	for _, r := range l.old {
		r.over.Store(true)
	}
	l.releaseOld(ctx, c)
	for _, h := range l.held {
		if !h.ended {
			_ = c.Release(ctx, h.id)
		}
	}
	return nil
}

// nameList writes names as people read them.
func nameList(names []secret.Name) string {
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = string(n)
	}
	return strings.Join(texts, ", ")
}
