// Package halt keeps what takes power away, in a place that does not depend on
// anything else: the kill switch, the lease epoch and the leases revoked since
// the log could last be written.
//
// It guards against a stop that is lost: a full disk, a broken log or a crash
// in the middle must not bring a killed broker back to life. The file is made
// at its full size by [Create] and only ever overwritten in place, so that it
// needs no free space (on file systems that copy on write, APFS and btrfs
// among them, in-place writes can still need some: the error says so). Two
// slots are written in turn, each with its own checksum, so that a torn write
// leaves the state before it.
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

// A slot is one page, so that no sector of it is shared with the other:
//
//	magic "secretctl-halt-1" | sequence u64 | epoch u64 | killed u8 | count u8 |
//	6 zero bytes | count × 16 bytes of lease ids | zeros | sha256 of all before
const (
	slotSize = 4096
	header   = 16 + 8 + 8 + 8
	sumAt    = slotSize - sha256.Size
)

var magic = []byte("secretctl-halt-1")

// ErrUnreadable is wrapped by [Open] when neither slot is intact.
var ErrUnreadable = errors.New("neither copy in it is intact")

// File is the open halt file. It is not safe for concurrent use.
type File struct {
	f   durable.File
	seq uint64
}

// Ensure makes the file with the zero state, unless a whole one is there.
func Ensure(d durable.Disk) error {
	h, _, err := Open(d)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrUnreadable) {
		h, err = Replace(d)
	}
	if err != nil {
		return err
	}
	return h.Close()
}

// Replace puts a file with the zero state in the place of whatever is there.
func Replace(d durable.Disk) (*File, error) {
	pages := append(encode(State{}, 2), encode(State{}, 1)...)
	if err := durable.WriteFile(d, Name, pages, 0o600); err != nil {
		return nil, fmt.Errorf("creating %s: %w", Name, err)
	}
	h, _, err := Open(d)
	return h, err
}

// Open reads the file.
func Open(d durable.Disk) (*File, State, error) {
	f, err := d.OpenFile(Name, os.O_RDWR, 0)
	if err != nil {
		return nil, State{}, fmt.Errorf("opening %s: %w", Name, err)
	}
	h := &File{f: f}
	var state State
	found := false
	for slot := range 2 {
		page := make([]byte, slotSize)
		if n, err := f.ReadAt(page, int64(slot)*slotSize); err != nil && n < slotSize {
			continue
		}
		if s, seq, ok := decode(page); ok && (!found || seq > h.seq) {
			state, h.seq, found = s, seq, true
		}
	}
	if !found {
		f.Close()
		return nil, State{}, fmt.Errorf("reading %s: %w", Name, ErrUnreadable)
	}
	return h, state, nil
}

// Store makes s the state, durably, over the older of the two copies. When it
// fails the file still holds the state before, or s.
func (h *File) Store(s State) error {
	if len(s.Revoked) > MaxRevoked {
		return fmt.Errorf("writing %s: %d revoked leases are more than the %d it holds", Name, len(s.Revoked), MaxRevoked)
	}
	seq := h.seq + 1
	if _, err := h.f.WriteAt(encode(s, seq), int64(seq%2)*slotSize); err != nil {
		return fmt.Errorf("writing %s: %w", Name, err)
	}
	if err := h.f.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", Name, err)
	}
	h.seq = seq
	return nil
}

// Close closes the file.
func (h *File) Close() error { return h.f.Close() }

func encode(s State, seq uint64) []byte {
	page := make([]byte, slotSize)
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
