package rotation

import (
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Setup is what the config says of the rotation of one secret.
type Setup struct {
	Kind      providers.Kind
	Options   providers.Options
	Grace     time.Duration // how long those who have the old version are waited for
	Patient   bool          // the config does not say Grace: leases given for longer, under grants there were, are waited for
	Elsewhere bool          // other hosts may have given leases, which cannot be counted here: Grace is waited for
	Hard      time.Duration // after which leases that do not move are not waited for any more; 0: for ever
	Announce  []string      // the owner's commands, for a plan
	Confirm   bool          // there is a command that must succeed before the old one is ended
}

// owns returns the broker's own secrets that rotating this one uses.
func (s *Setup) owns() (names []secret.Name) {
	for _, o := range s.Kind.Options {
		if o.Type == providers.Own {
			if name := s.Options.Own(o.Name); name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}

func (s *Setup) traits() traits {
	return traits{
		proofs: max(s.Kind.Proofs, 1), proofGap: s.Kind.ProofGap, lag: s.Kind.Lag, blind: s.Kind.Blind,
		overlap: s.Kind.Overlap, managed: len(s.owns()) > 0, confirm: s.Confirm, elsewhere: s.Elsewhere,
	}
}
