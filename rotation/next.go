package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"secretctl/providers"
)

// evidence is what the action in Doing brought.
type evidence struct {
	now     time.Time
	outcome providers.Outcome
	code    providers.Code // "" with OK
	after   time.Duration  // what the service wants waited
	problem string
	remedy  string
	late    bool // the time for the call was over

	account string   // check, probes and verify
	made    *made    // choose and issue; of verify, its expiry alone
	old     *made    // check and revoke: what was found out about the old one, its id and facts alone
	found   []string // find: ids with our tag
	moving  int      // drain: leases on the old version that a renewal moves
	copied  int      // drain: consumers that kept it when such a lease was over
	pinned  int      // drain: leases that keep it
}

// made is a new credential as it is kept.
type made struct {
	version uint64
	sealed  []byte
	id      string
	facts   map[string]string
	created time.Time
	expires time.Time
}

// traits is what the machine has to know of a provider.
type traits struct {
	proofs    int
	proofGap  time.Duration
	lag       time.Duration
	blind     bool
	overlap   bool          // the old one stays valid beside the new one
	managed   bool          // asking is done with another credential than the one that is replaced
	elsewhere bool          // other hosts may have leases on the old one
	confirm   bool          // the owner has a command that must succeed
	settle    time.Duration // as the constant; 0: that
}

// How long things are tried. Trying what is harmless goes on for ever, with the
// pause of the last try.
const (
	firstPause   = 2 * time.Second
	lastPause    = 10 * time.Minute
	longestAfter = 24 * time.Hour   // a service that wants more waited has a wrong clock
	maxStarts    = 4                // tries of what comes before the service is asked
	maxIssues    = 3                // times a service is asked in one rotation
	maxRefused   = 2                // values made, before the policy of the service is at fault
	settle       = 30 * time.Second // what an answer was lost of has been done by then, or is not done
	probeGap     = 10 * time.Second // between two looks whether a lost answer had an effect
	verifyWindow = 2 * time.Minute  // a new credential may be refused so long
	tellOwner    = 5                // tries after which the owner is told
	maxAnnounces = 3                // tries of telling the consumers
	disabledFor  = 10 * time.Minute // between stopping the old one and ending it, or the grace if that is less
	firstLook    = time.Second      // between two counts of the leases on the old one, at first
	lastLook     = 30 * time.Second // and after a while
	maxStops     = 5                // of the broker in one call, before the call is taken for the cause
	acceptedFor  = time.Minute      // an ended credential may be accepted so long, besides the kind's lag
)

// pause is how long to wait before the nth try.
func pause(n int) time.Duration {
	d := firstPause
	for range n - 1 {
		if d *= 2; d >= lastPause {
			return lastPause
		}
	}
	return d
}

// begin is a rotation's first action.
func (r *Rotation) begin(now time.Time) {
	r.State, r.Started, r.Updated = Planned, now, now
	r.do(actCheck)
}

// do sets what is done next, at once.
func (r *Rotation) do(a Action) {
	if r.Doing != a {
		r.Tries, r.Proofs = 0, 0
	}
	r.Doing, r.Again = a, time.Time{}
}

// retry does the same again later. The owner is told when that goes on.
func (r *Rotation) retry(ev *evidence) {
	r.Tries++
	r.Again = ev.now.Add(max(pause(r.Tries), min(ev.after, longestAfter)))
	r.trouble(ev)
	r.Needs = r.Needs || r.Tries >= tellOwner
}

// because keeps why it goes no further, or ends as it does.
func (r *Rotation) because(code providers.Code, ev *evidence) {
	r.Reason, r.Problem, r.Remedy = code, ev.problem, ev.remedy
}

// trouble is because, for what is in the way only now: it hides neither why
// something is being undone nor that a credential is lost.
func (r *Rotation) trouble(ev *evidence) {
	if !r.undoing() && !r.Lost {
		r.because(ev.code, ev)
		return
	}
	r.Warning = ev.problem
	if ev.remedy != "" {
		r.Warning += ": " + ev.remedy
	}
}

