package openbao_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/clock"
	"secretctl/broker/config"
	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/age"
	"secretctl/providers/openbao"
	"secretctl/providers/openbao/openbaotest"
	"secretctl/rotation"
	"secretctl/sock"
)

// shared is the secret that the hosts of these tests keep together.
const shared secret.Name = "api/key"

// grace is long enough for every host to have heard of a new version.
const grace = 5 * time.Minute

// keys is a service that makes keys beside each other, or has one that is set. It
// outlives the hosts.
type keys struct {
	mu     sync.Mutex
	alone  bool              // there is one, which is set
	live   map[string]string // value → tag
	serial int
	made   int // this round

	rolls   bool   // the one there is is replaced in place, by the service
	revokes int    // calls to end one
	refuses error  // what looking is answered with; nil: well
	unsure  error  // what is said of any key; nil: whether it works
	issued  func() // called when one was made; nil: nothing is
}

func (k *keys) whenIssued(do func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.issued = do
}

func (k *keys) works(value string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.live[value]
	return ok
}

// host is one host, which may die at any of its effects.
type host struct {
	p      *pair
	port   string
	disk   durable.Disk
	broker *broker.Broker
	engine *rotation.Engine
	stop   func()

	mu      sync.Mutex
	effects int
	dieAt   int // at that effect; 0: never
	before  bool
	dead    bool
	back    time.Time // when it is started again
	asked   time.Time // when it was last asked to rotate
}

var errDead = errors.New("the host is dead")

// effect is something that others see. A host that dies in it has done it, or not.
func (h *host) effect(do func() error) error {
	h.mu.Lock()
	if h.dead {
		h.mu.Unlock()
		return errDead
	}
	h.effects++
	dies := h.effects == h.dieAt
	if dies {
		h.dead = true
	}
	skip := dies && h.before
	h.mu.Unlock()
	if skip {
		return errDead
	}
	err := do()
	if dies {
		return errDead
	}
	return err
}

func (h *host) isDead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dead
}

// keyMaker is the provider, as one host has it.
type keyMaker struct {
	h *host
	k *keys
}

func (m keyMaker) call(do func() error) error {
	err := m.h.effect(func() error {
		m.k.mu.Lock()
		defer m.k.mu.Unlock()
		return do()
	})
	if errors.Is(err, errDead) {
		return providers.Maybe(providers.CodeUnavailable, "there was no answer")
	}
	return err
}

func textOf(v secret.Value) (text string) {
	_ = v.Use(func(b []byte) error { text = string(b); return nil })
	return text
}

func (m keyMaker) fresh() string {
	m.k.serial++
	return fmt.Sprintf("key-%06d-%08x", m.k.serial, m.k.serial*2654435761)
}

func (m keyMaker) Choose(context.Context, *providers.Call) (*providers.Credential, error) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	v, err := secret.New([]byte(m.fresh()))
	return &providers.Credential{Value: v}, err
}

func (m keyMaker) Check(context.Context, *providers.Call) (providers.Identity, error) {
	return providers.Identity{Account: "joel"}, m.k.refuses
}

func (m keyMaker) Issue(_ context.Context, c *providers.Call, next *providers.Credential) (made *providers.Credential, err error) {
	err = m.call(func() error {
		m.k.made++
		if m.k.alone {
			clear(m.k.live)
			m.k.live[textOf(next.Value)] = c.Tag
			made = next
			return nil
		}
		text := m.fresh()
		if m.k.rolls {
			clear(m.k.live)
		}
		m.k.live[text] = c.Tag
		if m.k.issued != nil {
			defer m.k.issued()
		}
		v, err := secret.New([]byte(text))
		made = &providers.Credential{ID: text[:10], Value: v, Created: time.Now()}
		return err
	})
	if err != nil && made != next && made != nil {
		made.Value.Clear()
	}
	if err != nil {
		return nil, err
	}
	return made, nil
}

func (m keyMaker) Find(_ context.Context, c *providers.Call) (found []providers.Credential, err error) {
	err = m.call(func() error {
		for value, tag := range m.k.live {
			if tag == c.Tag {
				found = append(found, providers.Credential{ID: value[:10]})
			}
		}
		return nil
	})
	return found, err
}

func (m keyMaker) Verify(_ context.Context, _ *providers.Call, cred *providers.Credential) (providers.Identity, error) {
	return providers.Identity{Account: "joel"}, m.call(func() error {
		if m.k.unsure != nil {
			return m.k.unsure
		}
		if _, ok := m.k.live[textOf(cred.Value)]; !ok {
			return providers.Not(providers.CodeInvalid, "it is not accepted")
		}
		return nil
	})
}

