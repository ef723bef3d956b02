// Package halt keeps what takes power away, in a place that does not depend on
// anything else: the kill switch, the lease epoch and the leases revoked since
// the log could last be written.
//
// It guards against a stop that is lost: a full disk, a broken log or a crash
// in the middle must not bring a killed broker back to life. The file is made
// at its full size by [Replace] and only ever overwritten in place, so that it
// needs no free space (on file systems that copy on write, APFS and btrfs
// among them, in-place writes can still need some: the error says so).
//
// The state is there twice, each copy with its own checksum, and the second is
// not touched before the first is durable. So a torn write leaves the state
// before it, and what was acknowledged survives the loss of either copy. Were
// the copies written in turn instead, a kill whose page rots would be a kill
// that never was, for nothing tells rot from a torn write.
package halt

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"secretctl/broker/durable"
	"secretctl/broker/lease"
)

// Name is the file's name in the home.
const Name = "halt"

// MaxRevoked is how many revoked leases the file holds. When more are revoked
// than the log can take over, the epoch moves on instead.
const MaxRevoked = 64

// State is what the file says. The zero value is a broker that runs, in epoch
// 0, with nothing revoked.
type State struct {
	Killed  bool
	Epoch   uint64 // leases of an earlier epoch are dead
	Revoked []lease.ID
}

// A copy is one page, so that no sector of it is shared with the other:
//
//	magic "secretctl-halt-1" | sequence u64 | epoch u64 | killed u8 | count u8 |
//	6 zero bytes | count × 16 bytes of lease ids | zeros | sha256 of all before
const (
	pageSize = 4096
	header   = 16 + 8 + 8 + 8
	sumAt    = pageSize - sha256.Size
)

var magic = []byte("secretctl-halt-1")

// ErrUnreadable is wrapped by [Open] when neither copy is intact.
var ErrUnreadable = errors.New("neither copy in it is intact")

// File is the open halt file. It is not safe for concurrent use.
type File struct {
	f     durable.File
	seq   uint64
	newer int // which copy has seq; the other one too, unless a Store has failed
}

// Ensure makes the file with the zero state, unless one is there. One that
// cannot be read is an error: [Replace] leaves a whole file or none, so it was
// whole once and may have said that the broker is killed.
func Ensure(d durable.Disk) error {
	h, _, err := Open(d)
	if errors.Is(err, fs.ErrNotExist) {
		h, err = Replace(d)
	}
	if err != nil {
		return err
	}
	return h.Close()
}

// Replace puts a file with the zero state in the place of whatever is there.
func Replace(d durable.Disk) (*File, error) {
	page := encode(State{}, 1)
	if err := durable.WriteFile(d, Name, append(page, page...), 0o600); err != nil {
		return nil, fmt.Errorf("creating %s: %w", Name, err)
	}
	h, _, err := Open(d)
	return h, err
}

// Open reads the file. A copy that is damaged or behind is written anew first:
// from then on the state does not depend on the other one alone.
func Open(d durable.Disk) (*File, State, error) {
	f, err := d.OpenFile(Name, os.O_RDWR, 0)
	if err != nil {
		return nil, State{}, fmt.Errorf("opening %s: %w", Name, err)
	}
	h := &File{f: f}
	state, err := h.load()
	if err != nil {
		f.Close()
		return nil, State{}, err
	}
	return h, state, nil
}

// load reads both copies and makes them the same.
func (h *File) load() (state State, err error) {
	var pages [2][]byte
	found := false
	for i := range pages {
		pages[i] = make([]byte, pageSize)
		if n, err := h.f.ReadAt(pages[i], int64(i)*pageSize); err != nil && n < pageSize {
			continue
		}
		if s, seq, ok := decode(pages[i]); ok && (!found || seq > h.seq) {
			state, h.seq, h.newer, found = s, seq, i, true
		}
	}
	if !found {
		return State{}, fmt.Errorf("reading %s: %w", Name, ErrUnreadable)
	}
	if bytes.Equal(pages[0], pages[1]) {
		return state, nil
	}
	return state, h.write(1-h.newer, pages[h.newer])
}

// Store makes s the state, durably, in both copies. When it fails the file
// still holds the state before, or s. It may be called again: every copy it is
// to be in is written whole again.
func (h *File) Store(s State) error {
	if len(s.Revoked) > MaxRevoked {
		return fmt.Errorf("writing %s: %d revoked leases are more than the %d it holds", Name, len(s.Revoked), MaxRevoked)
	}
	page := encode(s, h.seq+1)
	if err := h.write(1-h.newer, page); err != nil {
		return err
	}
	h.seq, h.newer = h.seq+1, 1-h.newer
	return h.write(1-h.newer, page)
}

// write writes one copy, durably.
func (h *File) write(i int, page []byte) error {
	if _, err := h.f.WriteAt(page, int64(i)*pageSize); err != nil {
		return fmt.Errorf("writing %s: %w", Name, err)
	}
	if err := h.f.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", Name, err)
	}
	return nil
}

// Close closes the file.
func (h *File) Close() error { return h.f.Close() }

func encode(s State, seq uint64) []byte {
	page := make([]byte, pageSize)
	copy(page, magic)
	binary.BigEndian.PutUint64(page[16:], seq)
	binary.BigEndian.PutUint64(page[24:], s.Epoch)
	if s.Killed {
		page[32] = 1
	}
	page[33] = byte(len(s.Revoked))
	at := header
	for _, id := range s.Revoked {
		at += copy(page[at:], id[:])
	}
	sum := sha256.Sum256(page[:sumAt])
	copy(page[sumAt:], sum[:])
	return page
}

func decode(page []byte) (s State, seq uint64, ok bool) {
	sum := sha256.Sum256(page[:sumAt])
	if !bytes.Equal(sum[:], page[sumAt:]) || !bytes.HasPrefix(page, magic) {
		return State{}, 0, false
	}
	seq = binary.BigEndian.Uint64(page[16:])
	s.Epoch = binary.BigEndian.Uint64(page[24:])
	s.Killed = page[32] == 1
	n := int(page[33])
	if page[32] > 1 || n > MaxRevoked {
		return State{}, 0, false
	}
	for i := range n {
		s.Revoked = append(s.Revoked, lease.ID(page[header+16*i:]))
	}
	return s, seq, true
}
