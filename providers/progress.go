package providers

import "time"

// Progress is how far a rotation has come, for people and scripts.
type Progress struct {
	ID       string    `json:"id"` // of this rotation
	Secret   string    `json:"secret"`
	Provider string    `json:"provider"`
	By       string    `json:"by"`    // "schedule" or "owner"
	State    string    `json:"state"` // retiring, done, needs-owner, rolled-back, failed or, before that, how far it is
	Step     string    `json:"step"`  // planned, issued, staged, verified, published, announced, drained, retired or done
	From     uint64    `json:"from_version"`
	To       uint64    `json:"to_version"` // 0: none was made
	Started  time.Time `json:"started_at"`
	Updated  time.Time `json:"updated_at"`
	// RetiresAt is when the old version is ended at the service at the latest,
	// unless leases that do not move are still on it.
	RetiresAt *time.Time `json:"retires_at"`
	Again     *time.Time `json:"next_try_at"` // when it goes on by itself
	Reason    Code       `json:"reason,omitempty"`
	Error     *string    `json:"error"` // in words
	Hint      string     `json:"hint,omitempty"`
	Warning   string     `json:"warning,omitempty"` // something that failed and does not stop it
	Ended     bool       `json:"ended"`             // nothing more will happen
}
