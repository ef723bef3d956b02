package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"secretctl/broker"
	"secretctl/broker/clock"
)

// pace is how often a client logs in.
const pace = 25 * time.Millisecond

// hammers is an agent's client that renews its leases at half their time and when
// it hears of a new version, and logs in all the while with what it has, until
// its stdin ends: hammers NAME…. It prints a hammered.
func hammers() {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	h := &hammer{names: os.Args[1:], news: make(map[string]bool), held: make(map[string]*copied)}
	w := &world{env: os.LookupEnv, clock: clock.System(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	if err := h.run(ctx, w); err != nil && ctx.Err() == nil {
		h.out.Failed = append(h.out.Failed, err.Error())
	}
	_ = json.NewEncoder(os.Stdout).Encode(&h.out)
}

// hammered is what came of it.
type hammered struct {
	Logins   int
	Versions int      // that were used
	Late     int      // refused once the lease had expired during the login
	Failed   []string // refused, or not answered, while the lease was good
}

// copied is a lease with its value.
type copied struct {
	id      string
	version uint64
	value   string
	renew   time.Time
	expires time.Time
}

type hammer struct {
	names []string
	held  map[string]*copied
	out   hammered

	mu   sync.Mutex
	news map[string]bool // names of which there is a new version
}

func (h *hammer) run(ctx context.Context, w *world) error {
	return w.asAgent(ctx, func(c *broker.Client) error {
		first, err := c.Changes(ctx, "")
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var listening sync.WaitGroup
		defer listening.Wait()
		defer cancel()
		listening.Go(func() { h.listen(ctx, w, first.Cursor) })
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for i := 0; ; i++ {
			if err := h.use(ctx, c, h.names[i%len(h.names)]); err != nil {
				return err
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	})
}

// listen notes what it hears.
func (h *hammer) listen(ctx context.Context, w *world, cursor string) {
	_ = w.asAgent(ctx, func(c *broker.Client) error {
		for {
			news, err := c.Changes(ctx, cursor)
			if err != nil {
				return err
			}
			cursor = news.Cursor
			h.mu.Lock()
			for _, change := range news.Changes {
				h.news[change.Name] = true
			}
			h.mu.Unlock()
		}
	})
}

// use logs in once, with a lease that is good when it begins.
func (h *hammer) use(ctx context.Context, c *broker.Client, name string) error {
	h.mu.Lock()
	told := h.news[name]
	delete(h.news, name)
	h.mu.Unlock()
	held := h.held[name]
	if held == nil || told || !time.Now().Before(held.renew) {
		if err := h.take(ctx, c, name); err != nil {
			return fmt.Errorf("leasing %s: %w", name, err)
		}
		held = h.held[name]
	}
	switch err := login(held.value); {
	case err == nil:
		h.out.Logins++
	case errors.Is(err, errRefused) && !time.Now().Before(held.expires):
		h.out.Late++
		held.renew = time.Time{}
	default:
		h.out.Failed = append(h.out.Failed, fmt.Sprintf("%s version %d: %v", name, held.version, err))
	}
	return nil
}

// take renews the lease, or takes one.
func (h *hammer) take(ctx context.Context, c *broker.Client, name string) error {
	before := h.held[name]
	var handed *broker.Handed
	err := error(broker.ErrNoSuchLease)
	if before != nil {
		handed, err = c.Renew(ctx, before.id, false)
	}
	if errors.Is(err, broker.ErrNoSuchLease) {
		handed, err = c.Lease(ctx, broker.LeaseRequest{Secret: name})
	}
	if err != nil {
		return err
	}
	defer handed.Value.Clear()
	now := &copied{
		id: handed.LeaseID, version: handed.Version, expires: handed.ExpiresAt,
		renew: handed.IssuedAt.Add(handed.ExpiresAt.Sub(handed.IssuedAt) / 2),
	}
	if before == nil || before.version != now.version {
		h.out.Versions++
	}
	h.held[name] = now
	return handed.Value.Use(func(b []byte) error { now.value = string(b); return nil })
}

// useVariable is where a command that is run has its value.
const useVariable = "USED_CANARY"

// uses is a consumer that copied a value once and logs in with it all the while:
// uses takes it from its environment, as what run starts; uses NAME has it
// resolved as OpenClaw does, and again at a SIGUSR1. For each login it prints a
// line: "ok", or what was wrong; and "told" once it has resolved again. It ends a while after a SIGTERM, and does not stop
// before.
func uses() {
	ended, again := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	signal.Notify(again, syscall.SIGUSR1)
	value := os.Getenv(useVariable)
	resolve := func() {
		if len(os.Args) > 1 {
			var err error
			if value, err = resolved1(os.Args[1]); err != nil {
				fmt.Println(err)
			}
		}
	}
	resolve()
	fmt.Println("pid", os.Getpid())
	tick := time.NewTicker(pace)
	var over <-chan time.Time
	for {
		if err := login(value); err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("ok")
		}
		select {
		case <-tick.C:
		case <-again:
			resolve()
			fmt.Println("told")
		case <-ended:
			over = time.After(usesOn)
		case <-over:
			return
		}
	}
}

// usesOn is how long it takes to end.
const usesOn = 1500 * time.Millisecond

// resolved1 is what OpenClaw does for one value.
func resolved1(name string) (string, error) {
	cmd := exec.Command(filepath.Join(filepath.Dir(mustExecutable()), "secretctl"), "openclaw", "resolve")
	cmd.Args[0] = "secretctl"
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"protocolVersion":1,"provider":"secretctl","ids":[%q]}`, name))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("resolving: %w: %s", err, &stderr)
	}
	var answer struct{ Values map[string]string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return "", err
	}
	return answer.Values[name], nil
}

func mustExecutable() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// consumer is a process that prints what uses does.
type consumer struct {
	cmd  *exec.Cmd
	over chan struct{} // closed when its output has ended

	mu     sync.Mutex
	stderr bytes.Buffer
	ok     int
	told   int
	pids   []string
	wrong  []string
}

// consume starts it.
func consume(cmd *exec.Cmd) (*consumer, error) {
	c := &consumer{cmd: cmd, over: make(chan struct{})}
	cmd.Stderr = c
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.over)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.line(lines.Text())
		}
	}()
	return c, nil
}

func (c *consumer) line(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch pid, is := strings.CutPrefix(text, "pid "); {
	case is:
		c.pids = append(c.pids, pid)
	case text == "ok":
		c.ok++
	case text == "told":
		c.told++
	default:
		c.wrong = append(c.wrong, fmt.Sprintf("use %d of the %dth: %s", c.ok+len(c.wrong), len(c.pids), text))
	}
}

// Write is for its stderr.
func (c *consumer) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stderr.Write(p)
}

func (c *consumer) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stderr.String()
}

// seen returns how many uses were well, how many processes there were, and what
// was wrong.
func (c *consumer) seen() (ok int, pids, wrong []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ok, append([]string{}, c.pids...), append([]string{}, c.wrong...)
}

func (c *consumer) wasTold() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told > 0
}

// end ends it, and waits for that.
func (c *consumer) end() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	<-c.over
	_ = c.cmd.Wait()
}