// undoing reports whether why it ends as it does is decided.
func (r *Rotation) undoing() bool { return r.Back || r.GivenUp || r.Doing == actDrop }

// well forgets what was in the way.
func (r *Rotation) well() {
	r.Needs = r.Lost
	if r.undoing() || r.Lost {
		r.Warning = ""
		return
	}
	r.Reason, r.Problem, r.Remedy = "", "", ""
}

// reach is a state with its first action.
func (r *Rotation) reach(s State, a Action) {
	r.State, r.Since = s, r.Updated
	r.well()
	r.do(a)
}

// end ends it. What it knew of values goes.
func (r *Rotation) end(s State) {
	r.State, r.Doing, r.Again, r.Tries, r.Needs = s, actNone, time.Time{}, 0, false
	r.Sealed, r.Orphans = nil, nil
	if s == Failed {
		r.To, r.Goes = 0, "" // there is no such version, and none went for it
	}
}

// needs stops until a person acts, or the same action succeeds.
func (r *Rotation) needs(code providers.Code, problem, remedy string) {
	r.Needs, r.Reason, r.Problem, r.Remedy = true, code, problem, remedy
}

// resume is next for an action whose outcome a crash took. All but asking may
// simply be done again; but a call that the broker did not survive several times
// may be what ends it, and waits. It reports whether something follows.
func (r *Rotation) resume(now time.Time) bool {
	stops, asked := r.Stops, r.Doing == actIssue
	if r.Doing.asks() && !r.Again.After(now) {
		stops++
	}
	if asked {
		r.next(traits{}, &evidence{now: now, outcome: providers.Unknown, code: providers.CodeUnavailable,
			problem: "the broker stopped while the service was being asked"})
	}
	changed := r.Stops != stops
	if r.Stops = stops; stops >= maxStops {
		r.needs(reasonStops, fmt.Sprintf("the broker stopped %d times in a row while it did %q", stops, r.Doing),
			"see why the broker ends: its log, and memory; secretctl rotate "+string(r.Secret)+" tries at once")
		r.Updated, r.Again = now, now.Add(lastPause)
	}
	return changed || asked
}

// strand waits for a config that says again how to go on.
func (r *Rotation) strand(now time.Time, problem, remedy string) {
	r.Updated, r.Again, r.Stranded, r.Needs = now, now.Add(lastLook), true, true
	r.trouble(&evidence{code: reasonConfig, problem: problem, remedy: remedy})
}

// unstrand goes on where strand began.
func (r *Rotation) unstrand() {
	if r.Stranded {
		r.Stranded = false
		r.well()
	}
}

// hurry is an owner who wants it tried now. What the service asked to be waited
// for is waited for, and so is what a pause proves.
func (r *Rotation) hurry() {
	if (r.Needs || r.Tries > 0) && r.Proofs == 0 && r.Doing != actIssue && r.Reason != providers.CodeRateLimited {
		r.Needs, r.Again = r.Lost, time.Time{}
	}
}

// rush is an owner for whom the old one is to end at once, with the leases on it.
func (r *Rotation) rush(now time.Time) {
	r.Updated, r.Emergency = now, true
	if r.State.live() {
		r.RetireAt, r.HardAt = now, now
	}
	if r.State == Announced || r.State == Drained {
		r.do(actEnd)
	}
}

// given takes a value by hand in place of the one that is lost.
func (r *Rotation) given(now time.Time) {
	r.Updated, r.Lost = now, false
	r.NewID, r.Facts, r.Expires, r.Denied = "", nil, time.Time{}, 0
	r.reach(Staged, actVerify)
	r.Proofs = 0
}

