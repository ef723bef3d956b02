package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"secretctl/broker/clock"
	"secretctl/broker/durable"
)

// keyText returns a key for a log, always the same for one seed.
func keyText(t require.TestingT, name string, seed byte) (text, vkey string) {
	raw := make([]byte, ed25519.SeedSize)
	raw[0] = seed
	public := ed25519.NewKeyFromSeed(raw).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(name, public)
	require.NoError(t, err)
	hash := strings.Split(vkey, "+")[1]
	return fmt.Sprintf("PRIVATE+KEY+%s+%s+%s\n", name, hash, base64.StdEncoding.EncodeToString(append([]byte{1}, raw...))), vkey
}

// testSigner returns a signer and the verifier that everybody can have.
func testSigner(t require.TestingT, seed byte) (*signer, note.Verifiers) {
	text, vkey := keyText(t, "secretctl/0123456789abcdef", seed)
	s, err := newSigner(text)
	require.NoError(t, err)
	v, err := note.NewVerifier(vkey)
	require.NoError(t, err)
	return s, note.VerifierList(v)
}

// TestKey: a key that is not exactly one is refused, and not shown.
func TestKey(t *testing.T) {
	text, _ := keyText(t, "secretctl/0123456789abcdef", 1)
	_, err := newSigner(text)
	require.NoError(t, err)
	for what, bad := range map[string]string{
		"nothing":             "",
		"no newline":          strings.TrimSuffix(text, "\n"),
		"a carriage return":   strings.TrimSuffix(text, "\n") + "\r",
		"another name":        strings.Replace(text, "0123", "0124", 1),
		"another key":         strings.Replace(text, "AAAA", "AAAB", 1),
		"no private key":      strings.TrimPrefix(text, "PRIVATE+"),
		"half":                text[:40] + "\n",
		"another algorithm":   strings.Replace(text, "+AQ", "+Ag", 1),
		"a name with a space": strings.Replace(text, "secretctl/", "secret ctl/", 1),
	} {
		_, err := newSigner(bad)
		require.Error(t, err, what)
		require.NotContains(t, err.Error(), "AAAA", what)
	}
}

// texts are signed texts, and whether they are checkpoints.
func texts(s *signer) map[string]bool {
	zero := base64.StdEncoding.EncodeToString(make([]byte, 32))
	chain := strings.Repeat("A", 43)
	good := s.origin + "\n12\n" + zero + "\nchain " + chain + "\n"
	out := map[string]bool{good: true}
	for _, size := range []string{"0", "9223372036854775807"} {
		out[strings.Replace(good, "\n12\n", "\n"+size+"\n", 1)] = true
	}
	for _, size := range []string{"", "012", "+12", "-1", " 12", "0x12", "1_2", "9223372036854775808", "99999999999999999999"} {
		out[strings.Replace(good, "\n12\n", "\n"+size+"\n", 1)] = false
	}
	for _, bad := range []string{
		"x" + good, good + "more\n", good + "\nmore\n", strings.Replace(good, zero, zero[:40], 1), strings.Replace(good, "A=", "A", 1), strings.Replace(good, "AA=", "AB=", 1),
		strings.Replace(good, "chain ", "chain  ", 1), strings.Replace(good, "chain ", "", 1), strings.Replace(good, "chain ", "Chain ", 1),
		strings.TrimSuffix(good, "A\n") + "\n", strings.TrimSuffix(good, "A\n") + "B\n", strings.TrimSuffix(good, "\n") + "=\n", strings.TrimSuffix(good, "\n") + "\"\n",
		s.origin + "\n", "\n", strings.ReplaceAll(good, "\n", "\n\n"),
	} {
		out[bad] = false
	}
	return out
}

// TestCheckpointText: what the log signs is a checkpoint in one form only, even
// where the signature is good.
func TestCheckpointText(t *testing.T) {
	s, known := testSigner(t, 1)
	for text, good := range texts(s) {
		msg, err := note.Sign(&note.Note{Text: text}, s.sign)
		require.NoError(t, err)
		_, err = note.Open(msg, known)
		require.NoError(t, err, "%q", text)
		c, err := s.openExact(msg)
		_, err2 := s.open(msg)
		if good {
			require.NoError(t, err, "%q", text)
			require.NoError(t, err2)
			again, err := s.note(c)
			require.NoError(t, err)
			require.Equal(t, string(msg), string(again))
			continue
		}
		require.Error(t, err, "%q", text)
		require.Error(t, err2, "%q", text)
	}
}

