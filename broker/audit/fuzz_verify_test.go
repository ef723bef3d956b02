package audit_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
)

// fuzzedLog is a small log in several segments with each kind of line, and how it
// looked before it was closed: with a tail that nothing signs and no snapshot.
func fuzzedLog(t require.TestingT) (closed, open map[string][]byte) {
	w := newWorld(t, 3<<10)
	w.append(t, 9)
	require.NoError(t, w.log.Append(&audit.Record{Event: audit.EventKill}))
	w.append(t, 4)
	open = files(t, w.disk)
	delete(open, snap)
	w.close(t)
	return files(t, w.disk), open
}

// chainedLines are the headers and records of a log, in their order, but for the
// last bytes.
func chainedLines(all map[string][]byte, torn int) (out [][]byte) {
	v := &victim{files: all}
	for _, name := range v.segments() {
		b := all[name]
		if name == v.last() {
			b = b[:len(b)-torn]
		}
		for line := range bytes.Lines(b) {
			if !bytes.HasPrefix(line, []byte(`{"checkpoint"`)) {
				out = append(out, line)
			}
		}
	}
	return out
}

// FuzzAuditVerify replaces bytes of a file of a log by others. Verify never
// panics; it finds the log sound only when its lines are those that were written
// but for a torn tail, and what was closed has none; and what it finds sound can
// be opened.
func FuzzAuditVerify(f *testing.F) {
	closed, open := fuzzedLog(f)
	names := slices.Sorted(maps.Keys(closed))
	for i := range names {
		n := uint16(len(closed[names[i]]))
		f.Add(true, uint8(i), n, uint16(0), []byte(nil))
		f.Add(true, uint8(i), uint16(0), n, []byte(nil))
		f.Add(false, uint8(i), n-1, uint16(1), []byte(nil))
		f.Add(false, uint8(i), n/2, uint16(1), []byte{0})
		f.Add(true, uint8(i), n/2, uint16(100), []byte("x\n"))
		f.Add(false, uint8(i), n/2, uint16(512), make([]byte, 512))
		f.Add(false, uint8(i), n, uint16(0), []byte(`{"seq":15,"time":"`))
	}
	f.Fuzz(func(t *testing.T, whole bool, file uint8, at, gone uint16, with []byte) {
		was := open
		if whole {
			was = closed
		}
		all := maps.Clone(was)
		name := names[int(file)%len(names)]
		b, ok := all[name]
		if !ok || len(with) > 4<<10 {
			return
		}
		from := int(at) % (len(b) + 1)
		to := min(len(b), from+int(gone))
		all[name] = slices.Concat(b[:from], with, b[to:])
		d := diskOf(t, all)
		r, err := audit.Verify(d, dir)
		if err != nil || !r.OK {
			require.NotEqual(t, was, all, "untouched, it does not verify")
			require.True(t, err != nil || *r.Reason != "")
			return
		}
		if name == "key" {
			key := strings.NewReplacer("\n", "", "\r", "").Replace(string(all[name])) // base64 does not mind them
			require.True(t, strings.EqualFold(key, strings.TrimSuffix(string(was[name]), "\n")))
			return
		}
		is, before := chainedLines(all, int(r.TornBytes)), chainedLines(was, 0)
		require.LessOrEqual(t, len(is), len(before))
		require.Equal(t, before[:len(is)], is)
		if whole {
			require.Len(t, is, len(before), "records are gone")
			require.Equal(t, was[snap], all[snap])
		}
		require.NoError(t, opens(d))
	})
}