// next is what follows from the outcome of r.Doing. It is pure: all that it
// knows is in its arguments, and all that it decides is in r.
func (r *Rotation) next(t traits, ev *evidence) {
	if t.settle == 0 {
		t.settle = settle
	}
	r.Updated, r.Stops = ev.now, 0
	switch r.Doing {
	case actCheck:
		r.checked(ev)
	case actReserve:
		r.reserved(ev)
	case actChoose:
		r.chosen(ev)
	case actIssue:
		r.issued(t, ev)
	case actFind:
		r.found(t, ev)
	case actClean:
		r.cleaned(ev)
	case actProbeNew:
		r.probedNew(ev)
	case actProbeOld:
		r.probedOld(t, ev)
	case actVerify:
		r.verified(t, ev)
	case actPublish:
		r.published(ev)
	case actAnnounce:
		r.announced(t, ev)
	case actDrain:
		r.drained(t, ev)
	case actConfirm:
		r.confirmed(t, ev)
	case actEnd:
		r.thenOr(ev, func() { r.retire(t) })
	case actDisable:
		r.disabled(ev)
	case actRevoke:
		r.revoked(t, ev)
	case actProve:
		r.proved(t, ev)
	case actForget:
		r.thenOr(ev, func() { r.end(Done) })
	case actRestore:
		r.thenOr(ev, func() { r.restored() })
	case actUndo:
		r.undone(t, ev)
	case actDrop:
		r.thenOr(ev, func() { r.dropped() })
	default: // of another version of this program
		r.retry(ev)
	}
}

// thenOr goes on, or repeats what is harmless to repeat for as long as it takes.
func (r *Rotation) thenOr(ev *evidence, then func()) {
	if ev.outcome != providers.OK {
		r.retry(ev)
		return
	}
	r.well()
	r.Tries = 0
	then()
}

// passing reports whether waiting alone may mend it.
func passing(code providers.Code) bool {
	return code == providers.CodeRateLimited || code == providers.CodeUnavailable || code == reasonVault
}

// refuses reports whether the service said that the credential is not valid,
// rather than nothing.
func (ev *evidence) refuses() bool {
	return ev.outcome == providers.DefinitelyNot && ev.code == providers.CodeInvalid
}

// fail ends it with nothing replaced.
func (r *Rotation) fail(ev *evidence) {
	r.because(ev.code, ev)
	r.Needs = false
	if r.To != 0 {
		r.do(actDrop)
		return
	}
	r.end(Failed)
}

func (r *Rotation) checked(ev *evidence) {
	switch {
	case ev.outcome == providers.OK, ev.code == providers.CodeLimit && r.ByHand: // that one has its place already
		r.well()
		r.Account = ev.account
		if ev.old != nil {
			r.From.ID, r.From.Facts = ev.old.id, ev.old.facts
		}
		if r.ByHand {
			r.reach(Staged, actVerify)
			return
		}
		r.do(actReserve)
	case (ev.outcome == providers.Unknown || passing(ev.code)) && r.Tries+1 < maxStarts:
		r.retry(ev)
	default:
		r.fail(ev)
	}
}

// reserved has what keeping the new one takes, so that nothing but sealing it can
// fail once it is made.
func (r *Rotation) reserved(ev *evidence) {
	switch {
	case ev.outcome == providers.OK:
		r.well()
		r.To = ev.made.version
		if r.Shape == providers.ShapeSet {
			r.do(actChoose)
			return
		}
		r.ask(ev)
	case passing(ev.code) && r.Tries+1 < maxStarts:
		r.retry(ev)
	default:
		r.fail(ev)
	}
}

// ask asks the service for the new credential.
func (r *Rotation) ask(ev *evidence) {
	r.State = Issued
	r.do(actIssue)
	if r.Issues > 0 {
		r.Again = ev.now.Add(pause(r.Issues))
	}
	r.Issues++
}

func (r *Rotation) chosen(ev *evidence) {
	switch {
	case ev.outcome == providers.OK:
		r.well()
		r.keep(ev)
		r.ask(ev)
	case passing(ev.code) && r.Tries+1 < maxStarts:
		r.retry(ev)
	default:
		r.giveBack(ev)
	}
}

// keep takes the new credential into the journal.
func (r *Rotation) keep(ev *evidence) {
	m := ev.made
	r.To, r.Sealed, r.NewID, r.Facts, r.Made, r.Expires = m.version, m.sealed, m.id, m.facts, m.created, m.expires
}

