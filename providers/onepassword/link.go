package onepassword

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/onepassword/wire"
)

// times are how long the helper may take, and stay.
type times struct {
	idle   time.Duration // without work before it is ended
	start  time.Duration // for its start: it compiles 9 MB of WebAssembly first
	answer time.Duration // for what it is asked at once
}

// helperTimes leave the broker, which gives a call 15 s, time to hear the reason.
var helperTimes = times{idle: 2 * time.Minute, start: time.Minute, answer: 12 * time.Second}

// margin is how much earlier than its end of a time the helper is to give up, so
// that its answer still comes.
const margin = 2 * time.Second

// maxFailures is after how many answers in a row that say nothing but that the
// service cannot be reached the helper is ended: it may be the one that cannot.
const maxFailures = 5

// How many versions are put or deleted at once: each takes several requests one after
// the other, which must fit the time of an answer. The op program takes a second for
// each.
const (
	maxWrites = 4
	opWrites  = 1
)

// link is the way to the helper. It starts one when there is something to do, asks
// it for all that waits at once, one batch at a time, and ends it when it is idle
// or sick.
type link struct {
	times  times
	writes int // maxWrites or opWrites
	spawn  func() (*helper, error)
	hello  func(context.Context) (wire.Hello, secret.Value, error)
	// told is called with what came of each batch, or of an opening, and which token
	// it was done with.
	told func(a wire.Answers, token string)

	starting atomic.Bool // a helper is

	mu      sync.Mutex
	waiting []*asked
	working bool
	closed  bool
	rest    *time.Timer // ends an idle helper
	work    sync.WaitGroup

	// Of the goroutine that works.
	helper   *helper
	signedIn bool   // it has
	token    string // the fingerprint of the one it has
	failures int
}

// helper is a process that was started.
type helper struct {
	conn net.Conn
	end  func() // ends the process and waits until it has
}

// asked is one call, and who waits for it.
type asked struct {
	call  wire.Call
	body  secret.Value // of a put: a copy of its own
	again bool         // it was asked of a helper that ended

	done chan struct{} // closed when there is an answer

	mu     sync.Mutex
	gone   bool // nobody waits any more
	answer wire.Answer
	value  secret.Value
	err    error
}

// ask has the helper do a call and returns the answer, with the value where there
// is one. Its errors are those of the contract, or a [wire.Error].
func (l *link) ask(ctx context.Context, c wire.Call, body secret.Value) (wire.Answer, secret.Value, error) {
	if err := ctx.Err(); err != nil {
		return wire.Answer{}, secret.Value{}, providers.Unavailable(err)
	}
	a := &asked{call: c, done: make(chan struct{})}
	if c.Op == wire.Put {
		copied, err := copyOf(body)
		if err != nil {
			return wire.Answer{}, secret.Value{}, providers.Unavailable(err)
		}
		a.body, a.call.Body = copied, copied.Len()
	}
	if !l.add(a) {
		a.body.Clear()
		return wire.Answer{}, secret.Value{}, unavailable("the store has been closed", "")
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		if a.leave() {
			return wire.Answer{}, secret.Value{}, l.late(ctx)
		}
	}
	return a.answer, a.value, a.err
}

func copyOf(v secret.Value) (secret.Value, error) {
	return secret.Fill(v.Len(), func(b []byte) error {
		return v.Use(func(from []byte) error { copy(b, from); return nil })
	})
}

func (l *link) add(a *asked) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.waiting = append(l.waiting, a)
	if l.rest != nil {
		l.rest.Stop()
	}
	if !l.working {
		l.working = true
		l.work.Go(l.run)
	}
	return true
}

// leave reports whether whoever waited went before there was an answer.
func (a *asked) leave() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.done:
		return false
	default:
		a.gone = true
		return true
	}
}

func (a *asked) isGone() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.gone
}

// give hands the answer to whoever waits for it.
func (a *asked) give(answer wire.Answer, value secret.Value, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.body.Clear()
	if a.gone {
		value.Clear()
		return
	}
	a.answer, a.value, a.err = answer, value, err
	close(a.done)
}

// late is the error of a caller who could not wait.
func (l *link) late(ctx context.Context) error {
	e := unavailable("1Password did not answer in time", "try again: where its helper is only starting, the next call finds it ready")
	e.Err = ctx.Err()
	return e
}

// run works until nothing waits.
func (l *link) run() {
	for {
		batch := l.next()
		if batch == nil {
			return
		}
		l.batch(batch)
	}
}

// next takes what waits; nil: nothing does, and the work is over.
func (l *link) next() (batch []*asked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var later []*asked
	writes := 0
	for _, a := range l.waiting {
		if a.isGone() {
			a.body.Clear()
			continue
		}
		if !a.reads() {
			if writes++; writes > l.writes {
				later = append(later, a)
				continue
			}
		}
		batch = append(batch, a)
	}
	l.waiting = later
	if batch != nil {
		return batch
	}
	l.working = false
	if l.closed {
		l.stop()
	} else if l.helper != nil {
		l.rest = time.AfterFunc(l.times.idle, l.tire)
	}
	return nil
}

// tire ends the helper, unless there is work for it.
func (l *link) tire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.working {
		l.stop()
	}
}

// stop ends the helper, if there is one.
func (l *link) stop() {
	if l.helper != nil {
		l.helper.end()
		l.helper, l.signedIn, l.failures = nil, false, 0
	}
}

// close ends the helper, after what is under way.
func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	if l.rest != nil {
		l.rest.Stop()
	}
	if !l.working {
		l.stop()
	}
	l.mu.Unlock()
	l.work.Wait()
}

