package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"secretctl/broker/audit"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// Rotations is what replaces secrets, as owners ask the broker for it.
type Rotations interface {
	// Rotate begins a rotation, or goes on with the one under way, and calls step
	// with each change until it has come as far as the order says, has ended or
	// needs its owner. It takes the value over, which may be zero.
	Rotate(ctx context.Context, o RotateOrder, value secret.Value, step func(providers.Progress)) (providers.Progress, error)
	// Plan returns what would be done, a line a step, and changes nothing.
	Plan(ctx context.Context, name secret.Name) ([]string, error)
	// RollBack and GiveUp end the rotation under way.
	RollBack(context.Context, secret.Name) (providers.Progress, error)
	GiveUp(context.Context, secret.Name) (providers.Progress, error)
	// Flights returns the rotations under way.
	Flights() []providers.Progress
	// Flight returns the one of a secret.
	Flight(secret.Name) (providers.Progress, bool)
	// Last returns the one of a secret or, if none is under way, the one that ended
	// last. It is asked of every secret there is.
	Last(secret.Name) (providers.Progress, bool)
	// History returns those of a secret that have ended, newest first.
	History(secret.Name) ([]providers.Progress, error)
	// Due returns when a secret's schedule is due next and what it is, ok false: the
	// config has none for it.
	Due(secret.Name) (Due, bool)
	// Upstream ends at their services what agents held, and says of each version what
	// came of it, one at a time. What was retired before it was called is none.
	Upstream(ctx context.Context, held []Held, step func(Receipt)) error
}

// RotateOrder is what is asked of a rotation.
type RotateOrder struct {
	Secret    secret.Name
	Emergency bool // no grace: leases on the old version end
	Wait      bool // until it has ended; else until consumers were told
}

// Due is the schedule of one secret.
type Due struct {
	Provider  string
	Schedule  string    // "": by hand only
	At        time.Time // zero: no time is set
	Suspended bool      // too many rotations failed in a row
}

// Held is what agents were given of one secret.
type Held struct {
	Secret   secret.Name
	Versions []uint64 // ascending
}

// Receipt is what came of ending one version of a secret at its service.
type Receipt struct {
	Secret    string         `json:"secret"`
	Version   uint64         `json:"version"`
	ServiceID string         `json:"service_id,omitempty"` // what the service calls it
	State     string         `json:"state"`                // "revoked", "disabled" or "not-revoked"
	Proven    bool           `json:"proven"`               // the service was asked, and refuses it
	Reason    providers.Code `json:"reason,omitempty"`
	Error     *string        `json:"error"`
	Hint      string         `json:"hint,omitempty"`
}

// Use puts in force what replaces secrets. It is called once, before the broker
// answers anybody.
func (b *Broker) Use(r Rotations) { b.rotations = r }

// flight returns the rotation of a secret that is under way.
func (b *Broker) flight(name secret.Name) (providers.Progress, bool) {
	if b.rotations == nil {
		return providers.Progress{}, false
	}
	return b.rotations.Flight(name)
}

// busy refuses what cannot be done while the secret is being replaced. While
// the secret's lock is held the answer stays true: a rotation that begins needs a
// number of [Vault.Reserve] before it changes anything. asked is the store that a
// secret nobody knows yet is to go to.
func (b *Broker) busy(ctx context.Context, doing string, name secret.Name, asked string) error {
	p, ok := b.flight(name)
	if !ok {
		return b.elsewhereBusy(ctx, doing, name, asked)
	}
	return &Error{CodeConflict, fmt.Sprintf("%s %q: rotation %s is under way (%s)", doing, name, p.ID, p.State),
		fmt.Sprintf("secretctl versions %s shows it; secretctl rollback %s ends it", name, name)}
}

// errNoRotations is a broker in which nothing replaces secrets.
var errNoRotations = &Error{CodeInternal, "this broker replaces no secrets", ""}

// rotated reads the name of a secret whose rotation something is asked of.
func (r *request) rotated() (secret.Name, error) {
	name, err := r.named()
	if err == nil && r.b.rotations == nil {
		err = errNoRotations
	}
	return name, err
}

