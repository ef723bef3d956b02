package main

import (
	"context"
	"errors"
	"strings"

	"secretctl/broker"
	"secretctl/providers"
	"secretctl/rotation"
)

// Upstream is of [broker.Rotations].
func (r *rotator) Upstream(ctx context.Context, held []broker.Held, step func(broker.Receipt)) error {
	var all []rotation.Held
	for _, h := range held {
		all = append(all, rotation.Held(h))
	}
	return r.engine.EndAll(ctx, all, func(got rotation.Receipt) { step(r.receipt(got)) })
}

// receipt says what came of ending a version, and what is left to do.
func (r *rotator) receipt(got rotation.Receipt) broker.Receipt {
	out := r.ended(got)
	if got.Left != "" {
		if out.Hint != "" {
			out.Hint += "; "
		}
		out.Hint += "the rotation that was in the way is " + got.Left
	}
	return out
}

// ended is receipt for what came of ending it.
func (r *rotator) ended(got rotation.Receipt) broker.Receipt {
	out := broker.Receipt{
		Secret: string(got.Secret), Version: got.Version, ServiceID: got.ID, State: got.State, Proven: got.Proven,
	}
	if got.Err == nil {
		return out
	}
	text := strings.ReplaceAll(got.Err.Error(), "\n", "; ") // of several, in a line
	out.Error, out.Reason = &text, providers.CodeOf(got.Err)
	if call := (*providers.CallError)(nil); errors.As(got.Err, &call) {
		out.Hint = call.Remedy
	}
	byHand := "end it by hand at its service"
	if got.ID != "" {
		byHand = "end " + got.ID + " by hand at its service"
	}
	switch {
	case errors.Is(got.Err, rotation.ErrNoSetup):
		out.Reason, out.Hint = "no_provider", byHand
	case errors.Is(got.Err, rotation.ErrGone):
		out.Reason, out.Hint = "gone", byHand
	case errors.Is(got.Err, rotation.ErrBusy):
		out.Reason, out.Hint = "busy", "secretctl versions "+out.Secret+" shows it; then: secretctl kill --upstream"
	case out.Reason == "no_service":
		if err := r.mustReplace(got); err != nil {
			text += "; " + err.Error()
		}
	}
	return out
}

// mustReplace marks a secret whose current version agents have, and that nobody
// can end.
func (r *rotator) mustReplace(got rotation.Receipt) error {
	current, err := r.vault.Current(got.Secret)
	if err != nil || current.Number != got.Version {
		return err
	}
	return r.vault.MustRotate(got.Secret)
}