func (r *Rotation) issued(t traits, ev *evidence) {
	switch ev.outcome {
	case providers.OK:
		if ev.made != nil {
			r.keep(ev)
		}
		r.Lost = false
		r.reach(Staged, actVerify)
	case providers.DefinitelyNot:
		r.refused(ev)
	default:
		r.Doubt = true
		r.because(ev.code, ev)
		switch r.Shape {
		case providers.ShapeSet:
			r.do(actProbeNew)
		case providers.ShapeCreate:
			r.do(actFind)
		case providers.ShapeRoll:
			r.do(actProbeOld)
		default:
			r.spend(t, ev)
		}
	}
}

// refused is an issue that was not done.
func (r *Rotation) refused(ev *evidence) {
	switch {
	case ev.code == providers.CodeBadValue && r.Shape == providers.ShapeSet && r.Refused+1 < maxRefused:
		// The same value would be refused for ever.
		r.Refused++
		r.because(ev.code, ev)
		r.do(actChoose)
	case ev.code == providers.CodeLimit && r.Shape == providers.ShapeCreate && r.Doubt && r.Issues < maxIssues:
		// It is one of ours that takes the place: looking for it came too early.
		r.because(ev.code, ev)
		r.do(actFind)
		r.Again = ev.now.Add(pause(r.Issues))
	case passing(ev.code) && r.Tries+1 < maxStarts:
		r.retry(ev)
	default:
		r.giveBack(ev)
	}
}

// giveBack fails, unless an answer was lost before: what that may have left is
// not left behind.
func (r *Rotation) giveBack(ev *evidence) {
	if !r.Doubt {
		r.fail(ev)
		return
	}
	r.rollBack(ev.code, ev)
}

// spend is a lost answer where the old credential was spent by asking: once
// more is allowed, since a service that did not see the first gives the new one
// then, and with one that did nothing is lost that was not lost already. One
// that is slow is not overtaken.
func (r *Rotation) spend(t traits, ev *evidence) {
	if r.Issues < 2 {
		r.Issues++
		r.retry(ev)
		r.Again = ev.now.Add(t.settle)
		return
	}
	r.lost(ev)
}

// lost waits for a person: neither credential is known to work. Where the new one
// is kept, and only not accepted, it is tried for as long as it takes.
func (r *Rotation) lost(ev *evidence) {
	remedy := "make a new one at the service, then: secretctl rotate --stdin " + string(r.Secret)
	if len(r.Sealed) > 0 {
		r.needs(r.Reason, ev.problem+"; the old one is dead", remedy)
		r.do(actVerify)
	} else {
		r.needs(reasonLost, "the service's answer was lost, and with it the new credential; the old one may be dead", remedy)
		r.do(actProbeOld)
	}
	r.Lost, r.Again = true, ev.now.Add(lastPause)
}

func (r *Rotation) found(t traits, ev *evidence) {
	switch {
	case ev.code == providers.CodeUnsupported && r.Doubt:
		r.needs(reasonUnsettled, "the service's answer was lost, and it cannot be asked whether it made a credential",
			"look there for one called "+r.Tag+" and remove it, then: secretctl rotate --give-up "+string(r.Secret))
		r.Again = ev.now.Add(lastPause)
	case ev.outcome != providers.OK && ev.code != providers.CodeUnsupported:
		r.Proofs = 0
		r.retry(ev)
	case len(r.others(ev.found)) > 0:
		r.Orphans = r.others(ev.found)
		r.do(actClean)
	case r.Back || r.finishing():
		// Only what is not there after a while is not there.
		wanted, gap := t.proofs, t.proofGap
		if r.Doubt {
			wanted, gap = wanted+1, max(gap, t.settle)
		}
		if r.Proofs++; r.Proofs < wanted {
			r.Again = ev.now.Add(gap)
			return
		}
		r.well()
		r.Doubt = false
		if r.Back {
			r.do(actDrop)
			return
		}
		r.forget(t)
	case r.Issues < maxIssues:
		r.ask(ev) // one that shows itself later is found before this ends
	default:
		ev.problem = "the service's answers were lost, and what it made was ended"
		r.rollBack(providers.CodeUnavailable, ev)
	}
}

