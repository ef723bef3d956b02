package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"secretctl/sock"
)

// leastFiles is the fewest open files a broker can work with: those of the
// home, the sockets, and some connections.
const leastFiles = 64

// fitToServe refuses surroundings in which what the broker says would not hold.
func fitToServe() error {
	if sock.InUserNamespace() {
		return hinted(fmt.Errorf("this is a user namespace, where uids are not those of the machine"), "run the broker outside the container")
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("asking how many files may be open: %w", err)
	}
	if files.Cur < leastFiles {
		return hinted(fmt.Errorf("%d open files are too few for a broker", files.Cur), "ulimit -n 1024, or LimitNOFILE=1024 in the unit")
	}
	return nil
}

// announce tells the owner what the config in force comes to.
func (s *server) announce() {
	status, err := s.broker.Status(context.Background())
	if err != nil {
		s.w.say("asking for the broker's own state: %v", err)
		return
	}
	mode := status.Mode
	if !strings.Contains(mode, "(") && len(status.ModeReasons) > 0 {
		mode += ": " + strings.Join(status.ModeReasons, "; ")
	}
	s.w.say("mode %s", mode)
	if status.Killed {
		s.w.say("the kill switch is on: nothing is handed out")
		s.w.hint("to end it: secretctl resume")
	}
	if s.vault.InKeyring() {
		go s.warnIdentity() // a keyring that stands still keeps nobody from what needs no vault
	} else {
		s.warnIdentity()
	}
	s.warnIdle()
	s.warnUnreachable()
}

// warnIdentity says why no value in the vault will be opened.
func (s *server) warnIdentity() {
	if err := s.home.checkIdentity(s.vault); err != nil {
		s.w.say("warning: %v", err)
		s.w.hint(hintOf(err))
	}
}

// warnIdle says when the config serves nobody.
func (s *server) warnIdle() {
	problem := ""
	switch {
	case len(s.inForce().Agents) == 0:
		problem = "the config names no agent: nobody is served"
	case len(s.inForce().Policy.Rules()) == 0:
		problem = "the config grants nothing: agents get nothing"
	default:
		return
	}
	s.w.say("warning: %s", problem)
	s.w.hint(fmt.Sprintf("edit %s, then: secretctl reload", s.home.configPath()))
}

// warnUnreachable says when an agent cannot get to its socket, or its client
// would not trust it.
func (s *server) warnUnreachable() {
	path := s.agentSocket()
	for _, a := range s.inForce().Agents {
		if where, blocked := impassable(path, a.UID); blocked {
			s.w.say("warning: agent %q (uid %d) cannot get to its socket: it may not pass %s", a.Name, a.UID, where)
			s.w.hint(fmt.Sprintf("chmod o+x %s, or agent_socket in the config", where))
		}
	}
	if err := sock.TrustedPath(filepath.Dir(path), uint32(os.Geteuid()), true); err != nil {
		s.w.say("warning: clients will not use the agent's socket: %v", err)
	}
}
