package audit

import (
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// FuzzCheckpoint: what is read as a checkpoint of the log is a note that
// golang.org/x/mod/sumdb/note opens with the public key alone, and of the texts
// that the key could sign exactly those are read that another reading of the
// format finds to be one.
func FuzzCheckpoint(f *testing.F) {
	s, known := testSigner(f, 1)
	for text := range texts(s) {
		msg, err := note.Sign(&note.Note{Text: text}, s.sign)
		require.NoError(f, err)
		f.Add(text, msg)
	}
	good, err := s.note(checkpoint{Size: 300, Root: tlog.Hash{1}, Chain: tlog.Hash{2}})
	require.NoError(f, err)
	f.Add("", append(good, good...))
	f.Add("", []byte(strings.Replace(string(good), "— ", "- ", 1)))
	f.Fuzz(func(t *testing.T, text string, raw []byte) {
		opened(t, s, known, raw)
		msg, err := note.Sign(&note.Note{Text: text}, s.sign)
		if err != nil {
			return
		}
		c, ok := opened(t, s, known, msg)
		want, isOne := anotherReading(s.origin, text)
		require.Equal(t, isOne, ok, "%q", text)
		require.Equal(t, want, c)
	})
}

// opened opens a note, and compares what the ways to do so say of it.
func opened(t require.TestingT, s *signer, known note.Verifiers, msg []byte) (checkpoint, bool) {
	c, err := s.openExact(msg)
	if err != nil {
		return checkpoint{}, false
	}
	n, err := note.Open(msg, known)
	require.NoError(t, err)
	require.Empty(t, n.UnverifiedSigs)
	among, err := s.open(msg)
	require.NoError(t, err)
	require.Equal(t, c, among)
	line := appendCheckpoint(nil, msg)
	back, err := decodeCheckpoint(line[:len(line)-1])
	require.NoError(t, err)
	require.Equal(t, msg, back)
	return c, true
}

var checkpointForm = regexp.MustCompile(`^([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\nchain ([A-Za-z0-9_-]{43})\n$`)

// anotherReading reads a checkpoint's text from the form that is documented.
func anotherReading(origin, text string) (c checkpoint, ok bool) {
	m := checkpointForm.FindStringSubmatch(text)
	if m == nil || m[1] != origin {
		return c, false
	}
	size, err := strconv.ParseInt(m[2], 10, 64)
	root, err2 := base64.StdEncoding.Strict().DecodeString(m[3])
	chain, err3 := base64.RawURLEncoding.Strict().DecodeString(m[4])
	if err != nil || err2 != nil || err3 != nil {
		return c, false
	}
	return checkpoint{uint64(size), tlog.Hash(root), tlog.Hash(chain)}, true
}
