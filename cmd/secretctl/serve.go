package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/config"
	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/age"
	"secretctl/sock"
)

const serveHelp = `Runs the broker in the foreground. On stderr it says "ready" with both sockets
once it answers, how much the boundary to the agents is worth and why, and what
the owner should know. Where the identity has a passphrase it is asked for first,
on the terminal, or read from where --passphrase-from says.

SIGHUP puts the config in force again; one with a mistake changes nothing.
SIGTERM and SIGINT stop cleanly, a second one at once.`

func serveCommand(w *world) *cobra.Command {
	var makeHome bool
	var passphrase string
	c := &cobra.Command{
		Use:     "serve",
		Short:   "run the broker",
		Long:    serveHelp,
		Example: "  secretctl serve --init\n  secretctl service print systemd",
		Args:    takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			ask, err := w.passphraseFrom(c, passphrase)
			if err != nil {
				return err
			}
			return w.serve(c.Context(), makeHome, ask)
		},
	}
	c.Flags().BoolVar(&makeHome, "init", false, "make the home first, if there is none")
	c.Flags().StringVar(&passphrase, "passphrase-from", "", passphraseFromHelp)
	return c
}

// serve runs the broker until a signal ends it.
func (w *world) serve(ctx context.Context, makeHome bool, ask asker) error {
	if err := fitToServe(); err != nil {
		return err
	}
	if err := secret.Harden(); err != nil {
		return err
	}
	if err := secret.Lock(); err != nil {
		w.say("warning: %v", err)
	}
	h, disk, err := w.homeToServe(makeHome)
	if err != nil {
		return err
	}
	if testOnlyDisk != nil {
		disk = testOnlyDisk(disk)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // so that a second signal ends it at once
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	// Whoever read stderr may go away: that must not end the broker.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	// What net/http has to say it says to the standard logger.
	log.SetFlags(0)
	log.SetOutput(sayer{w})

	w.sweepRuns()
	s := &server{w: w, home: h, disk: disk, ask: ask}
	if err := s.open(ctx); err != nil {
		return err
	}
	return errors.Join(s.run(ctx, hangups), s.broker.Close())
}

// testOnlyDisk has a broker work on another disk than its home's, which fails or
// ends the process where a test wants that.
var testOnlyDisk func(durable.Disk) durable.Disk

// homeToServe opens the home, and makes it first where there is none and that
// is wanted.
func (w *world) homeToServe(makeHome bool) (h home, disk durable.Disk, err error) {
	if h, err = w.home(); err != nil {
		return h, nil, err
	}
	disk, err = h.own()
	if errors.Is(err, errNoHome) && makeHome {
		if err = w.makeHome(h, age.Wanted{}); err == nil {
			disk, err = h.own()
		}
	}
	return h, disk, err
}

// testOnlySettle, when not 0, is how long a lost answer is waited for.
var testOnlySettle time.Duration

// testOnlyCommandTime, when not 0, is how long the owner's commands may take.
var testOnlyCommandTime time.Duration

// server is a broker with its sockets.
type server struct {
	w      *world
	home   home
	disk   durable.Disk
	ask    asker // for the passphrase of the identity
	vault  *age.Store
	broker *broker.Broker
	rotate *rotator

	read   *config.Config                // the last that was read whole
	config atomic.Pointer[config.Config] // the one in force
}

// open opens the broker.
func (s *server) open(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this binary: %w", err)
	}
	cfg, _ := s.load() // what is wrong with it is said when it is read again
	vault := s.w.embedded(s.disk, cfg, s.ask)
	s.vault = vault
	s.broker, err = broker.Open(ctx, broker.Options{
		Home: s.home.dir, Disk: s.disk, Clock: s.w.clock, UID: uint32(os.Geteuid()), Exe: exe,
		Version: versionText(), Stores: map[string]providers.Store{"age": vault}, OpenStore: s.w.openOn(s.disk), Load: s.load, Reloaded: s.reloaded,
		Warn: func(text string) { s.w.say("%s", text) }, CommandTime: testOnlyCommandTime,
	})
	s.config.Store(s.read)
	if err != nil {
		return err
	}
	if err := unlocked(vault); err != nil {
		return errors.Join(err, s.broker.Close())
	}
	if s.rotate, err = s.newRotator(vault); err != nil {
		return errors.Join(err, s.broker.Close())
	}
	s.broker.Use(s.rotate)
	return nil
}