func (m keyMaker) Disable(context.Context, *providers.Call, *providers.Credential) error {
	return providers.Not(providers.CodeUnsupported, "there is no such call")
}

func (m keyMaker) Revoke(_ context.Context, _ *providers.Call, cred *providers.Credential) error {
	return m.call(func() error {
		m.k.revokes++
		for value := range m.k.live {
			if value[:10] != cred.ID && (cred.Value.IsZero() || value != textOf(cred.Value)) {
				continue
			}
			if value == m.h.p.inForce() {
				m.h.p.find("host %s ended the key that is in force", m.h.port)
			}
			delete(m.k.live, value)
		}
		return nil
	})
}

// elapsed is a clock by the bubble's time.
type elapsed struct{ from time.Time }

func (c elapsed) Now() clock.Reading {
	return clock.Reading{Wall: time.Now().UTC(), Boot: time.Since(c.from) + time.Hour}
}

func (c elapsed) BootID() string { return "boot" }

// pair is two hosts over one server and one service.
type pair struct {
	t      *testing.T
	who    *sock.Peer // the owner of both
	server *openbaotest.Server
	keys   *keys
	hosts  [2]*host
	rand   *rand.Rand

	mu       sync.Mutex
	versions []uint64 // that were in force, one after the other
	wrong    []string
}

func (p *pair) find(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
}

// record is what the hosts agreed on, as the server has it.
func (p *pair) record() (r struct {
	Current  uint64
	Rotation *providers.Claim
}) {
	text, err := json.Marshal(p.server.Fields("secret", "secretctl/"+string(shared)+"/@record")["record"])
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		p.find("reading the record: %v", err)
	}
	return r
}

// inForce is the value of the version that is.
func (p *pair) inForce() string {
	text, _ := p.server.Fields("secret", fmt.Sprintf("secretctl/%s/@%d", shared, p.record().Current))["value"].(string)
	return text
}

// RoundTrip is the way to the server, as each host has it.
func (p *pair) RoundTrip(req *http.Request) (*http.Response, error) {
	h := p.hosts[0]
	if req.URL.Port() == p.hosts[1].port {
		h = p.hosts[1]
	}
	body := io.NopCloser(strings.NewReader(""))
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		body = io.NopCloser(strings.NewReader(string(b)))
	}
	w := httptest.NewRecorder()
	ask := func() error {
		r := httptest.NewRequestWithContext(req.Context(), req.Method, req.URL.String(), body)
		r.Header = req.Header
		p.server.ServeHTTP(w, r)
		if req.Method == http.MethodPut && strings.HasSuffix(req.URL.Path, "/@record") && w.Code == http.StatusOK {
			p.noteCurrent()
		}
		return nil
	}
	if err := h.effect(ask); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// noteCurrent remembers what is in force.
func (p *pair) noteCurrent() {
	n := p.record().Current
	p.mu.Lock()
	defer p.mu.Unlock()
	if n != 0 && (len(p.versions) == 0 || p.versions[len(p.versions)-1] != n) {
		p.versions = append(p.versions, n)
	}
}

// peer is this process at the other end of a socket. It is made outside of a
// bubble, where nothing waits for the network.
func peer(t *testing.T) *sock.Peer {
	path := filepath.Join(t.TempDir(), "s")
	l, err := sock.Listen(path, sock.ListenOptions{Mode: 0o600})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	in, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = in.Close() })
	return in.(*sock.Conn).Peer()
}

func newPair(t *testing.T, who *sock.Peer, alone bool, seed uint64) *pair {
	p := &pair{t: t, who: who, server: openbaotest.New(time.Now), keys: &keys{alone: alone, live: make(map[string]string)}, rand: rand.New(rand.NewPCG(seed, 1))}
	for i := range p.hosts {
		disk := durable.NewMem()
		now := elapsed{time.Now()}
		require.NoError(t, broker.Init(disk, now, func() error {
			_, err := age.Init(disk, time.Now(), age.Wanted{})
			return err
		}))
		p.hosts[i] = &host{p: p, port: fmt.Sprint(i + 1), disk: disk}
	}
	for _, h := range p.hosts {
		h.start()
	}
	return p
}

