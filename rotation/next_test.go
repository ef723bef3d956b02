package rotation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/providers"
)

// The evidence that the tables name.
var brings = map[string]evidence{
	"ok":          {outcome: providers.OK, made: &made{version: 2, sealed: []byte("x"), id: "new"}},
	"none":        {outcome: providers.OK},
	"orphan":      {outcome: providers.OK, found: []string{"orphan", "old"}},
	"unknown":     {code: providers.CodeUnavailable, problem: "no answer"},
	"unavailable": {outcome: providers.DefinitelyNot, code: providers.CodeUnavailable, problem: "not reached"},
	"denied":      {outcome: providers.DefinitelyNot, code: providers.CodeDenied, problem: "not allowed"},
	"invalid":     {outcome: providers.DefinitelyNot, code: providers.CodeInvalid, problem: "refused"},
	"bad value":   {outcome: providers.DefinitelyNot, code: providers.CodeBadValue, problem: "too simple"},
	"limit":       {outcome: providers.DefinitelyNot, code: providers.CodeLimit, problem: "full"},
	"unsupported": {outcome: providers.DefinitelyNot, code: providers.CodeUnsupported, problem: "no such call"},
	"vault":       {code: reasonVault, problem: "the disk"},
	"changed":     {outcome: providers.DefinitelyNot, code: reasonChanged, problem: "another"},
	"pinned":      {outcome: providers.OK, pinned: 1},
	"moving":      {outcome: providers.OK, moving: 1},
}

