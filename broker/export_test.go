package broker

import "secretctl/sock"

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

// Awaited reports whether anybody waits for a change.
func (b *Broker) Awaited() bool {
	b.changes.mu.Lock()
	defer b.changes.mu.Unlock()
	return b.changes.next != nil
}

// OneImportWriter makes imports write one value after the other, so that the
// changes of the disk have an order.
func OneImportWriter() (restore func()) {
	was := importWriters
	importWriters = 1
	return func() { importWriters = was }
}
