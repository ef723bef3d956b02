package audit

import (
	"errors"
	"fmt"
	"io/fs"

	"secretctl/broker/durable"
)

// Report is what [Verify] found.
type Report struct {
	OK          bool    `json:"ok"`
	Records     uint64  `json:"records"`       // number of the last record that is intact
	FirstBadSeq *uint64 `json:"first_bad_seq"` // first record that cannot be trusted; nil when there is none
	Reason      *string `json:"reason"`        // why; nil when OK

	FirstSeq  uint64 `json:"first_seq"`  // the oldest record there is; those before were pruned
	SignedSeq uint64 `json:"signed_seq"` // the last record under a signed checkpoint
	Origin    string `json:"origin"`     // name of the log and of its key
	Head      string `json:"head"`       // chain of the last record, base64url
	TornBytes int64  `json:"torn_bytes"` // at the end, of a write that was not acknowledged

	Proven      []string `json:"proven"`       // in sentences, for people
	NotExcluded []string `json:"not_excluded"` // what this cannot show to be untrue
}

// Verify checks a whole log, from the oldest record there is, against its own
// chain and signatures, against the place that leases.snap says it had reached,
// and against checkpoints kept elsewhere, if any are given. It may run while the
// log is written. A log that fails is no error but a Report that says so; errors
// are the disk's, or of a kept checkpoint that is none of this log's.
func Verify(d durable.Disk, dir string, kept ...[]byte) (Report, error) {
	for try := 1; ; try++ {
		r, err := verify(d, dir, kept)
		// A segment can be pruned between the listing and the reading.
		if !errors.Is(err, fs.ErrNotExist) || try == 3 {
			return r, err
		}
	}
}

// verifier is one run of Verify.
type verifier struct {
	replay
	first   uint64                  // record
	signed  uint64                  // record
	pruned  uint64                  // the most that any record says was pruned
	witness map[uint64][]checkpoint // size → what somebody else says about it
	atLeast uint64                  // records that witnesses have seen
	kept    int
	old     int // kept checkpoints of a size before first: nothing to compare
}

func verify(d durable.Disk, dir string, kept [][]byte) (Report, error) {
	// Before the segments: what it says of them can then only be behind them.
	snap, snapErr := readSnapshot(d, dir)
	list, err := segments(d, dir)
	if damaged := new(DamagedError); errors.As(err, &damaged) {
		return failed(Report{}, damaged), nil
	} else if err != nil {
		return Report{}, err
	}
	if len(list) == 0 {
		return Report{}, ErrAbsent
	}
	sign, err := readSigner(d, dir)
	if err != nil {
		return Report{}, err
	}
	v := &verifier{replay: replay{x: newHasher(), sign: sign}, witness: make(map[uint64][]checkpoint)}
	if err := v.listen(snap, kept); err != nil {
		return Report{}, err
	}
	r, err := v.run(d, dir, list)
	if err == nil && r.OK && snapErr != nil {
		r = failed(r, &DamagedError{Reason: fmt.Sprintf("%s: %v", snapFile, snapErr)})
	}
	return r, err
}

// listen takes what others say about the log.
func (v *verifier) listen(snap *snapshot, kept [][]byte) error {
	if snap != nil {
		var t tree
		if snap.origin == v.sign.origin && t.restore(snap.seq, snap.tree) {
			v.add(checkpoint{Size: snap.seq, Root: t.root(), Chain: snap.head})
		}
	}
	for i, note := range kept {
		c, err := v.sign.open(note)
		if err != nil {
			return fmt.Errorf("reading the kept checkpoint %d: %w", i+1, err)
		}
		v.add(c)
		v.kept++
	}
	return nil
}

func (v *verifier) add(c checkpoint) {
	v.witness[c.Size] = append(v.witness[c.Size], c)
	v.atLeast = max(v.atLeast, c.Size)
}