// unlocked asks for the passphrase of the identity, if it has one: nobody is there
// to ask later. Any other trouble with the identity is told, and mended, while
// the broker runs.
func unlocked(vault *age.Store) error {
	if !vault.HasPassphrase() {
		return nil
	}
	// Trying a passphrase takes 256 MiB, which the broker does not need again.
	defer debug.FreeOSMemory()
	return vault.Unlock()
}

// inForce returns the config in force.
func (s *server) inForce() *config.Config { return s.config.Load() }

func (s *server) load() (cfg *config.Config, err error) {
	if cfg, err = s.home.load(s.disk); err == nil {
		s.read = cfg
	}
	return cfg, err
}

// agentSocket returns where the agent's socket is to be.
func (s *server) agentSocket() string {
	if path := s.inForce().Broker.AgentSocket; path != "" {
		return path
	}
	return s.home.socket(broker.AgentSocket)
}

// run answers on both sockets until ctx is done or one of them fails.
func (s *server) run(ctx context.Context, hangups <-chan os.Signal) error {
	if err := s.makeRun(); err != nil {
		return err
	}
	paths := map[broker.Socket]string{broker.OwnerSocket: s.home.socket(broker.OwnerSocket), broker.AgentSocket: s.agentSocket()}
	listeners := make(map[broker.Socket]*sock.Listener)
	for socket, path := range paths {
		l, err := s.broker.Listen(socket, path)
		if err != nil {
			return errors.Join(err, closeAll(listeners))
		}
		listeners[socket] = l
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 3)
	var running sync.WaitGroup
	running.Go(func() { defer cancel(); failed <- s.broker.Run(ctx) })
	running.Go(func() { s.rotate.engine.Run(ctx) })
	running.Go(func() { s.rotate.scheduler.Run(ctx) })
	for socket, l := range listeners {
		running.Go(func() { defer cancel(); failed <- s.broker.Serve(ctx, socket, l) })
	}
	s.announce()
	s.w.say("ready owner=%s agent=%s", paths[broker.OwnerSocket], paths[broker.AgentSocket])
	s.reloads(ctx, hangups)
	running.Wait()
	err := errors.Join(<-failed, <-failed, <-failed, closeAll(listeners))
	s.w.say("stopped")
	return err
}

// makeRun makes the sockets' directory, which a backup may lack, passable.
func (s *server) makeRun() error {
	if err := durable.MkdirAll(s.disk, "run", 0o711); err != nil {
		return fmt.Errorf("making the sockets' directory: %w", err)
	}
	if err := os.Chmod(filepath.Join(s.home.dir, "run"), 0o711); err != nil {
		return fmt.Errorf("making the sockets' directory: %w", err)
	}
	return nil
}

func closeAll(listeners map[broker.Socket]*sock.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// reloads puts the config in force again at every hangup until ctx is done.
func (s *server) reloads(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			s.reload()
		}
	}
}

func (s *server) reload() {
	if err := s.broker.Reload(); err != nil {
		s.w.report(err)
		s.w.say("the config was not reloaded: the one before stays in force")
		return
	}
}

// reloaded is what a config that is in force now changes here, and what is said
// of it.
func (s *server) reloaded() {
	socket, before := s.agentSocket(), s.inForce().Age
	s.config.Store(s.read)
	s.rotate.scheduler.Reload()
	s.w.say("config reloaded")
	if s.agentSocket() != socket {
		s.w.say("agent_socket is looked at only when the broker starts: the agent's socket stays %s", socket)
	}
	if !reflect.DeepEqual(s.inForce().Age, before) {
		s.w.say("[store.age] is looked at only when the broker starts: the identity and the recipients stay")
	}
	s.announce()
}
