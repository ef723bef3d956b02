package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"secretctl/broker"
	"secretctl/broker/config"
	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/age"
	"secretctl/providers/builtin"
	"secretctl/rotation"
	"secretctl/rotation/schedule"
)

// The broker and what rotates know each other only by what each asks of the
// other.
var (
	_ rotation.Vault   = (*broker.Vault)(nil)
	_ rotation.Claims  = (*broker.Vault)(nil)
	_ rotation.Sealer  = (*age.Store)(nil)
	_ broker.Rotations = (*rotator)(nil)
)

// rotator is the engine and its scheduler, as the broker's owners use them.
type rotator struct {
	server    *server
	engine    *rotation.Engine
	scheduler *rotation.Scheduler
	vault     *broker.Vault
	machine   string // tells this machine's schedules from another's with the same config
}

func (s *server) newRotator(sealer rotation.Sealer) (r *rotator, err error) {
	r = &rotator{server: s, vault: s.broker.Vault()}
	if r.machine, err = os.Hostname(); err != nil {
		r.machine = s.home.dir
	}
	r.engine, err = rotation.New(rotation.Options{
		DB: r.vault.DB(), Vault: r.vault, Sealer: sealer, Claims: r.vault, Now: func() time.Time { return s.w.clock.Now().Wall },
		Warn: func(text string) { s.w.say("%s", text) }, Setup: r.setup,
		Settle:   testOnlySettle,
		Parallel: func() int { return s.inForce().Rotation.Parallel },
	})
	if err != nil {
		return nil, err
	}
	r.scheduler, err = rotation.NewScheduler(r.engine, r.plans)
	return r, err
}

// setup says how a secret is rotated.
func (r *rotator) setup(name secret.Name) (rotation.Setup, bool) {
	s := r.server.inForce().Secrets[name]
	if s.Rotate == nil {
		return rotation.Setup{}, false
	}
	kind, ok := builtin.Find(s.Rotate.Provider)
	if !ok {
		return rotation.Setup{}, false
	}
	var announce []string
	for _, argv := range s.Announce {
		announce = append(announce, strings.Join(argv, " "))
	}
	setup := rotation.Setup{
		Kind: kind, Options: s.Rotate.Options, Hard: s.GraceHard, Confirm: len(s.Confirm) > 0,
		Announce: announce, Grace: r.vault.LargestTTL(name), Patient: s.Grace == nil,
	}
	// Other hosts' leases cannot be counted: only time says that they have moved.
	least, shared := r.vault.SharedGrace(name)
	if setup.Elsewhere = shared; shared {
		setup.Grace = least
	}
	if s.Grace != nil {
		setup.Grace = max(*s.Grace, least)
	}
	return setup, true
}

// plans are the schedules of the config. What is malformed there was refused
// when it was read.
func (r *rotator) plans() map[secret.Name]*schedule.Plan {
	cfg := r.server.inForce()
	freeze, _ := schedule.ParseFreeze(cfg.Rotation.Freeze...)
	out := make(map[secret.Name]*schedule.Plan)
	for name, s := range cfg.Secrets {
		if s.Rotate == nil || s.Rotate.Schedule == "" {
			continue
		}
		times, err := schedule.Parse(s.Rotate.Schedule)
		if err != nil {
			continue
		}
		machine := r.machine
		if r.vault.Shared(name) {
			machine = "" // on all hosts the same, so that what one has done the others see
		}
		out[name] = &schedule.Plan{
			Key: string(name) + "@" + machine, Schedule: times, Zone: cfg.Rotation.Timezone, Freeze: freeze, MaxAge: s.MaxAge,
		}
	}
	return out
}

// Rotate is of [broker.Rotations].
func (r *rotator) Rotate(ctx context.Context, o broker.RotateOrder, value secret.Value, step func(providers.Progress)) (providers.Progress, error) {
	before, _ := r.engine.Get(o.Secret)
	p, err := r.engine.Start(rotation.Order{Secret: o.Secret, By: broker.OwnerName, Value: value, Emergency: o.Emergency})
	if err != nil { // how another one stands would be taken for this one's
		return providers.Progress{}, r.told("rotating", o.Secret, err)
	}
	needed := before.ID == p.ID && before.State == "needs-owner" // and is tried once more: how it went is the answer
	until := func(p providers.Progress) bool {
		return !o.Wait && (!needed || p.Updated.After(before.Updated)) && (p.State == "retiring" || p.Step == string(rotation.Announced))
	}
	return r.engine.Watch(ctx, o.Secret, p.ID, step, until)
}

