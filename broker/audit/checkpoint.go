package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// checkpoint is what a signed note says about the log.
type checkpoint struct {
	Size  uint64    // records
	Root  tlog.Hash // of the RFC 6962 tree over them
	Chain tlog.Hash // of the last of them; zero when there is none
}

// signer signs and checks the notes of one log.
type signer struct {
	origin string
	sign   note.Signer
	verify note.Verifier
}

// newSigner reads the text of audit/key.
func newSigner(text string) (*signer, error) {
	text, ok := strings.CutSuffix(text, "\n")
	sign, err := note.NewSigner(text)
	if !ok || err != nil {
		return nil, errors.New("it holds no signing key")
	}
	fields := strings.SplitN(text, "+", 5) // PRIVATE, KEY, name, hash, key
	seed, err := base64.StdEncoding.DecodeString(fields[4])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, errors.New("it holds no signing key")
	}
	public := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(sign.Name(), public)
	if err != nil {
		return nil, err
	}
	verify, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	return &signer{sign.Name(), sign, verify}, nil
}

// note returns the signed note of c (C2SP tlog-checkpoint: origin, size, root,
// and one extension line).
func (s *signer) note(c checkpoint) ([]byte, error) {
	text := fmt.Sprintf("%s\n%d\n%s\nchain %s\n", s.origin, c.Size, c.Root, b64.EncodeToString(c.Chain[:]))
	return note.Sign(&note.Note{Text: text}, s.sign)
}

// open reads a note that this log's key has signed, perhaps among others.
func (s *signer) open(msg []byte) (checkpoint, error) {
	n, err := note.Open(msg, note.VerifierList(s.verify))
	if err != nil {
		return checkpoint{}, fmt.Errorf("it is not signed by this log's key: %w", err)
	}
	return s.parse(n.Text)
}

// openExact is open for a note inside the log: one signature, one form.
func (s *signer) openExact(msg []byte) (checkpoint, error) {
	c, err := s.open(msg)
	if err != nil {
		return c, err
	}
	// Ed25519 signatures are a function of key and text, so the note itself is.
	want, err := s.note(c)
	if err != nil || !bytes.Equal(want, msg) {
		return checkpoint{}, errors.New("it is signed, but not in the form this log writes")
	}
	return c, nil
}

func (s *signer) parse(text string) (c checkpoint, err error) {
	bad := errors.New("it is signed, but no checkpoint of this log")
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[0] != s.origin || lines[4] != "" {
		return c, bad
	}
	if c.Size, err = strconv.ParseUint(lines[1], 10, 64); err != nil || c.Size > math.MaxInt64 || strconv.FormatUint(c.Size, 10) != lines[1] {
		return c, bad
	}
	if c.Root, err = tlog.ParseHash(lines[2]); err != nil || c.Root.String() != lines[2] {
		return c, bad
	}
	chain, ok := strings.CutPrefix(lines[3], "chain ")
	d := decoder{s: chain + `"`}
	if c.Chain = d.hash(); !ok || d.bad || d.i != len(d.s) {
		return c, bad
	}
	return c, nil
}

// checkpointKey begins a checkpoint's line.
const checkpointKey = `{"checkpoint":"`

// appendCheckpoint writes a note as a line. Of its characters only the newline
// needs an escape.
func appendCheckpoint(b, msg []byte) []byte {
	b = append(b, checkpointKey...)
	for _, c := range msg {
		if c == '\n' {
			b = append(b, `\n`...)
		} else {
			b = append(b, c)
		}
	}
	return append(b, "\"}\n"...)
}

// decodeCheckpoint returns the note in a checkpoint's line, given without its
// newline.
func decodeCheckpoint(line []byte) ([]byte, error) {
	bad := errors.New("it is no checkpoint: malformed")
	msg, ok := bytes.CutPrefix(line, []byte(checkpointKey))
	msg, ok2 := bytes.CutSuffix(msg, []byte(`"}`))
	if !ok || !ok2 || bytes.ContainsAny(msg, "\"\n\r\t\x00") {
		return nil, bad
	}
	msg = bytes.ReplaceAll(msg, []byte(`\n`), []byte("\n"))
	if bytes.IndexByte(msg, '\\') >= 0 {
		return nil, bad
	}
	return msg, nil
}
