package mask

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math/bits"
)

// Salt makes the fingerprints of one process useless to others. The zero Salt
// works, and is everybody's.
type Salt [32]byte

// NewSalt returns a random salt.
func NewSalt() (s Salt) {
	_, _ = rand.Read(s[:]) // never fails: see crypto/rand
	return s
}

const (
	// gateLen is how many bytes the gate looks at, and so the length of the
	// shortest form.
	gateLen = 8

	// headLen is by how many bytes nearly everything is decided about a form that
	// is longer.
	headLen = 64
)

// Fingerprint recognises one form of one value without containing it. What it
// gives away is said in the package's comment.
type Fingerprint struct {
	Name   string   // of the secret, for people
	Len    int      // of the form, in bytes; at least 8
	Floor  byte     // no byte of the form is below it: '!', ' ' (it has spaces) or 0 (it may have anything)
	Prefix uint32   // salted hash of the first 8 bytes
	Head   uint32   // salted hash of the first 64 bytes of a longer form, else 0
	Digest [16]byte // of salted SHA-256 of the whole form
}

// Fingerprints appends the fingerprint of every form of a value. It neither
// keeps nor changes the value. The error is [ErrShort] or [ErrPlain] for a value
// that is not worth masking; then nothing is appended.
func (s Salt) Fingerprints(dst []Fingerprint, name string, value []byte) ([]Fingerprint, error) {
	if err := worth(value); err != nil {
		return dst, err
	}
	d := newDigester(s)
	defer d.forget()
	seen := make(map[[16]byte]bool)
	eachForm(value, func(form []byte) {
		digest := d.sum(form)
		if seen[digest] {
			return
		}
		seen[digest] = true
		f := Fingerprint{Name: name, Len: len(form), Floor: floorOf(form), Prefix: d.prefix(form), Digest: digest}
		if len(form) > headLen {
			f.Head = d.head(form)
		}
		dst = append(dst, f)
	})
	return dst, nil
}

// Digest returns a salted digest of a value: two that are the same have the same.
// The error is [ErrShort] or [ErrPlain] for a value that is not worth masking,
// which two may have by chance.
func (s Salt) Digest(value []byte) (sum [16]byte, err error) {
	if err := worth(value); err != nil {
		return sum, err
	}
	d := newDigester(s)
	defer d.forget()
	return d.sum(value), nil
}

// floorOf returns the greatest of the three floors that no byte is below.
func floorOf(form []byte) byte {
	floor := byte('!')
	for _, c := range form {
		switch {
		case c < ' ':
			return 0
		case c == ' ':
			floor = ' '
		}
	}
	return floor
}

// digester computes what is in a fingerprint. It is used by one goroutine at a
// time.
type digester struct {
	hashKeys
	salt Salt
	hash hash.Hash
	full [sha256.Size]byte
}

func newDigester(s Salt) *digester {
	return &digester{hashKeys: keysOf(s), salt: s, hash: sha256.New()}
}

func (d *digester) sum(form []byte) (out [16]byte) {
	d.hash.Reset()
	d.hash.Write(d.salt[:])
	d.hash.Write(form)
	copy(out[:], d.hash.Sum(d.full[:0]))
	return out
}

// forget overwrites what is left of the last form in the hash.
func (d *digester) forget() {
	d.hash.Reset()
	d.hash.Write(make([]byte, sha256.BlockSize-1))
}

// hashKeys are the keys of the 32-bit hashes. They follow from the salt.
type hashKeys struct{ add, mul uint64 }

func keysOf(s Salt) hashKeys {
	sum := sha256.Sum256(append([]byte("secretctl mask: keys of the short hashes: "), s[:]...))
	return hashKeys{binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:]) | 1}
}

// fold is the hash of 8 bytes: the halves of a product, one upon the other.
func (k hashKeys) fold(x uint64) uint64 {
	hi, lo := bits.Mul64(x^k.add, k.mul)
	return hi ^ lo
}

func (k hashKeys) prefix(b []byte) uint32 { return uint32(k.fold(binary.LittleEndian.Uint64(b))) }

func (k hashKeys) head(b []byte) uint32 {
	var h uint64
	for at := 0; at < headLen; at += 8 {
		h = k.fold(h ^ binary.LittleEndian.Uint64(b[at:]))
	}
	return uint32(h)
}
