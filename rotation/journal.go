package rotation

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// The buckets of the journal, which shares its file with the ledger.
const (
	bucketFlights = "rotations" // name → Rotation that has not ended, as JSON
	bucketHistory = "rotated"   // name, 0, start in µs big-endian → Rotation that has ended
	bucketClaims  = "claims"    // name → the id of the rotation that other hosts may think is this one's
)

// maxHistory is how many ended rotations of a secret are kept: at one a week, a
// year.
const maxHistory = 52

// journal keeps rotations durably. Those that are saved at the same time share a
// transaction, since each is a wait for the disk.
type journal struct {
	db durable.DB

	writing sync.Mutex // held by whoever writes a batch
	mu      sync.Mutex
	open    *batch // takes entries until it is written; nil: there is none
}

// batch is what is written in one transaction.
type batch struct {
	entries []entry
	written bool // under journal.writing
	err     error
}

// entry is a rotation as it was when it was saved.
type entry struct {
	rotation *Rotation
	json     []byte
}

// save writes a rotation as it is now; one that has ended goes to the history.
func (j *journal) save(r *Rotation) error {
	text, err := json.Marshal(r)
	if err == nil {
		err = j.write(j.join(entry{r, text}))
	}
	if err != nil {
		return fmt.Errorf("writing the rotation journal: %w", err)
	}
	return nil
}

// join puts an entry into the batch that is written next.
func (j *journal) join(e entry) *batch {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.open == nil {
		j.open = new(batch)
	}
	j.open.entries = append(j.open.entries, e)
	return j.open
}

// write writes the batch, unless one who waited for the same has.
func (j *journal) write(b *batch) error {
	j.writing.Lock()
	defer j.writing.Unlock()
	if b.written {
		return b.err
	}
	j.mu.Lock()
	j.open = nil // it is b: only what was written leaves its place
	j.mu.Unlock()
	b.written, b.err = true, j.db.Update(func(tx durable.Tx) error {
		for _, e := range b.entries {
			if err := e.put(tx); err != nil {
				return err
			}
		}
		return nil
	})
	return b.err
}

func (e entry) put(tx durable.Tx) error {
	r := e.rotation
	if !r.State.Ended() {
		return tx.Put(bucketFlights, []byte(r.Secret), e.json)
	}
	if err := tx.Delete(bucketFlights, []byte(r.Secret)); err != nil {
		return err
	}
	if err := tx.Put(bucketHistory, historyKey(r), e.json); err != nil {
		return err
	}
	return trim(tx, r.Secret)
}

func historyKey(r *Rotation) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(r.Secret), 0), uint64(r.Started.UnixMicro()))
}

// trim removes the oldest ended rotations of a secret that has too many.
func trim(tx durable.Tx, name secret.Name) error {
	var keys [][]byte
	err := scanHistory(tx, name, func(k, _ []byte) bool {
		keys = append(keys, append([]byte{}, k...))
		return true
	})
	for ; err == nil && len(keys) > maxHistory; keys = keys[1:] {
		err = tx.Delete(bucketHistory, keys[0])
	}
	return err
}

// scanHistory calls fn with the ended rotations of a secret, oldest first.
func scanHistory(tx durable.Tx, name secret.Name, fn func(k, v []byte) bool) error {
	prefix := append([]byte(name), 0)
	return tx.Scan(bucketHistory, prefix, func(k, v []byte) bool {
		return len(k) == len(prefix)+8 && string(k[:len(prefix)]) == string(prefix) && fn(k, v)
	})
}

// flights returns the rotations that have not ended.
func (j *journal) flights() (out []*Rotation, err error) {
	err = j.db.View(func(tx durable.Tx) error {
		var bad error
		err := tx.Scan(bucketFlights, nil, func(k, v []byte) bool {
			r := &Rotation{Secret: secret.Name(k)}
			if bad = json.Unmarshal(v, r); bad != nil {
				bad = fmt.Errorf("the entry of %q: %w", k, bad)
				return false
			}
			out = append(out, r)
			return true
		})
		if bad != nil {
			return bad
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the rotation journal: %w", err)
	}
	return out, nil
}

// last returns the rotation of a secret that ended last.
func (j *journal) last(name secret.Name) (p providers.Progress, ok bool, err error) {
	err = j.db.View(func(tx durable.Tx) error {
		var newest []byte
		err := scanHistory(tx, name, func(_, v []byte) bool { newest = v; return true })
		if err != nil || newest == nil {
			return err
		}
		r := Rotation{Secret: name}
		if err := json.Unmarshal(newest, &r); err != nil {
			return err
		}
		p, ok = r.Progress(), true
		return nil
	})
	if err != nil {
		return p, false, fmt.Errorf("reading the rotation journal: %w", err)
	}
	return p, ok, nil
}

// history returns the ended rotations of a secret, newest first.
func (j *journal) history(name secret.Name) (out []providers.Progress, err error) {
	all, err := j.past(name)
	for _, r := range all {
		out = append(out, r.Progress())
	}
	return out, err
}

// past returns the ended rotations of a secret as they ended, newest first.
func (j *journal) past(name secret.Name) (out []*Rotation, err error) {
	err = j.db.View(func(tx durable.Tx) error {
		var bad error
		err := scanHistory(tx, name, func(_, v []byte) bool {
			r := &Rotation{Secret: name}
			if bad = json.Unmarshal(v, r); bad != nil {
				return false
			}
			out = append(out, r)
			return true
		})
		return errors.Join(bad, err)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the rotation journal: %w", err)
	}
	slices.Reverse(out)
	return out, nil
}

// owe remembers that other hosts may think, from now on, that a rotation of this one
// is under way, and forget that they were told otherwise.
func (j *journal) owe(name secret.Name, id string) error {
	return j.db.Update(func(tx durable.Tx) error { return tx.Put(bucketClaims, []byte(name), []byte(id)) })
}

func (j *journal) forget(name secret.Name, id string) error {
	return j.db.Update(func(tx durable.Tx) error {
		if string(tx.Get(bucketClaims, []byte(name))) != id {
			return nil
		}
		return tx.Delete(bucketClaims, []byte(name))
	})
}

// owed returns what owe remembered.
func (j *journal) owed() (ids map[secret.Name]string, err error) {
	ids = make(map[secret.Name]string)
	err = j.db.View(func(tx durable.Tx) error {
		return tx.Scan(bucketClaims, nil, func(k, v []byte) bool { ids[secret.Name(k)] = string(v); return true })
	})
	return ids, err
}