// postRotate rotates one secret. The answer is a line of JSON for each step; the
// last is how it stands.
func postRotate(r *request) error {
	name, err := r.rotated()
	if err != nil {
		return err
	}
	if r.b.log == nil {
		return r.b.notRecorded(r.b.logErr)
	}
	q := r.URL.Query()
	var value secret.Value
	if q.Has("value") {
		if value, err = r.value(); err != nil {
			return err
		}
		if value.Len() == 0 { // would be none given
			value.Clear()
			return badRequest("the new value is empty", "")
		}
	}
	ctx, stop := r.w.c.watch()
	defer stop()
	last, err := r.b.rotations.Rotate(ctx, RotateOrder{name, q.Has("emergency"), q.Has("wait")}, value, func(p providers.Progress) { r.writeLine(p) })
	switch {
	case err != nil && last.ID == "":
		return err
	case ctx.Err() != nil && !last.Ended:
		return &Error{CodeInternal, "the broker stops; the rotation goes on when it starts again", "secretctl versions " + string(name)}
	}
	r.writeLine(last)
	return nil
}

// lineTime is how long a line may take to write. What it tells of goes on
// without a reader who takes none in that time.
const lineTime = 10 * time.Second

// writeLine writes a line of the answer to the caller at once.
func (r *request) writeLine(v any) {
	line, err := json.Marshal(v)
	if err != nil || r.w.err != nil {
		return
	}
	r.w.patience = lineTime
	r.w.Header().Set("Content-Type", "application/jsonl")
	_, _ = r.w.Write(append(line, '\n')) // a caller that is gone ends nothing
	r.w.flush()
}

func getPlan(r *request) error {
	name, err := r.rotated()
	if err != nil {
		return err
	}
	lines, err := r.b.rotations.Plan(r.Context(), name)
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, lines)
}

func postGiveUp(r *request) error {
	name, err := r.rotated()
	if err != nil {
		return err
	}
	p, err := r.b.rotations.GiveUp(r.Context(), name)
	if err != nil {
		return err
	}
	return r.reply(http.StatusOK, p)
}

func getHistory(r *request) error {
	name, err := r.named()
	if err != nil {
		return err
	}
	out := []providers.Progress{}
	if r.b.rotations != nil {
		flight, ok := r.b.rotations.Flight(name)
		past, err := r.b.rotations.History(name)
		if err != nil {
			return err
		}
		if ok && (len(past) == 0 || past[0].ID != flight.ID) { // it may have ended between the two
			out = append(out, flight)
		}
		out = append(out, past...)
	}
	return r.reply(http.StatusOK, out)
}

// postUpstream ends at the services everything that agents held, also when the
// caller hangs up on the way. The kill switch is on first: nothing new is handed
// out meanwhile.
func postUpstream(r *request) error {
	if r.b.rotations == nil {
		return errNoRotations
	}
	held, err := r.b.handedOut(r.URL.Query().Get("agent"))
	if err != nil {
		return err
	}
	return r.b.rotations.Upstream(r.ctx, held, func(receipt Receipt) { r.writeLine(receipt) })
}