// run reads the log.
func (v *verifier) run(d durable.Disk, dir string, list []uint64) (Report, error) {
	p, err := openPart(d, dir, list[0])
	if err != nil {
		return Report{}, err
	}
	h, err := p.header()
	p.Close()
	v.first = h.FirstSeq
	v.record, v.mark = v.onRecord, func(int64) { v.signed = v.c.seq }
	var end, size int64
	if err == nil {
		if err = v.compare(checkpointBefore(&h)); err == nil {
			end, size, err = v.segments(d, dir, list, 0)
		}
	}
	if err == nil {
		err = v.complete()
	}
	r := v.report(size - end)
	if damaged := new(DamagedError); errors.As(err, &damaged) {
		return failed(r, damaged), nil
	}
	return r, err
}

// checkpointBefore is what a header says about the records before it.
func checkpointBefore(h *header) checkpoint {
	c := cursor{}
	if c.adopt(h) != nil {
		return checkpoint{} // reading the header properly will say what is wrong
	}
	return c.checkpoint()
}

func (v *verifier) onRecord(r *Record, _ []byte) error {
	if r.Event == EventPrune {
		v.pruned = max(v.pruned, r.Count)
	}
	if _, ok := v.witness[r.Seq]; !ok {
		return nil
	}
	return v.compare(v.c.checkpoint())
}

// compare holds what the log is at some size against what witnesses say of it.
func (v *verifier) compare(is checkpoint) error {
	for _, said := range v.witness[is.Size] {
		if said != is {
			return &DamagedError{Seq: 1, Reason: fmt.Sprintf("its first %d records are not those that a checkpoint kept elsewhere, or %s, speaks of", is.Size, snapFile)}
		}
	}
	return nil
}

// complete looks for what is missing at either end.
func (v *verifier) complete() error {
	for size := range v.witness {
		if size+1 < v.first {
			v.old++
		}
	}
	switch {
	case v.first > 1 && v.pruned < v.first-1:
		return &DamagedError{Seq: 1, Reason: fmt.Sprintf("records 1 to %d are missing, and no record says that they were pruned", v.first-1)}
	case v.atLeast > v.c.seq:
		return &DamagedError{Seq: v.c.seq + 1, Reason: fmt.Sprintf("it ends with record %d, but there were %d: records were cut off", v.c.seq, v.atLeast)}
	}
	return nil
}

// report puts what was found into words.
func (v *verifier) report(torn int64) Report {
	r := Report{
		OK: true, Records: v.c.seq, FirstSeq: v.first, SignedSeq: v.signed,
		Origin: v.sign.origin, Head: b64.EncodeToString(v.c.head[:]), TornBytes: torn,
		Proven: []string{}, NotExcluded: []string{},
	}
	if v.c.seq >= v.first {
		r.Proven = append(r.Proven, fmt.Sprintf("records %d to %d follow from each other: none was changed, removed, added or moved between them", v.first, v.c.seq))
	}
	if v.signed > 0 {
		r.Proven = append(r.Proven, fmt.Sprintf("records up to %d are signed by this log's key", v.signed))
	}
	if n := v.kept - v.old; n > 0 {
		r.Proven = append(r.Proven, fmt.Sprintf("%d checkpoints kept elsewhere agree with it", n))
	}
	if v.c.seq > v.signed {
		r.NotExcluded = append(r.NotExcluded, fmt.Sprintf("records %d to %d are not signed yet: whoever can write the log could have replaced them", v.signed+1, v.c.seq))
	}
	if torn > 0 {
		r.NotExcluded = append(r.NotExcluded, fmt.Sprintf("the last %d bytes are a record that is being written, or the rest of one that was cut off", torn))
	}
	r.NotExcluded = append(r.NotExcluded, fmt.Sprintf("that there were records after %d which are gone", v.c.seq))
	if v.kept == 0 {
		r.NotExcluded = append(r.NotExcluded, "that whoever can read audit/key, or take the whole home back to an older copy, has written another log: only checkpoints kept elsewhere show that ([audit] anchor, and audit verify --checkpoint)")
	}
	return r
}

// failed turns a report into one of a log that is not what was written.
func failed(r Report, d *DamagedError) Report {
	reason := d.Error()
	r.OK, r.Reason = false, &reason
	if d.Seq > 0 {
		r.FirstBadSeq = &d.Seq
	}
	if r.Proven == nil {
		r.Proven, r.NotExcluded = []string{}, []string{}
	}
	return r
}