// batch has the helper do all of a batch.
func (l *link) batch(batch []*asked) {
	if failed := l.open(); failed != nil {
		for _, a := range batch {
			a.give(wire.Answer{}, secret.Value{}, failed)
		}
		return
	}
	answered, err := l.exchange(batch)
	if err == nil {
		return
	}
	l.stop()
	l.tell(unreached)
	// What only reads may be asked again, once: the helper may have been sick since
	// before. Where it was late nobody may wait any more by then.
	for _, a := range batch[answered:] {
		if !a.again && a.reads() {
			a.again = true
			if l.add(a) {
				continue
			}
		}
		a.give(wire.Answer{}, secret.Value{}, err)
	}
}

// reads reports whether asking twice does what asking once does.
func (a *asked) reads() bool { return a.call.Op != wire.Put && a.call.Op != wire.Delete }

// open starts the helper and has it sign in, as far as it has not. One that could
// not reach the service stays for the next try: it is the start that takes long.
func (l *link) open() error {
	if l.signedIn {
		return nil
	}
	ctx, stop := context.WithTimeout(context.Background(), l.times.start)
	defer stop()
	hello, token, err := l.hello(ctx)
	if err != nil {
		return err
	}
	defer token.Clear()
	if l.token, err = fingerprint(token); err != nil {
		return providers.Unavailable(err)
	}
	l.starting.Store(true)
	defer l.starting.Store(false)
	if l.helper == nil {
		if l.helper, err = l.spawn(); err != nil {
			l.helper = nil
			l.tell(unreached)
			if told := (*providers.StoreError)(nil); errors.As(err, &told) {
				return told
			}
			return unavailable(fmt.Sprintf("starting the 1Password helper: %v", err), "")
		}
	}
	answers, err := l.greet(hello, token)
	if err == nil && answers.Answers[0].Error == nil {
		l.signedIn = true
		l.tell(answers)
		return nil
	}
	if err == nil {
		l.tell(answers)
		if !answers.Unreachable() || answers.Sick || l.failures >= maxFailures {
			l.stop()
		}
		return answers.Answers[0].Error
	}
	l.stop()
	l.tell(unreached)
	return err
}

// greet hands the helper the token.
func (l *link) greet(hello wire.Hello, token secret.Value) (answers wire.Answers, err error) {
	conn := l.helper.conn
	_ = conn.SetDeadline(time.Now().Add(l.times.start)) // it is a socket, which has them
	hello.Time, hello.Body = max(l.times.start-margin, l.times.start/2), token.Len()
	if err = wire.Send(conn, hello); err == nil {
		err = wire.Write(conn, token)
	}
	if err == nil {
		err = wire.Receive(conn, &answers)
	}
	if err == nil && len(answers.Answers) != 1 {
		err = errors.New("an answer that is none")
	}
	return answers, ended(err)
}

// exchange sends a batch and hands out the answers. When it fails, the first
// answered were.
func (l *link) exchange(batch []*asked) (answered int, err error) {
	conn := l.helper.conn
	_ = conn.SetDeadline(time.Now().Add(l.times.answer))
	calls := wire.Calls{Time: max(l.times.answer-margin, l.times.answer/2)}
	for _, a := range batch {
		calls.Calls = append(calls.Calls, a.call)
	}
	if err := wire.Send(conn, calls); err != nil {
		return 0, ended(err)
	}
	for _, a := range batch {
		if a.call.Op != wire.Put {
			continue
		}
		if err := wire.Write(conn, a.body); err != nil {
			return 0, ended(err)
		}
	}
	var answers wire.Answers
	if err := wire.Receive(conn, &answers); err != nil {
		return 0, ended(err)
	}
	if len(answers.Answers) != len(batch) {
		return 0, ended(errors.New("answers that are none"))
	}
	if answers.Sick {
		return 0, ended(errSick)
	}
	// Before the answers are out: whoever has a refusal must not be asking again
	// before the next is kept from it.
	l.tell(answers)
	for i, a := range batch {
		answer := answers.Answers[i]
		var value secret.Value
		var err error
		if answer.Error != nil {
			err = answer.Error
		} else if a.call.GivesValue() {
			value, err = wire.Read(conn, answer.Body)
			if err != nil && !errors.Is(err, secret.ErrFull) {
				return i, ended(err)
			}
			err = providers.Unavailable(err)
		}
		a.give(answer, value, err)
	}
	// With a token that is refused it is of no more use: there may be another.
	if r := answers.Refusal(); l.failures >= maxFailures || r != nil && r.Auth {
		l.stop()
	}
	return len(batch), nil
}

// unreached is what is told of a helper that gave no answers.
var unreached = wire.Answers{Answers: []wire.Answer{{Error: &wire.Error{Kind: wire.Unavailable, Problem: "the 1Password helper ended before it answered"}}}}

// tell passes on what came of a batch.
func (l *link) tell(answers wire.Answers) {
	if answers.Unreachable() {
		l.failures++
	} else {
		l.failures = 0
	}
	l.told(answers, l.token)
}

var (
	errLate = errors.New("the 1Password helper did not answer in time")
	errSick = errors.New("the 1Password helper was sick")
)

// ended is the error of a helper with which nothing more can be done; nil is nil.
func ended(err error) error {
	if err == nil {
		return nil
	}
	why := errors.New("the 1Password helper ended before it answered")
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		why = errLate
	case errors.Is(err, errSick):
		why = errSick
	}
	return &providers.StoreError{Kind: providers.ErrUnavailable, Problem: why.Error(), Remedy: "try again: it is started anew", Err: why}
}

func unavailable(problem, remedy string) *providers.StoreError {
	return &providers.StoreError{Kind: providers.ErrUnavailable, Problem: problem, Remedy: remedy}
}
