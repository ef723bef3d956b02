package broker

import (
	"fmt"
	"path/filepath"

	"secretctl/broker/config"
	"secretctl/sock"
)

// settle works out what follows from a config, or says why it cannot be put in
// force. It changes nothing.
func (b *Broker) settle(cfg *config.Config) (*settings, error) {
	if err := b.checkCommands(cfg); err != nil {
		return nil, err
	}
	s := &settings{Config: cfg, agents: make(map[uint32]*agent)}
	var err error
	limits := b.boundary(cfg)
	for _, a := range cfg.Agents {
		known := &agent{Agent: a, mode: limits.modeOf(a)}
		for _, exe := range a.Exe {
			pin, err := sock.PinExecutable(exe)
			if err != nil {
				return nil, fmt.Errorf("agent %q: exe: %w", a.Name, err)
			}
			known.pins = append(known.pins, pin)
		}
		s.agents[a.UID] = known
	}
	s.mode = weakest(s.agents)
	if s.stores, err = b.openStores(cfg); err != nil {
		return nil, err
	}
	for _, store := range s.stores {
		s.shared = s.shared || store.spec.Shared
	}
	return s, nil
}

// boundary lists what no agent may be able to change.
func (b *Broker) boundary(cfg *config.Config) boundary {
	limits := boundary{uid: b.uid, paths: []string{
		filepath.Join(b.Home, "secretctl.toml"), filepath.Join(b.Home, "identity.txt"), filepath.Join(b.Home, "vault"),
	}}
	if b.Exe != "" {
		limits.paths = append(limits.paths, b.Exe)
	}
	limits.paths = append(limits.paths, commands(cfg)...)
	for _, o := range cfg.Broker.Owners {
		limits.owners = append(limits.owners, o.UID)
	}
	return limits
}

// weakest is the mode of the whole: that of the agent it holds back least.
func weakest(agents map[uint32]*agent) (worst Mode) {
	first := true
	for _, a := range agents {
		switch {
		case first, a.mode.weaker(worst):
			worst, first = a.mode, false
		case a.mode.Code() == worst.Code():
			worst.Reasons = append(worst.Reasons[:len(worst.Reasons):len(worst.Reasons)], a.mode.Reasons...)
		}
	}
	return worst
}
