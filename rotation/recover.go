package rotation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
)

// Recovered reads the journal out of a file whose ledger is rebuilt from the
// vault, and returns what writes it into the new one, and of which secrets a
// rotation is under way. The vault may be older than the journal or newer: a new
// version that was verified before is verified again, and published again where
// the vault does not have it.
func Recovered(old durable.DB) (write func(durable.Tx) error, under []secret.Name, err error) {
	type pair struct {
		bucket     string
		key, value []byte
	}
	var all []pair
	err = old.View(func(tx durable.Tx) (bad error) {
		for _, bucket := range []string{bucketFlights, bucketHistory, bucketClaims, bucketSchedule, bucketClock} {
			err := tx.Scan(bucket, nil, func(k, v []byte) bool {
				p := pair{bucket, bytes.Clone(k), bytes.Clone(v)}
				if bucket == bucketFlights {
					under = append(under, secret.Name(k))
					if p.value, bad = doubted(v); bad != nil {
						bad = fmt.Errorf("the entry of %q: %w", k, bad)
						return false
					}
				}
				all = append(all, p)
				return true
			})
			if err != nil || bad != nil {
				return errors.Join(bad, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading the rotation journal: %w", err)
	}
	return func(tx durable.Tx) error {
		for _, p := range all {
			if err := tx.Put(p.bucket, p.key, p.value); err != nil {
				return err
			}
		}
		return nil
	}, under, nil
}

func doubted(entry []byte) ([]byte, error) {
	var r Rotation
	if err := json.Unmarshal(entry, &r); err != nil {
		return nil, err
	}
	r.doubt()
	return json.Marshal(&r)
}

// doubt takes nothing for granted that a vault which was restored can
// contradict. Of one whose old version is being ended the new one is in force,
// which is seen to before each step.
func (r *Rotation) doubt() {
	if r.undoing() || len(r.Sealed) == 0 {
		return
	}
	switch r.State {
	case Verified, Published, Announced:
		r.State, r.Confirmed = Verified, false // and not staged: it may be in force, and is taken back if it does not work
		r.do(actVerify)
	}
}
