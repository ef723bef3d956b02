package audit

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
)

// FuzzRecord: what is read as a record, or as a header, is sound, is JSON, and
// is written again in the same bytes.
func FuzzRecord(f *testing.F) {
	f.Add(usualLine)
	f.Add(usualHeader)
	for _, d := range recordDeviations {
		f.Add(strings.Replace(usualLine, d.old, d.new, 1))
	}
	for _, d := range headerDeviations {
		f.Add(strings.Replace(usualHeader, d.old, d.new, 1))
	}
	for _, l := range limits {
		for _, r := range append(l.good, l.bad...) {
			r.Seq, r.Time = 1, noon
			f.Add(lineOf(&r, tlog.Hash{1}))
		}
	}
	most := longest()
	f.Add(lineOf(&most, tlog.Hash{2}))
	f.Fuzz(func(t *testing.T, line string) {
		var r Record
		if chain, body, err := decodeRecord(line, &r); err == nil {
			require.Empty(t, r.flaw())
			again := appendChain(appendBody(appendStart(nil, r.Seq, r.Time), &r), chain)
			require.Equal(t, line+"\n", string(again))
			require.Equal(t, chainKey, line[body:body+len(chainKey)])
			sameInJSON(t, line, &r)
		}
		if h, chain, body, err := decodeHeader(line); err == nil {
			require.Equal(t, line+"\n", string(appendChain(appendHeader(nil, &h), chain)))
			require.Equal(t, chainKey, line[body:body+len(chainKey)])
			require.True(t, json.Valid([]byte(line)))
		}
	})
}

// sameInJSON says that another reader of the line sees what this one has.
func sameInJSON(t require.TestingT, line string, r *Record) {
	var got struct {
		Seq     uint64
		Event   Event
		Reason  string
		Stated  string `json:"stated_reason"`
		UID     *uint32
		Secret  string
		Lease   string `json:"lease_id"`
		Version uint64
		Exe     string
		Count   uint64
	}
	require.NoError(t, json.Unmarshal([]byte(line), &got))
	require.Equal(t, r.Seq, got.Seq)
	require.Equal(t, r.Event, got.Event)
	require.Equal(t, []string{r.Reason, r.Stated, string(r.Secret), r.Lease, r.Exe}, []string{got.Reason, got.Stated, got.Secret, got.Lease, got.Exe})
	require.Equal(t, []uint64{r.Version, r.Count}, []uint64{got.Version, got.Count})
	require.Equal(t, r.Peer, got.UID != nil)
	if r.Peer {
		require.Equal(t, r.UID, *got.UID)
	}
}
