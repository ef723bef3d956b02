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
