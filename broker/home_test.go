package broker_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/clock"
	"secretctl/broker/config"
	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/age"
	"secretctl/sock"
)

// start is when the fake clocks of these tests begin.
var start = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// The agents of the tests' configs. The uids belong to no account.
const (
	agentUID = 61001
	otherUID = 61002
)

// grants is the config that most tests run with.
const grants = `
[agent.claw]
uid = 61001
[agent.other]
uid = 61002

[[grant]]
agent = "claw"
secrets = ["openai/*", "weather"]
ttl = "15m"
[[grant]]
agent = "claw"
secrets = ["openai/billing-*"]
deny = true
[[grant]]
agent = "other"
secrets = ["weather"]
`

// patience bounds every wait for what must happen, and says nothing of how soon.
const patience = time.Minute

// home is a home with what opens brokers on it.
type home struct {
	t      testing.TB
	dir    string // "" for a disk in memory
	disk   durable.Disk
	clock  *clock.Fake
	mu     sync.Mutex
	config string   // what the next load reads
	warned []string // by any broker on it
	kinds  []providers.StoreKind
}

// newHome makes an empty home on the real disk, which other uids can reach.
func newHome(t testing.TB, config string) *home {
	dir := canary.Dir(t)
	disk, err := durable.OpenHome(dir)
	require.NoError(t, err)
	h := &home{t: t, dir: dir, disk: disk, clock: clock.NewFake(start), config: config}
	require.NoError(t, h.init())
	return h
}

func (h *home) init() error {
	return broker.Init(h.disk, h.clock, func() error {
		_, err := age.Init(h.disk, h.clock.Now().Wall, age.Wanted{})
		return err
	})
}

func (h *home) load() (*config.Config, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return config.ParseOptions{Stores: h.kinds}.Parse("secretctl.toml", []byte(h.config))
}

// configure changes what the next load reads.
func (h *home) configure(config string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.config = config
}

func (h *home) warn(s string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.warned = append(h.warned, s)
}

func (h *home) stores() map[string]providers.Store {
	return map[string]providers.Store{"age": age.New(h.disk, "vault")}
}

// open opens a broker, which the caller closes.
func (h *home) open() (*broker.Broker, error) { return h.openWith(h.stores()) }

// openWith is open with other stores.
func (h *home) openWith(stores map[string]providers.Store) (*broker.Broker, error) {
	return broker.Open(context.Background(), broker.Options{
		Home: h.dir, Disk: h.disk, Clock: h.clock, UID: uint32(os.Getuid()), Version: "test",
		Stores: stores, Load: h.load, Warn: h.warn,
	})
}

// broker opens a broker that is closed with the test.
func (h *home) broker() *broker.Broker {
	b, err := h.open()
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, b.Close()) })
	return b
}

func (h *home) path(socket broker.Socket) string {
	return filepath.Join(h.dir, "run", string(socket)+".sock")
}

// serve answers on both sockets until the test ends.
func (h *home) serve(b *broker.Broker) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for _, s := range []broker.Socket{broker.AgentSocket, broker.OwnerSocket} {
		l, err := b.Listen(s, h.path(s))
		require.NoError(h.t, err)
		done.Go(func() {
			if err := b.Serve(ctx, s, l); err != nil {
				h.warn("serving: " + err.Error())
			}
			_ = l.Close()
		})
	}
	h.t.Cleanup(func() { cancel(); done.Wait() })
}

// client connects to one of the sockets.
func (h *home) client(socket broker.Socket) *broker.Client {
	c, err := broker.Dial(h.t.Context(), h.path(socket), sock.DialOptions{AllowSticky: true})
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

// value makes a value of a text.
func value(t testing.TB, text string) secret.Value {
	v, err := secret.New([]byte(text))
	require.NoError(t, err)
	return v
}

// mint sets a secret, as the owner, to the value that [canary.New] mints for the
// label.
func mint(t testing.TB, b *broker.Broker, name, label string) uint64 {
	return set(t, b, name, canary.New(t, label))
}

// set sets a secret, as the owner, to a text.
func set(t testing.TB, b *broker.Broker, name, text string) uint64 {
	v := value(t, text)
	defer v.Clear()
	version, err := b.Set(t.Context(), broker.Owner(), secret.Name(name), "", v)
	require.NoError(t, err)
	return version
}

// reveal returns the text of a value.
func reveal(t testing.TB, v secret.Value) (text string) {
	require.NoError(t, v.Use(func(b []byte) error { text = string(b); return nil }))
	return text
}
