package broker

import (
	"secretctl/broker/secret"
	"secretctl/sock"
)

// Owner is an owner without a socket, for tests in this process.
func Owner() *Caller {
	return &Caller{Peer: &sock.Peer{PID: 1}, owner: true}
}

// Agent is the agent with this uid without a socket, as the config now has it.
func (b *Broker) Agent(uid uint32) *Caller {
	a, ok := b.settings.Load().agents[uid]
	if !ok {
		panic("the config names no such agent")
	}
	return &Caller{Peer: &sock.Peer{UID: uid, GID: uid, PID: 1}, agent: a}
}

// Expire does what Run does every second.
func (b *Broker) Expire() { b.expire() }

// TidyLog does what Run does every minute.
func (b *Broker) TidyLog() { b.tidyLog() }

// SetSegmentBytes makes the logs opened from now on begin a new segment at this
// size.
func SetSegmentBytes(n int64) { testOnlySegmentBytes = n }

// KeepLeased does what Run does every minute.
func (b *Broker) KeepLeased() { b.keepLeased() }

// Choosing is a lease that is between its choice of a version and the table.
func (b *Broker) Choosing() (chosen func()) {
	b.choosing.RLock()
	return b.choosing.RUnlock
}

// Awaits reports whether anybody waits until none is.
func (b *Broker) Awaits() bool {
	if !b.choosing.TryRLock() {
		return true
	}
	b.choosing.RUnlock()
	return false
}

// Chosen reports whether no lease is.
func (b *Broker) Chosen() bool {
	if !b.choosing.TryLock() {
		return false
	}
	b.choosing.Unlock()
	return true
}

// Awaited reports whether anybody waits for a change.
func (b *Broker) Awaited() bool {
	return b.changes.awaited()
}

// OneImportWriter makes imports take in one value after the other, so that the
// changes of the disk have an order.
func OneImportWriter() (restore func()) {
	writers, batches := importWriters, importBatches
	importWriters, importBatches = 1, 1
	return func() { importWriters, importBatches = writers, batches }
}

// ImportInBatches makes imports take in so many values at a time.
func ImportInBatches(n int) (restore func()) {
	was := importTogether
	importTogether = func() int { return n }
	return func() { importTogether = was }
}

// ClearValues empties the cache of opened values.
func (b *Broker) ClearValues() { b.values.clear() }

// Locks are the locks of names.
type Locks struct{ locks }

func (l *Locks) Lock(names ...secret.Name) (unlock func()) { return l.lock(names...) }

func (l *Locks) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.of)
}

// Users returns how many have a lock or wait for it.
func (l *Locks) Users(name secret.Name) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[name].users
}

// Unfinished returns how many secrets have something left where they were.
func (b *Broker) Unfinished() int {
	left, err := b.ledger.Left()
	if err != nil {
		return -1
	}
	return len(left)
}

// Followed returns the secrets that are looked after each minute.
func (b *Broker) Followed() []secret.Name { return b.followed() }

// Mine returns the secrets of which other hosts are told that this one rotates them.
func (b *Broker) Mine() []secret.Name { return b.hosts.mine() }

// HandedOut is what is ended with the kill switch.
func (b *Broker) HandedOut(agent string) ([]Held, error) { return b.handedOut(agent) }