// TestNext: what follows from what, a passage a line: each action with what it
// brings, and where that leads.
func TestNext(t *testing.T) {
	overlap := traits{proofs: 1, overlap: true}
	for shape, lines := range map[providers.Shape][]string{
		providers.ShapeSet: {
			"check ok, reserve ok, choose ok, issue none, verify ok, publish ok, announce ok, drain none, disable unsupported, revoke ok, prove invalid, forget ok: done",
			"check unknown, check unknown, check unknown, check unknown: failed unavailable",
			"check denied: failed denied",
			"check ok, reserve vault, reserve ok, choose unavailable, choose ok, issue unavailable, issue unavailable, issue unavailable, issue unavailable, drop ok: failed unavailable",
			"check ok, reserve ok, choose ok, issue bad value, choose ok, issue bad value, drop ok: failed bad_value",
			"check ok, reserve ok, choose bad value, drop vault, drop ok: failed bad_value",
			"check ok, reserve ok, choose ok, issue unknown, probe-new ok, verify ok, publish ok: announce",
			"check ok, reserve ok, choose ok, issue unknown, probe-new unknown, probe-new invalid, issue none: verify",
			"check ok, reserve ok, choose ok, issue unknown, probe-new invalid, issue unknown, probe-new invalid, issue unknown, probe-new invalid, undo ok, undo ok, drop ok: rolled-back invalid",
			"check ok, reserve ok, choose ok, issue unknown, probe-new invalid, issue denied, undo ok, undo ok, drop ok: rolled-back denied",
			"check ok, reserve ok, choose ok, issue none, verify ok, publish vault, publish ok, announce vault, announce vault, announce vault, drain none: disable",
			"check ok, reserve ok, choose ok, issue none, verify ok, publish changed, restore ok, undo ok, drop ok: rolled-back changed",
			"check ok, reserve ok, choose ok, issue none, verify ok, publish ok, announce ok, drain moving, drain pinned, drain none, disable ok, revoke unsupported, prove invalid, forget vault, forget ok: done",
			"check ok, reserve ok, choose ok, issue none, verify ok, publish ok, announce ok, drain none, disable denied, disable ok, revoke unknown, revoke ok, prove ok, prove unknown, prove invalid: forget",
		},
		providers.ShapeCreate: {
			"check ok, reserve ok, issue ok, verify ok, publish ok, announce ok, drain none, disable ok, revoke ok, prove invalid, find none, forget ok: done",
			"check ok, reserve ok, issue ok, verify ok, publish ok, announce ok, drain none, disable ok, revoke ok, prove invalid, find orphan, clean unknown, clean ok, find none, forget ok: done",
			"check ok, reserve ok, issue ok, verify ok, publish ok, announce ok, drain none, disable ok, revoke ok, prove invalid, find unsupported, forget ok: done",
			"check limit: failed limit",
			"check ok, reserve ok, issue limit, drop ok: failed limit",
			"check ok, reserve ok, issue unknown, find orphan, clean ok, find none, issue ok: verify",
			"check ok, reserve ok, issue unknown, find none, issue limit, find orphan, clean ok, find none, issue ok: verify",
			"check ok, reserve ok, issue unknown, find none, issue unknown, find none, issue unknown, find none, undo ok, find none, find none, drop ok: rolled-back unavailable",
			"check ok, reserve ok, issue unknown, find unsupported: find unsettled",
			"check ok, reserve ok, issue ok, verify unknown, verify ok: publish",
		},
		providers.ShapeRoll: {
			"check ok, reserve ok, issue ok, verify ok, publish ok, announce ok, drain pinned, forget ok: done",
			"check ok, reserve ok, issue denied, drop ok: failed denied",
			"check ok, reserve ok, issue unknown, probe-old ok, probe-old ok, probe-old ok, probe-old ok, drop ok: failed unavailable",
			"check ok, reserve ok, issue unknown, probe-old ok, probe-old invalid: probe-old lost",
			"check ok, reserve ok, issue unknown, probe-old unknown, probe-old invalid, probe-old unknown: probe-old lost",
		},
		providers.ShapeRefresh: {
			"check ok, reserve ok, issue ok, verify ok, publish ok, announce ok, drain none, forget ok: done",
			"check ok, reserve ok, issue unknown, issue ok: verify",
			"check ok, reserve ok, issue unknown, issue unknown: probe-old lost",
			"check ok, reserve ok, issue unknown, issue invalid: probe-old lost",
			"check ok, reserve ok, issue invalid, drop ok: failed invalid",
		},
		providers.ShapeManual: {
			"check ok, verify ok, publish ok, announce ok, drain none, disable ok, revoke ok, prove invalid, forget ok: done",
			"check limit, verify invalid, undo ok, drop ok: rolled-back invalid",
			"check ok, verify bad value, undo ok, drop ok: rolled-back bad_value",
			"check denied, drop ok: failed denied",
			"check ok, verify ok, publish ok, announce ok, drain none, disable unsupported, revoke unsupported: prove by_hand",
			"check ok, verify ok, publish ok, announce ok, drain none, disable unsupported, revoke unsupported, prove ok, prove unknown, prove invalid, forget ok: done",
		},
	} {
		for i, line := range lines {
			t.Run(fmt.Sprintf("%s %d", shape, i), func(t *testing.T) {
				now := epoch
				r := Rotation{Shape: shape, From: providers.Version{Number: 1, ID: "old"}, Grace: time.Minute}
				if shape == providers.ShapeManual {
					r.ByHand, r.Sealed, r.To = true, []byte("x"), 2
				}
				r.begin(now)
				passage, end, _ := strings.Cut(line, ": ")
				for _, step := range strings.Split(passage, ", ") {
					action, brought, _ := strings.Cut(step, " ")
					require.Equal(t, Action(action), r.Doing, "before %q of %q", step, line)
					now = now.Add(max(r.Again.Sub(now), 0))
					ev, ok := brings[brought]
					require.True(t, ok, "%q", brought)
					ev.now = now
					if ev.made != nil {
						copied := *ev.made
						ev.made = &copied
					}
					r.next(overlap, &ev)
				}
				want, reason, _ := strings.Cut(end, " ")
				got := string(r.Doing)
				if r.State.Ended() {
					got = string(r.State)
					require.Empty(t, r.Sealed)
					require.False(t, r.Needs)
				}
				require.Equal(t, want, got, "%+v", r)
				if reason != "" {
					require.Equal(t, reason, string(r.Reason))
				}
				if want == string(Done) {
					require.Empty(t, r.Reason)
					require.Empty(t, r.Problem)
				}
			})
		}
	}
}

// TestPause: the waits grow to a limit, also where there were very many.
func TestPause(t *testing.T) {
	require.Equal(t, firstPause, pause(0))
	require.Equal(t, firstPause, pause(1))
	require.Equal(t, 2*firstPause, pause(2))
	require.Equal(t, lastPause, pause(20))
	require.Equal(t, lastPause, pause(1<<40))
}
