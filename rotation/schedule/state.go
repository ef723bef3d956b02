package schedule

import "time"

// State is what is remembered of one secret, kept on the disk. The zero value is
// a secret that was never seen: [Plan.Update] begins it.
type State struct {
	NextDue   time.Time `json:"next_due,omitzero"`   // UTC; zero: never
	Cause     Cause     `json:"cause,omitempty"`     // of NextDue
	LastStart time.Time `json:"last_start,omitzero"` // zero: never
	Failures  int       `json:"failures,omitempty"`  // in a row
	Retry     time.Time `json:"retry,omitzero"`      // not before, after a failure
	Held      time.Time `json:"held,omitzero"`       // not before, for what was late
	Rule      string    `json:"rule,omitempty"`      // the expression and zone of From and Ran
	From      time.Time `json:"from,omitzero"`       // slots up to here are dealt with
	// Ran are the slots that were run. They are more than From says only when the
	// clock is set back, and then keep them from being run again.
	Ran []Slots `json:"ran,omitempty"`
}

// Slots are slots that follow each other.
type Slots struct {
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

func (s Slots) has(t time.Time) bool { return !t.Before(s.First) && !t.After(s.Last) }

// Due reports whether NextDue has come. It is all that a tick costs for a secret
// that is not due.
func (s *State) Due(now time.Time) bool { return !s.NextDue.IsZero() && !now.Before(s.NextDue) }

// Suspended reports whether the schedule has stopped after too many failures.
func (s *State) Suspended() bool { return s.Failures >= maxFailures }