// end stops those that are not.
func (p *pair) end() {
	for _, h := range p.hosts {
		if h.back.IsZero() {
			h.stop()
		}
	}
}

// start starts a host's broker.
func (h *host) start() {
	t := h.p.t
	h.mu.Lock()
	h.dead, h.effects, h.dieAt = false, 0, 0
	h.mu.Unlock()
	disk := &durable.Hook{Disk: h.disk, Before: func(durable.Op) durable.Verdict {
		if h.isDead() {
			return durable.Verdict{Err: errDead}
		}
		return durable.Verdict{}
	}}
	kind := openbao.Kind()
	text := "[store.bao]\ntype = \"openbao\"\naddress = \"http://127.0.0.1:" + h.port + "\"\nmount = \"secret\"\ntoken = \"own/bao-token\"\nshared = true\n[secret.\"" + string(shared) + "\"]\nstore = \"bao\"\n"
	vault := age.New(disk, "vault")
	token := &own{all: map[secret.Name]string{"own/bao-token": openbaotest.Root}}
	now := elapsed{time.Now().Add(-time.Hour)}
	var err error
	h.broker, err = broker.Open(t.Context(), broker.Options{
		Disk: disk, Clock: now, UID: uint32(os.Getuid()), Version: "test", Stores: map[string]providers.Store{"age": vault},
		OpenStore: func(s config.Store, _ func(context.Context, secret.Name) (secret.Value, error)) (providers.Store, error) {
			return kind.Open(providers.StoreSetup{Name: s.Name, Options: s.Options, Own: token.open})
		},
		Load: func() (*config.Config, error) {
			return config.ParseOptions{Stores: []providers.StoreKind{kind}}.Parse("secretctl.toml", []byte(text))
		},
	})
	require.NoError(t, err)
	made := providers.Kind{Name: "keys", Shape: providers.ShapeCreate, Overlap: true}
	if h.p.keys.alone {
		made.Shape, made.Overlap = providers.ShapeSet, false
	}
	if h.p.keys.rolls {
		made.Shape, made.Overlap = providers.ShapeRoll, false
	}
	made.Open = func(providers.Options) (providers.Rotator, error) { return keyMaker{h, h.p.keys}, nil }
	v := h.broker.Vault()
	h.engine, err = rotation.New(rotation.Options{
		DB: v.DB(), Vault: v, Sealer: vault, Claims: v, Now: time.Now,
		Setup: func(secret.Name) (rotation.Setup, bool) {
			return rotation.Setup{Kind: made, Grace: grace, Elsewhere: true}, true
		},
	})
	require.NoError(t, err)
	h.broker.Use(flights{engine: h.engine})
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { h.engine.Run(ctx) })
	all.Go(func() { _ = h.broker.Run(ctx) })
	h.stop = func() {
		stop()
		all.Wait()
		_ = h.broker.Close() // of a dead one nothing is written
	}
}

// up reports whether the host lives. One that has died is started anew after a while.
func (h *host) up() (up, anew bool) {
	switch {
	case !h.isDead():
		return true, false
	case h.back.IsZero():
		h.stop()
		h.back = time.Now().Add(time.Duration(h.p.rand.IntN(1800)) * time.Second)
		return false, false
	case time.Now().Before(h.back):
		return false, false
	}
	h.back = time.Time{}
	h.start()
	return true, true
}

// flights is of the rotations what a broker asks by itself.
type flights struct {
	broker.Rotations
	engine *rotation.Engine
}

func (f flights) Flight(name secret.Name) (providers.Progress, bool) {
	p, err := f.engine.Get(name)
	return p, err == nil
}

// lease gets the value as a host hands it out.
func (h *host) lease() (string, error) {
	owner, err := h.broker.AsOwner(h.p.who)
	if err != nil {
		return "", err
	}
	issued, err := h.broker.Lease(context.Background(), owner, broker.LeaseRequest{Secret: string(shared)})
	if err != nil {
		return "", err
	}
	text := textOf(issued.Value)
	return text, h.broker.Release(owner, issued.ID.String())
}

// rotate has a host rotate a version, as its scheduler does.
func (h *host) rotate(version uint64) error {
	h.asked = time.Now()
	_, err := h.engine.Start(rotation.Order{Secret: shared, By: "schedule", From: version})
	return err
}