// others are the ids that are not of the credential that is kept, and never the
// old one's. Which is kept cannot be told where it has no id.
func (r *Rotation) others(ids []string) (out []string) {
	if r.finishing() && !r.Back && r.NewID == "" {
		return nil
	}
	for _, id := range ids {
		if id != "" && id != r.From.ID && (r.Back || id != r.NewID) {
			out = append(out, id)
		}
	}
	return out
}

func (r *Rotation) cleaned(ev *evidence) {
	r.thenOr(ev, func() {
		r.Orphans = slices.Clone(r.Orphans[1:])
		if len(r.Orphans) > 0 {
			r.do(actClean)
			return
		}
		r.Orphans = nil
		r.do(actFind) // until it says that there is none
		r.Again = ev.now.Add(firstPause)
	})
}

func (r *Rotation) probedNew(ev *evidence) {
	switch {
	case ev.outcome == providers.OK:
		r.reach(Staged, actVerify)
	case ev.refuses() && r.Issues < maxIssues:
		r.ask(ev)
	case ev.refuses():
		r.rollBack(ev.code, ev)
	default:
		r.retry(ev)
	}
}

// probedOld knows whether a lost answer replaced the old one.
func (r *Rotation) probedOld(t traits, ev *evidence) {
	switch {
	case ev.outcome == providers.OK && time.Duration(r.Proofs)*probeGap < t.settle+t.lag:
		// It may be a server that has not heard yet, or is still at it. That is told by
		// how often it was asked, and not by a clock that may be set.
		r.Proofs++
		r.Again = ev.now.Add(probeGap)
	case ev.outcome == providers.OK:
		r.Lost = false
		r.well()
		ev.code, ev.problem = providers.CodeUnavailable, "the service did not answer, and replaced nothing"
		r.fail(ev)
	case ev.refuses() && r.Shape == providers.ShapeRoll && t.managed && !r.Lost && r.Issues < 2:
		// There is nothing more to lose, and asking does not take the dead one. That
		// it is dead shows that the first was done, and nothing of one after it.
		r.ask(ev)
	case ev.refuses():
		r.lost(ev)
	default:
		r.Proofs = 0
		r.retry(ev)
	}
}

func (r *Rotation) verified(t traits, ev *evidence) {
	switch {
	case ev.outcome == providers.OK && ev.account != "" && r.Account != "" && ev.account != r.Account:
		ev.problem = "the new credential is of another account than the old one"
		r.rollBack(providers.CodeWrongAccount, ev)
	case ev.outcome == providers.OK:
		r.Lost, r.Tries = false, 0
		r.well()
		if !ev.made.expiry().IsZero() {
			r.Expires = ev.made.expires
		}
		if r.Proofs++; r.Proofs < t.proofs {
			r.Again = ev.now.Add(t.proofGap)
			return
		}
		r.reach(Verified, actPublish)
	case ev.code == providers.CodeWrongAccount || ev.code == providers.CodeWiderScope || ev.code == providers.CodeBadValue:
		r.rollBack(ev.code, ev)
	case ev.refuses():
		r.denied(t, ev)
	default:
		r.Proofs = 0
		r.retry(ev)
	}
}

// denied is a new credential that the service refuses. It may not know it yet:
// that is waited for by what it said, and not by a clock that may be set.
func (r *Rotation) denied(t traits, ev *evidence) {
	r.Proofs = 0
	r.Denied++
	if r.ByHand && t.proofs == 1 || sum(r.Denied-1) >= verifyWindow {
		r.rollBack(ev.code, ev)
		return
	}
	r.retry(ev)
	r.Again = ev.now.Add(pause(r.Denied))
}

func (m *made) expiry() time.Time {
	if m == nil {
		return time.Time{}
	}
	return m.expires
}

func (r *Rotation) published(ev *evidence) {
	if ev.code == reasonChanged {
		r.rollBack(ev.code, ev)
		return
	}
	r.thenOr(ev, func() {
		r.RetireAt = ev.now.Add(r.Grace)
		if r.Hard > 0 {
			r.HardAt = ev.now.Add(max(r.Hard, r.Grace))
		}
		if r.Emergency {
			r.RetireAt, r.HardAt = ev.now, ev.now
		}
		r.reach(Published, actAnnounce)
	})
}