// told is an engine's error for an owner.
func (r *rotator) told(doing string, name secret.Name, err error) error {
	e := &broker.Error{Code: broker.CodeConflict, Message: fmt.Sprintf("%s %q: %v", doing, name, err)}
	switch {
	case errors.Is(err, rotation.ErrNoSetup):
		if ref := r.server.inForce().Secrets[name].Ref; ref != "" {
			e.Hint = fmt.Sprintf("it lies at %s: replace it there, and the new value is taken over by itself", ref)
			break
		}
		e.Hint = fmt.Sprintf(`in secretctl.toml: [secret."%s"] rotate = { provider = "…" }; secretctl providers lists them`, name)
		if current, err := r.vault.Current(name); err == nil && current.Number == 0 {
			e.Code, e.Message, e.Hint = broker.CodeNotFound, fmt.Sprintf("there is no secret %q", name), "secretctl ls"
		}
	case errors.Is(err, rotation.ErrByHand):
		setup, _ := r.setup(name)
		e.Hint = fmt.Sprintf("make one at %s, then: secretctl rotate --stdin %s", setup.Kind.Page, name)
	case errors.As(err, new(*providers.ClaimedError)):
		e.Hint = broker.ClaimedHint(name, err)
	case errors.Is(err, rotation.ErrBusy):
		e.Hint = "secretctl versions " + string(name)
	case errors.Is(err, rotation.ErrTooLate):
		e.Hint = "secretctl rotate " + string(name)
	case errors.Is(err, rotation.ErrNone):
		e.Code = broker.CodeNotFound
	default:
		if call := (*providers.CallError)(nil); errors.As(err, &call) {
			e.Hint = call.Remedy
			return e
		}
		if own := (*broker.Error)(nil); errors.As(err, &own) {
			return err
		}
	}
	return e
}

// Plan is of [broker.Rotations].
func (r *rotator) Plan(ctx context.Context, name secret.Name) ([]string, error) {
	lines, err := r.engine.Plan(ctx, name)
	if err != nil {
		return nil, r.told("planning the rotation of", name, err)
	}
	return lines, nil
}

// RollBack is of [broker.Rotations].
func (r *rotator) RollBack(ctx context.Context, name secret.Name) (providers.Progress, error) {
	p, err := r.engine.RollBack(name)
	if err != nil {
		return p, r.told("rolling back", name, err)
	}
	// The person has the old version in force when the command returns.
	return r.engine.Watch(ctx, name, p.ID, func(providers.Progress) {}, func(p providers.Progress) bool {
		v, err := r.vault.Current(name)
		return err == nil && v.Number == p.From
	})
}

// endTime is how long the end of a rotation that was given up is waited for: all
// that is left of it is our own.
const endTime = 10 * time.Second

// GiveUp is of [broker.Rotations].
func (r *rotator) GiveUp(ctx context.Context, name secret.Name) (providers.Progress, error) {
	p, err := r.engine.GiveUp(name)
	if err != nil {
		return p, r.told("giving up", name, err)
	}
	ctx, stop := context.WithTimeout(ctx, endTime)
	defer stop()
	if last, err := r.engine.Watch(ctx, name, p.ID, func(providers.Progress) {}, nil); err == nil || ctx.Err() != nil {
		return last, nil // it is given up, however far that has come
	}
	return p, nil
}

// Flights is of [broker.Rotations].
func (r *rotator) Flights() []providers.Progress { return r.engine.Flights() }

// Flight is of [broker.Rotations].
func (r *rotator) Flight(name secret.Name) (providers.Progress, bool) {
	p, err := r.engine.Get(name)
	return p, err == nil
}

// Last is of [broker.Rotations].
func (r *rotator) Last(name secret.Name) (providers.Progress, bool) {
	p, ok, err := r.engine.Last(name)
	return p, ok && err == nil
}

// History is of [broker.Rotations].
func (r *rotator) History(name secret.Name) ([]providers.Progress, error) {
	return r.engine.History(name)
}

// Due is of [broker.Rotations].
func (r *rotator) Due(name secret.Name) (broker.Due, bool) {
	s := r.server.inForce().Secrets[name]
	if s.Rotate == nil {
		return broker.Due{}, false
	}
	due := broker.Due{Provider: s.Rotate.Provider, Schedule: s.Rotate.Schedule}
	due.At, due.Suspended, _ = r.scheduler.Due(name)
	return due, true
}

// parseOptions is how this build reads the config.
func parseOptions() config.ParseOptions {
	return config.ParseOptions{
		Provider:  builtin.Find,
		Stores:    builtin.Stores(),
		Recipient: age.CheckRecipient,
		Schedule: func(text string) (problem, remedy string) {
			_, err := schedule.Parse(text)
			return advice(err)
		},
		Freeze: func(text string) (problem, remedy string) {
			_, err := schedule.ParseFreeze(text)
			return advice(err)
		},
	}
}

func advice(err error) (problem, remedy string) {
	if err == nil {
		return "", ""
	}
	if bad := (*schedule.Malformed)(nil); errors.As(err, &bad) {
		return bad.Problem, bad.Remedy
	}
	return err.Error(), ""
}