// round has both hosts replace the version that is in force, one of which mostly
// dies in it, and waits until nothing is under way.
func (p *pair) round() (deaths int) {
	before := p.record().Current
	p.mu.Lock()
	p.versions = []uint64{before}
	p.mu.Unlock()
	p.keys.mu.Lock()
	p.keys.made = 0
	p.keys.mu.Unlock()
	for _, h := range p.hosts {
		h.mu.Lock()
		h.effects, h.dieAt, h.before = 0, 0, p.rand.IntN(2) == 0
		if p.rand.IntN(4) != 0 {
			h.dieAt = 1 + p.rand.IntN(60)
		}
		h.mu.Unlock()
	}
	var both sync.WaitGroup
	for _, h := range p.hosts {
		wait := time.Duration(p.rand.IntN(3)) * time.Second
		both.Go(func() {
			time.Sleep(wait)
			_ = h.rotate(before)
		})
	}
	both.Wait()
	for end := time.Now().Add(24 * time.Hour); ; {
		time.Sleep(7 * time.Second)
		now := p.record()
		quiet := now.Current != before && now.Rotation == nil
		for _, h := range p.hosts {
			if h.isDead() && h.back.IsZero() {
				deaths++
			}
			if up, anew := h.up(); !up {
				quiet = false
				continue
			} else if anew {
				quiet = false
			}
			if _, err := h.engine.Get(shared); err == nil {
				quiet = false
			} else if now.Current == before && time.Since(h.asked) > 5*time.Minute {
				_ = h.rotate(before)
			}
			if p.rand.IntN(8) != 0 {
				continue
			}
			value, err := h.lease()
			if err == nil && !p.keys.works(value) && !p.keys.alone {
				p.find("host %s hands out a key that does not work: version %d is in force", h.port, now.Current)
			} else if err != nil && !h.isDead() {
				p.find("host %s hands out nothing: %v", h.port, err)
			}
		}
		if quiet {
			break
		}
		if time.Now().After(end) {
			p.find("it does not end: version %d is in force, before it was %d; rotation %+v", now.Current, before, now.Rotation)
			break
		}
	}
	p.settled(before)
	return deaths
}

// settled checks what is left when all is quiet.
func (p *pair) settled(before uint64) {
	p.mu.Lock()
	versions := slices.Clone(p.versions)
	p.mu.Unlock()
	if len(versions) != 2 || versions[0] != before {
		p.find("one rotation was to be done, and these versions were in force: %v", versions)
	}
	p.keys.mu.Lock()
	live := len(p.keys.live)
	p.keys.mu.Unlock()
	if live != 1 {
		p.find("the service has %d keys, and one is to be there", live)
	}
	time.Sleep(3 * time.Minute)
	for _, h := range p.hosts {
		value, err := h.lease()
		if h.isDead() {
			continue // it may be any time in the next round
		}
		if err != nil || !p.keys.works(value) || value != p.inForce() {
			p.find("host %s does not hand out the key that is in force (%v)", h.port, err)
		}
	}
}

// TestHosts: two hosts that keep one secret rotate it once when both want to,
// whichever of them dies, and when. None of what they hand out is dead, no key is
// left behind, and none is lost.
func TestHosts(t *testing.T) {
	// Each pair begins anew, since its disks are in memory and only grow.
	pairs, rounds := 1, 50
	if os.Getenv("SECRETCTL_LONG") != "" {
		pairs = 20
	}
	for _, alone := range []bool{false, true} {
		t.Run(map[bool]string{false: "keys beside each other", true: "one that is set"}[alone], func(t *testing.T) {
			deaths, who := 0, peer(t)
			for n := range pairs {
				synctest.Test(t, func(t *testing.T) { deaths += contend(t, who, alone, uint64(os.Getpid()+n<<32), rounds) })
			}
			require.Greater(t, deaths, pairs*rounds/4)
			t.Logf("%d rounds, %d deaths", pairs*rounds, deaths)
		})
	}
}

// contend has a new pair of hosts do rounds.
func contend(t *testing.T, who *sock.Peer, alone bool, seed uint64, rounds int) (deaths int) {
	p := newPair(t, who, alone, seed)
	defer openbao.Via(p)()
	defer p.end()
	const first = "key-000000-first"
	p.keys.live[first] = ""
	owner, err := p.hosts[0].broker.AsOwner(who)
	require.NoError(t, err)
	keepAs(t, p, owner, shared, first)
	for n := range rounds {
		deaths += p.round()
		if len(p.wrong) > 0 {
			t.Fatalf("seed %d, round %d: %s", seed, n, strings.Join(p.wrong, "\n"))
		}
	}
	return deaths
}