// announced goes on however telling the consumers went: the new value is in
// force, and those who were not told find it when they renew.
func (r *Rotation) announced(t traits, ev *evidence) {
	r.Warning = ev.problem
	if r.Tries++; ev.outcome != providers.OK && r.Tries < maxAnnounces && !r.Emergency {
		r.Again = ev.now.Add(pause(r.Tries))
		return
	}
	switch {
	case r.Back:
		r.do(actUndo)
	case r.From.Number == 0:
		r.finish(t) // it is the first: there is nothing to end
	case r.Emergency:
		r.reach(Announced, actEnd)
	default:
		r.reach(Announced, actDrain)
	}
}

func (r *Rotation) drained(t traits, ev *evidence) {
	over := !ev.now.Before(r.RetireAt)
	pinned, moving := ev.pinned > 0, ev.moving > 0 || ev.copied > 0 || t.elsewhere
	if over {
		moving = ev.moving > 0 && r.Patient
	}
	switch {
	case r.inPlace(t) && !r.ByHand:
		r.retire(t) // nobody has any use for the old one
	case !pinned && !moving, pinned && !r.HardAt.IsZero() && !ev.now.Before(r.HardAt):
		if t.confirm && !r.Confirmed {
			r.well()
			r.do(actConfirm)
			return
		}
		r.retire(t)
	case pinned && over:
		r.needs(reasonPinned, "consumers that took a copy still have the old version",
			"restart them, or end their leases: secretctl revoke --secret "+string(r.Secret))
		r.look(ev.now)
	default:
		r.well()
		r.look(ev.now)
	}
}

// retire begins to end the old one, where that has not happened by making the
// new one. What a person did in place is only looked at: the two may have one id.
func (r *Rotation) retire(t traits) {
	switch {
	case !r.inPlace(t):
		r.reach(Drained, actDisable)
	case r.ByHand && !t.blind:
		r.reach(Drained, actProve)
	default:
		r.retired(t)
	}
}

// look counts the leases again soon, and the less soon the longer it takes.
func (r *Rotation) look(now time.Time) {
	wait := lastLook
	if took := now.Sub(r.Since); took >= 0 {
		wait = min(max(took/10, firstLook), lastLook)
	}
	r.Again = now.Add(wait)
	if now.Before(r.RetireAt) && r.Again.After(r.RetireAt) {
		r.Again = r.RetireAt
	}
}

// inPlace reports whether making a new one ends the old one.
func (r *Rotation) inPlace(t traits) bool {
	return r.rolls() || r.Shape == providers.ShapeSet && !t.overlap
}

func (r *Rotation) rolls() bool {
	return r.Shape == providers.ShapeRoll || r.Shape == providers.ShapeRefresh
}

// single reports whether there is no way back: the old one died, or may have,
// when the service was asked, and cannot be had again.
func (r *Rotation) single() bool { return r.rolls() && r.Issues > 0 }

func (r *Rotation) confirmed(t traits, ev *evidence) {
	if ev.outcome == providers.OK {
		r.Confirmed = true
		r.retire(t)
		return
	}
	r.retry(ev)
	r.Reason = reasonConfirm
}

func (r *Rotation) disabled(ev *evidence) {
	switch {
	case ev.outcome == providers.OK:
		r.Disabled = true
		r.well()
		r.do(actRevoke)
		if !r.Emergency {
			r.Again = ev.now.Add(min(disabledFor, r.Grace))
		}
	case ev.code == providers.CodeUnsupported:
		r.well()
		r.do(actRevoke)
	default:
		r.retry(ev)
		r.Needs = r.Needs || ev.code == reasonShared
	}
}

