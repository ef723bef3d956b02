// Package rotation replaces credentials: when, in which order, and what a lost
// answer or a crash means for each.
//
// It guards against the ways in which replacing a key loses it: a new value
// that was never kept, an old one that was ended before the new one worked, a
// retry that makes a second one, a key that nobody knows left behind at the
// service. All of that is decided by one pure function, [Rotation.next], over
// what is in the journal and what the last action brought; the journal is
// written before every action that changes something, and a crash in the middle
// of one is treated as an answer that was lost.
//
// It knows no network: what is called is a [providers.Rotator], and where the
// values rest a [Vault].
package rotation

import (
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// State is how far a rotation is.
type State string

// The states, in the order of the passage.
const (
	Planned   State = "planned"   // decided; nothing was called
	Issued    State = "issued"    // the service may have been asked for the new one
	Staged    State = "staged"    // the new value is kept
	Verified  State = "verified"  // the service accepts it
	Published State = "published" // it is what a lease gets
	Announced State = "announced" // consumers were told; leases on the old one may live
	Drained   State = "drained"   // nobody needs the old one: it is being ended
	Retired   State = "retired"   // the service refuses the old one
	Done      State = "done"      // and it is forgotten here

	RolledBack State = "rolled-back" // the old one is in force, the new one ended
	Failed     State = "failed"      // nothing was replaced
)

// Ended reports whether nothing more happens.
func (s State) Ended() bool { return s == Done || s == RolledBack || s == Failed }

// live reports whether the new version is what a lease gets.
func (s State) live() bool {
	return s == Published || s == Announced || s == Drained || s == Retired
}

// Action is one thing that is done next, and whose outcome decides.
type Action string

// The actions. Those that only look may be repeated at will.
const (
	actNone     Action = ""
	actCheck    Action = "check"     // look whether it can work
	actReserve  Action = "reserve"   // have a number for the new version
	actChoose   Action = "choose"    // make the new value, where we do
	actIssue    Action = "issue"     // ask the service
	actFind     Action = "find"      // look for what a lost answer left
	actClean    Action = "clean"     // end what was found
	actProbeNew Action = "probe-new" // does the service know the new one
	actProbeOld Action = "probe-old" // does it still know the old one
	actVerify   Action = "verify"    // prove the new one
	actPublish  Action = "publish"   // make it current
	actAnnounce Action = "announce"  // tell the consumers
	actDrain    Action = "drain"     // count who still has the old one
	actConfirm  Action = "confirm"   // ask the owner's command
	actEnd      Action = "end"       // end the leases on the old one
	actDisable  Action = "disable"   // stop the old one, reversibly
	actRevoke   Action = "revoke"    // end it
	actProve    Action = "prove"     // see that it is refused
	actForget   Action = "forget"    // remove its value here
	actRestore  Action = "restore"   // rolling back: make the old one current again
	actUndo     Action = "undo"      // rolling back: end the new one
	actDrop     Action = "drop"      // rolling back: remove the new version here
)

// looks reports whether the action changes nothing at the service, so that a
// managing credential need not be held for it alone.
func (a Action) looks() bool {
	switch a {
	case actCheck, actReserve, actChoose, actFind, actProbeNew, actProbeOld, actVerify, actDrain, actProve:
		return true
	}
	return false
}

// asks reports whether the action calls the provider.
func (a Action) asks() bool {
	switch a {
	case actCheck, actChoose, actIssue, actFind, actClean, actProbeNew, actProbeOld, actVerify, actDisable, actRevoke, actProve, actUndo:
		return true
	}
	return false
}

// commands reports whether the action runs the owner's commands.
func (a Action) commands() bool { return a == actAnnounce || a == actConfirm }

// ours reports whether the action is done without the provider, and so without
// its config.
func (a Action) ours() bool { return a == actForget || a == actRestore || a == actDrop }

// Reasons of ours, besides the providers' codes.
const (
	reasonPinned    providers.Code = "pinned_leases"  // leases that do not move are on the old version
	reasonConfirm   providers.Code = "not_confirmed"  // the confirm command does not succeed
	reasonAccepted  providers.Code = "still_accepted" // the service accepts the old one though it was ended
	reasonByHand    providers.Code = "by_hand"        // only a person can end the old one
	reasonLost      providers.Code = "lost"           // the old one is dead and the new one is not known
	reasonUnsettled providers.Code = "unsettled"      // nobody can tell whether the service made one
	reasonOwner     providers.Code = "owner"          // the owner rolled it back, or gave it up
	reasonVault     providers.Code = "vault"          // our own side did not work
	reasonChanged   providers.Code = "changed"        // the secret got another version meanwhile
	reasonConfig    providers.Code = "config"         // the config no longer says how
	reasonShared    providers.Code = "shared"         // another secret holds the same credential
	reasonStops     providers.Code = "stops"          // the broker ends in it
	reasonOnlyCopy  providers.Code = "only_copy"      // the new one, which works, is in the journal alone
	reasonTaken     providers.Code = "taken"          // by another host
	reasonNoService providers.Code = "no_service"     // nobody can end it: no service knows the value
)

// Rotation is the passage of one secret from one version to the next, as the
// journal has it. Times are UTC.
type Rotation struct {
	ID       string          `json:"id"`
	Secret   secret.Name     `json:"-"`
	Provider string          `json:"provider"`
	Shape    providers.Shape `json:"shape"`
	Tag      string          `json:"tag"`
	By       string          `json:"by"` // "schedule" or "owner"

	State   State     `json:"state"`
	Doing   Action    `json:"doing,omitempty"` // its outcome is not known
	Tries   int       `json:"tries,omitempty"` // of Doing that ended badly, in a row
	Again   time.Time `json:"again,omitzero"`  // Doing is not begun before
	Started time.Time `json:"started"`
	Updated time.Time `json:"updated"`
	Since   time.Time `json:"since"` // in State

	From    providers.Version  `json:"from"`
	EndedBy *providers.Version `json:"-"`                // not nil: what ends From where it manages itself, when there is no rotation
	To      uint64             `json:"to,omitempty"`     // reserved when there is a value
	Sealed  []byte             `json:"sealed,omitempty"` // the new value; gone at the end
	NewID   string             `json:"new_id,omitempty"`
	Facts   map[string]string  `json:"facts,omitempty"`
	Made    time.Time          `json:"made,omitzero"` // the new one, by the service's clock or ours
	Expires time.Time          `json:"expires,omitzero"`
	Account string             `json:"account,omitempty"` // whose the old one is

	Issues    int      `json:"issues,omitempty"`    // times the service was asked
	Doubt     bool     `json:"doubt,omitempty"`     // an answer was lost: there may be one more at the service
	Orphans   []string `json:"orphans,omitempty"`   // found, to be ended
	Refused   int      `json:"refused,omitempty"`   // values that the service's policy refused
	Denied    int      `json:"denied,omitempty"`    // times the service refused the new one
	Proofs    int      `json:"-"`                   // of Doing, in a row: what came before a crash proves nothing after it
	Disabled  bool     `json:"disabled,omitempty"`  // the old one, reversibly
	Confirmed bool     `json:"confirmed,omitempty"` // by the owner's command
	ByHand    bool     `json:"by_hand,omitempty"`   // a person gave the new one
	Lost      bool     `json:"lost,omitempty"`      // neither credential is known to work
	Stranded  bool     `json:"stranded,omitempty"`  // the config no longer says how to go on
	Stops     int      `json:"stops,omitempty"`     // times in a row that the broker stopped in Doing and nothing else
	Claimed   bool     `json:"claimed,omitempty"`   // other hosts know that it is this one's
	Told      string   `json:"told,omitempty"`      // the mark of the new value that they have too
	Left      bool     `json:"left,omitempty"`      // given up by the owner: what the service still has is not ended

	Back      bool `json:"back,omitempty"`      // it is being rolled back
	GivenUp   bool `json:"given_up,omitempty"`  // and the old one is forgotten
	Emergency bool `json:"emergency,omitempty"` // no grace

	Grace    time.Duration `json:"grace"`                // from published on
	Patient  bool          `json:"patient,omitempty"`    // leases given for longer than Grace are waited for: the owner named no Grace
	Hard     time.Duration `json:"grace_hard,omitempty"` // 0: leases that do not move are waited for
	RetireAt time.Time     `json:"retire_at,omitzero"`
	HardAt   time.Time     `json:"hard_at,omitzero"`

	Reason  providers.Code `json:"reason,omitempty"` // why it goes no further, or ended as it did
	Problem string         `json:"problem,omitempty"`
	Remedy  string         `json:"remedy,omitempty"`
	Needs   bool           `json:"needs,omitempty"`   // a person
	Warning string         `json:"warning,omitempty"` // of what failed and does not stop it
	Goes    string         `json:"goes,omitempty"`    // a warning of the version that publishing removes here, and that may be valid
}

// Progress returns what people and scripts are told. It shares nothing with r.
func (r *Rotation) Progress() providers.Progress {
	p := providers.Progress{
		ID: r.ID, Secret: string(r.Secret), Provider: r.Provider, By: r.By, State: r.shown(), Step: string(r.State),
		From: r.From.Number, To: r.To, Started: r.Started, Updated: r.Updated, Reason: r.Reason, Hint: r.Remedy,
		Warning: r.Warning, Ended: r.State.Ended(),
	}
	switch {
	case r.Goes != "" && r.Warning != "":
		p.Warning = r.Goes + "; " + r.Warning
	case r.Goes != "":
		p.Warning = r.Goes
	}
	if problem := r.Problem; problem != "" {
		p.Error = &problem
	}
	if at := r.RetireAt; r.State.live() {
		p.RetiresAt = &at
	}
	if at := r.Again; !at.IsZero() && !r.State.Ended() {
		p.Again = &at
	}
	return p
}

// shown is the state in the words of the contract.
func (r *Rotation) shown() string {
	switch {
	case r.State.Ended():
		return string(r.State)
	case r.Needs:
		return "needs-owner"
	case r.Back:
		return "rolling-back"
	case r.State == Announced, r.State == Drained, r.State == Retired:
		return "retiring"
	}
	return string(r.State)
}