// TestCheckpointSignatures: in the log a note has the log's signature and no
// other; one kept elsewhere may have more. Everybody who has the public key can
// read both.
func TestCheckpointSignatures(t *testing.T) {
	s, known := testSigner(t, 1)
	other, _ := testSigner(t, 2)
	is := checkpoint{Size: 12, Root: tlog.Hash{1}, Chain: tlog.Hash{2}}
	msg, err := s.note(is)
	require.NoError(t, err)
	got, err := s.openExact(msg)
	require.NoError(t, err)
	require.Equal(t, is, got)
	n, err := note.Open(msg, known)
	require.NoError(t, err)

	witnessed, err := note.Sign(n, other.sign)
	require.NoError(t, err)
	got, err = s.open(witnessed)
	require.NoError(t, err)
	require.Equal(t, is, got)
	_, err = s.openExact(witnessed)
	require.ErrorContains(t, err, "not in the form")

	foreign, err := other.note(is)
	require.NoError(t, err)
	for what, bad := range map[string]string{
		"another's": string(foreign), "nothing": "", "no signature": n.Text + "\n", "twice": string(msg) + strings.Split(string(msg), "\n\n")[1],
		"another size": strings.Replace(string(msg), "\n12\n", "\n13\n", 1),
	} {
		_, err := s.openExact([]byte(bad))
		require.Error(t, err, what)
	}
}

// TestCheckpointLine: a checkpoint's line has one form, which JSON reads.
func TestCheckpointLine(t *testing.T) {
	s, _ := testSigner(t, 1)
	msg, err := s.note(checkpoint{})
	require.NoError(t, err)
	line := strings.TrimSuffix(string(appendCheckpoint(nil, msg)), "\n")
	back, err := decodeCheckpoint([]byte(line))
	require.NoError(t, err)
	require.Equal(t, msg, back)
	for _, d := range []deviation{
		{"a space", `":"`, `": "`}, {"an escape", `chain `, `\u0063hain `}, {"a backslash", `chain `, `\\nchain `},
		{"another key", `{"checkpoint"`, `{"Checkpoint"`}, {"a field more", `\n"}`, `\n","x":"y"}`}, {"no end", `\n"}`, `\n"`},
		{"a bare newline", `\nchain`, "\nchain"}, {"a tab", `chain `, "chain\t"}, {"a backslash at the end", `\n"}`, `\n\"}`}, {"a NUL", `chain `, "\x00chain"},
	} {
		require.Equal(t, 1, strings.Count(line, d.old), d.name)
		_, err := decodeCheckpoint([]byte(strings.Replace(line, d.old, d.new, 1)))
		require.Error(t, err, d.name)
	}
}

// TestCheckpointsConsistent: each of a log's checkpoints has the tree of its
// records, and between any two there is a proof that the later one only adds.
func TestCheckpointsConsistent(t *testing.T) {
	d, clk := durable.NewMem(), clock.NewFake(noon)
	require.NoError(t, Create(d, "audit", clk))
	text, err := durable.ReadFile(d, "audit/key")
	require.NoError(t, err)
	s, err := newSigner(string(text))
	require.NoError(t, err)
	var notes []checkpoint
	l, err := Open(d, "audit", clk, Options{SegmentBytes: 32 << 10, OnCheckpoint: func(msg []byte) {
		c, err := s.openExact(msg)
		require.NoError(t, err)
		notes = append(notes, c)
	}})
	require.NoError(t, err)
	for i := range 600 {
		r := usual()
		if i%101 == 0 {
			r = Record{Event: EventKill}
		}
		require.NoError(t, l.Append(&r))
		if i%37 == 0 {
			require.NoError(t, l.Checkpoint())
		}
	}
	require.NoError(t, l.Close())

	var stored hashes
	require.NoError(t, Scan(d, "audit", 0, noon, func(r *Record, line []byte) error {
		stored.add(t, int64(r.Seq)-1, line)
		return nil
	}))
	require.Greater(t, len(notes), 20)
	for i, c := range notes {
		root, err := tlog.TreeHash(int64(c.Size), stored)
		require.NoError(t, err)
		require.Equal(t, root, c.Root, "%d records", c.Size)
		for _, before := range notes[:i] {
			require.LessOrEqual(t, before.Size, c.Size)
			if before.Size == 0 {
				continue
			}
			proof, err := tlog.ProveTree(int64(c.Size), int64(before.Size), stored)
			require.NoError(t, err)
			require.NoError(t, tlog.CheckTree(proof, int64(c.Size), c.Root, int64(before.Size), before.Root))
		}
	}
}