func (r *Rotation) revoked(t traits, ev *evidence) {
	// To be stopped is all that can be had where there is no ending it.
	done := ev.outcome == providers.OK || ev.code == providers.CodeUnsupported && r.Disabled
	switch {
	case done && r.Reason == reasonAccepted:
		r.Doing, r.Again = actProve, ev.now.Add(pause(r.Tries)) // the owner is told until it bites
	case done:
		r.well()
		if t.blind {
			r.retired(t)
			return
		}
		r.do(actProve)
	case ev.code == providers.CodeUnsupported && t.blind:
		r.Warning = ev.problem
		r.retired(t)
	case ev.code == providers.CodeUnsupported:
		r.do(actProve)
		r.needs(reasonByHand, ev.problem, ev.remedy)
	default:
		r.retry(ev)
	}
}

// retired is the old one dead, as far as can be told.
func (r *Rotation) retired(t traits) {
	r.reach(Retired, actForget)
	r.finish(t)
}

// finish looks for what a network repeated: that may have made another one, and
// not only where an answer was lost.
func (r *Rotation) finish(t traits) {
	if r.Shape == providers.ShapeCreate && r.Issues > 0 {
		r.do(actFind)
		return
	}
	r.forget(t)
}

// finishing reports whether the new one is all there is to be.
func (r *Rotation) finishing() bool {
	return r.State == Retired || r.State == Published && r.From.Number == 0
}

// forget removes the old one here. What an answer was lost of is not left behind
// to come when there is another one.
func (r *Rotation) forget(t traits) {
	switch {
	case r.Doubt:
		r.do(actForget)
		r.Again = r.Updated.Add(t.settle)
	case r.From.Number == 0:
		r.end(Done)
	default:
		r.do(actForget)
	}
}

func (r *Rotation) proved(t traits, ev *evidence) {
	switch {
	case ev.refuses():
		if r.Proofs++; r.Proofs < t.proofs {
			r.Again = ev.now.Add(t.proofGap)
			return
		}
		r.retired(t)
	case r.Reason == reasonByHand:
		// It is only looked whether the person was there.
		r.Tries++
		r.Proofs, r.Again = 0, ev.now.Add(pause(r.Tries))
	case ev.outcome == providers.OK && r.inPlace(t):
		r.needs(reasonByHand, "the old credential is still accepted", "end it at the service")
		r.Proofs, r.Again = 0, ev.now.Add(firstPause)
	case ev.outcome == providers.OK:
		ev.code, ev.problem = reasonAccepted, "the service still accepts the old credential, though it was ended"
		r.Proofs = 0
		r.retry(ev)
		if r.Needs = sum(r.Tries) > acceptedFor+t.lag; r.Needs {
			r.Doing = actRevoke // and again, for as long as it takes
		}
	default:
		r.Proofs = 0
		r.retry(ev)
	}
}

// sum is how long n tries took, with their pauses.
func sum(n int) (d time.Duration) {
	for i := range n {
		d += pause(i + 1)
	}
	return d
}

// rollBack puts the old one in force again and ends the new one.
func (r *Rotation) rollBack(code providers.Code, ev *evidence) {
	r.because(code, ev)
	r.Needs = false
	if r.single() {
		r.lost(ev)
		return
	}
	r.Back = true
	if r.State.live() || r.State == Verified { // what publishes it may have been done, and its outcome lost
		r.do(actRestore)
		return
	}
	r.Goes = "" // it does not
	r.do(actUndo)
}

// restored has the old one in force again: who was told of the new one is told.
func (r *Rotation) restored() {
	if r.State.live() {
		r.do(actAnnounce)
		return
	}
	r.do(actUndo)
}

func (r *Rotation) undone(t traits, ev *evidence) {
	switch {
	case ev.outcome == providers.OK && r.Shape == providers.ShapeCreate && r.Issues > 0:
		r.well()
		r.do(actFind) // and what was made besides
	case ev.code == providers.CodeUnsupported:
		r.Warning = "the new credential is not ended: " + ev.problem
		if ev.remedy != "" {
			r.Warning += ": " + ev.remedy
		}
		r.do(actDrop)
	case ev.outcome != providers.OK:
		r.retry(ev)
		// Setting the old one again may come late as well, and meet the next one.
		r.Doubt = r.Doubt || ev.outcome == providers.Unknown && r.Shape == providers.ShapeSet
		r.Proofs = 0
	case r.Doubt && r.Proofs == 0:
		r.well()
		r.Proofs++
		r.Again = ev.now.Add(t.settle) // what is late would bring it back
	default:
		r.well()
		r.do(actDrop)
	}
}