// handedOut says what agents, or one of them, were given: the versions that are
// still there, and those that are not and of which the log does not say that they
// were ended. The log knows, whatever the grants say now. A name that is nobody's
// is an error: who ends what an agent has must not take it for an end.
func (b *Broker) handedOut(agent string) (out []Held, err error) {
	given := make(map[secret.Name]map[uint64]bool)
	dead := make(map[held]bool)
	_, known := b.settings.Load().Agent(agent)
	known = known || agent == "" || agent == OwnerName
	err = audit.Scan(b.Disk, AuditDir, 1, time.Time{}, func(r *audit.Record, _ []byte) error {
		known = known || r.Agent == agent
		switch {
		case r.Event == audit.EventRotate && r.Reason == versionEnded:
			dead[held{r.Secret, r.Version}] = true
		case r.Event == audit.EventRotate && r.Reason == versionLives:
			delete(dead, held{r.Secret, r.Version})
		case r.Event != audit.EventLease && r.Event != audit.EventRenew, r.Decision != audit.Allow:
		case r.Agent != OwnerName && (agent == "" || r.Agent == agent):
			if given[r.Secret] == nil {
				given[r.Secret] = make(map[uint64]bool)
			}
			given[r.Secret][r.Version] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, &Error{CodeNotFound, fmt.Sprintf("the config names no agent %q, and the log has none of that name: nothing was ended at a service", agent),
			"secretctl audit shows the agents; an agent is not called as its user is"}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		e, err := b.ledger.Get(name)
		if err != nil && !errors.Is(err, ledger.ErrNoEntry) {
			return nil, err
		}
		h := Held{Secret: name}
		for _, version := range slices.Sorted(maps.Keys(given[name])) {
			if _, there := e.Versions[version]; there || !dead[held{name, version}] {
				h.Versions = append(h.Versions, version)
			}
		}
		if len(h.Versions) > 0 {
			out = append(out, h)
		}
	}
	return out, nil
}

// Rotate rotates a secret. value, when not zero, is the new one, made by hand.
func (c *Client) Rotate(ctx context.Context, o RotateOrder, value secret.Value, step func(providers.Progress)) (last providers.Progress, err error) {
	q := url.Values{"name": {string(o.Secret)}}
	for key, on := range map[string]bool{"emergency": o.Emergency, "wait": o.Wait, "value": !value.IsZero()} {
		if on {
			q.Set(key, "1")
		}
	}
	ask := func(body io.Reader, size int64) error {
		return c.lines(ctx, "/v1/rotate", q, body, size, func(line []byte) error {
			var p providers.Progress
			if err := json.Unmarshal(line, &p); err != nil {
				return err
			}
			last = p
			step(p)
			return nil
		})
	}
	if value.IsZero() {
		err = ask(nil, 0)
		return last, err
	}
	body, err := newBody(value)
	if err != nil {
		return last, err
	}
	defer body.clear()
	err = ask(body, int64(value.Len()))
	return last, err
}

// lines asks and calls each with every line of the answer. One that is an error
// is the last: something went wrong when others had been written.
func (c *Client) lines(ctx context.Context, path string, q url.Values, body io.Reader, size int64, each func(line []byte) error) error {
	answer, err := c.do(ctx, http.MethodPost, path, q, body, size)
	if err != nil {
		return err
	}
	defer answer.Close()
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for d := json.NewDecoder(answer); ; {
		var line json.RawMessage
		err := d.Decode(&line)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var wrong struct{ Error *Error }
		if err == nil && json.Unmarshal(line, &wrong) == nil && wrong.Error != nil {
			return wrong.Error
		}
		if err == nil {
			err = each(line)
		}
		if err != nil {
			return errors.Join(ctx.Err(), fmt.Errorf("reading the broker's answer: %w", err))
		}
	}
}

// Plan returns what a rotation would do.
func (c *Client) Plan(ctx context.Context, name secret.Name) (lines []string, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/plan", url.Values{"name": {string(name)}}, nil, &lines)
	return lines, err
}

// GiveUp ends the rotation under way as it stands.
func (c *Client) GiveUp(ctx context.Context, name secret.Name) (p providers.Progress, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/giveup", url.Values{"name": {string(name)}}, nil, &p)
	return p, err
}

// History returns the rotations of a secret, newest first.
func (c *Client) History(ctx context.Context, name secret.Name) (out []providers.Progress, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/history", url.Values{"name": {string(name)}}, nil, &out)
	return out, err
}

// Upstream ends at their services what agents, or one of them, were given.
func (c *Client) Upstream(ctx context.Context, agent string, step func(Receipt)) error {
	return c.lines(ctx, "/v1/upstream", url.Values{"agent": {agent}}, nil, 0, func(line []byte) error {
		var r Receipt
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		step(r)
		return nil
	})
}

// valueBody is a value as the body of a request that waits for its answer: a
// copy in locked memory, since a value must not be held while something blocks.
type valueBody struct {
	value secret.Value
	at    int
}

func newBody(v secret.Value) (b *valueBody, err error) {
	b = new(valueBody)
	err = v.Use(func(from []byte) (err error) {
		b.value, err = secret.Fill(len(from), func(to []byte) error { copy(to, from); return nil })
		return err
	})
	return b, err
}

func (b *valueBody) Read(p []byte) (n int, err error) {
	err = b.value.Use(func(v []byte) error {
		if n = copy(p, v[b.at:]); n == 0 {
			return io.EOF
		}
		b.at += n
		return nil
	})
	return n, err
}

func (b *valueBody) clear() { b.value.Clear() }