func (r *Rotation) dropped() {
	if r.Back {
		r.end(RolledBack)
		return
	}
	r.end(Failed)
}

// canRollBack says why the owner cannot have the old version back, or "".
func (r *Rotation) canRollBack() (why string) {
	switch {
	case r.undoing():
		return "it is being rolled back already"
	case r.single():
		return "the service ended the old version when it made the new one"
	case r.From.Ended:
		return "the old version was ended at its service"
	case r.State == Drained || r.State == Retired:
		return "the old version is being ended at the service"
	case r.From.Number == 0 && (r.State.live() || r.State == Verified):
		return "there is no version before"
	}
	return ""
}

// back is rollBack by the owner.
func (r *Rotation) back(now time.Time) {
	r.Updated = now
	r.rollBack(reasonOwner, &evidence{now: now, problem: "the owner rolled it back"})
}

// giveUp ends it as it stands, for an owner who has seen to the rest. current is
// the version a lease gets.
func (r *Rotation) giveUp(now time.Time, current uint64, t traits) {
	stuck := r.Doing == actDrop && r.Tries > 0
	if !r.Left {
		ev := &evidence{problem: "given up by the owner: what the service still has of it is not ended"}
		if there := r.unkept(current); there != "" {
			ev.problem = "given up by the owner: the service may still have " + there
			ev.remedy = "remove " + there + " at the service"
			if r.From.Number != 0 && r.To == current {
				ev.problem += ", besides the old one"
			}
		}
		r.because(reasonOwner, ev)
	}
	r.Left = true
	r.Updated, r.Lost, r.Needs, r.Stranded = now, false, false, false
	switch {
	case r.To != 0 && r.To == current && r.oldIsDead(t):
		r.GivenUp = true
		r.do(actForget) // and not gone back to
	case r.To != 0 && r.To == current:
		r.end(Done)
	case r.To != 0 && !stuck:
		r.do(actDrop)
	default:
		r.dropped()
	}
}

// unkept names what the service may have made for this rotation and nobody is
// going to keep, "" when there is nothing: by what the service calls it, and by
// the tag where that is all there is to find it by.
func (r *Rotation) unkept(current uint64) string {
	kept := r.To != 0 && r.To == current
	if !r.mayBeMade() || r.Doing == actDrop && r.Tries == 0 && r.Warning == "" { // or it was ended
		return ""
	}
	var ids []string
	if r.NewID != "" && !kept {
		ids = append(ids, r.NewID)
	}
	for _, id := range r.Orphans {
		if id != r.NewID {
			ids = append(ids, id)
		}
	}
	switch there := strings.Join(ids, ", "); {
	case there == "" && !kept, there == "" && r.Doubt:
		return "what is called " + r.Tag
	case r.Doubt:
		return there + ", and what else is called " + r.Tag
	default:
		return there
	}
}

// mayBeMade reports whether the service may have made what it was asked for. Before
// it is asked, and when it said no, it has not.
func (r *Rotation) mayBeMade() bool { return r.Issues > 0 && (r.State != Issued || r.Doubt) }

// onlyCopy reports whether the journal has the one credential that works: making
// it may have ended the old one, and the vault has not got it. One that a person
// made is theirs.
func (r *Rotation) onlyCopy(t traits, current uint64) bool {
	return r.inPlace(t) && r.mayBeMade() && len(r.Sealed) > 0 && !r.ByHand && r.To != current && r.Doing != actDrop
}

// oldIsDead reports whether the version before does not work at the service any
// more, or may not.
func (r *Rotation) oldIsDead(t traits) bool {
	return r.From.Number != 0 && (r.State == Drained || r.State == Retired || r.State.live() && r.inPlace(t))
}
