package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

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
// are the disk's, or of a key or a kept checkpoint that is none of this log's.
func Verify(d durable.Disk, dir string, kept ...[]byte) (Report, error) {
	for {
		from := oldest(d, dir)
		r, err := verify(d, dir, kept)
		// A segment can be pruned between the listing and the reading, and what was
		// found then says nothing.
		if err == nil && r.OK || oldest(d, dir) == from {
			return r, err
		}
	}
}

// oldest returns the number of the first segment, 0 when there is none.
func oldest(d durable.Disk, dir string) uint64 {
	if list, err := listed(d, dir); err == nil && len(list) > 0 {
		return list[0]
	}
	return 0
}

// listed returns the numbers of the segments that a listing shows, ascending.
// One that begins meanwhile may be left out, and the next be there.
func listed(d durable.Disk, dir string) (list []uint64, err error) {
	entries, err := d.ReadDir(dir)
	for _, e := range entries {
		if n, ok := parseSegment(e.Name()); ok {
			list = append(list, n)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return list, err
}

// verifier is one run of Verify.
type verifier struct {
	replay
	first    uint64               // record
	gap      *DamagedError        // a segment that is missing or has no header; nil: none
	tombs    uint64               // record that says those before first were pruned; 0: none
	snap     *snapshot            // nil: there is none, or it is not intact
	snapBad  error                // why
	reached  bool                 // the log has the place that snap speaks of
	witness  map[uint64][]witness // by size
	atLeast  uint64               // records that witnesses have seen
	compared uint64               // the largest size at which a witness agrees
	agree    int                  // kept checkpoints that do
	keptTo   uint64               // the largest of their sizes
	old      int                  // kept checkpoints of a size before first: nothing to compare
}

// witness is what somebody else says about the log.
type witness struct {
	checkpoint
	kept bool // elsewhere, not in leases.snap
}

func verify(d durable.Disk, dir string, kept [][]byte) (Report, error) {
	v := &verifier{replay: replay{x: newHasher()}, witness: make(map[uint64][]witness)}
	// Before the segments: what it says of them can then only be behind them.
	if err := v.readSnapshot(d, dir); err != nil {
		return Report{}, err
	}
	list, err := v.list(d, dir)
	if err != nil {
		return Report{}, err
	}
	if len(list) == 0 {
		return Report{}, ErrAbsent
	}
	if v.sign, err = readSigner(d, dir); err != nil {
		return Report{}, err
	}
	if err := v.listen(kept); err != nil {
		return Report{}, err
	}
	return v.run(d, dir, list)
}

// list returns the segments up to the first that is missing or has no header.
func (v *verifier) list(d durable.Disk, dir string) (list []uint64, err error) {
	found, err := listed(d, dir)
	if len(found) == 0 || err != nil {
		return nil, err
	}
	for n := found[0]; n <= found[len(found)-1]; n++ {
		if n > found[0] {
			p, _, err := openNext(d, dir, n)
			if errors.As(err, &v.gap) {
				break
			} else if err != nil {
				return nil, err
			}
			p.Close()
		}
		list = append(list, n)
	}
	return list, nil
}

func (v *verifier) readSnapshot(d durable.Disk, dir string) error {
	b, err := durable.ReadFile(d, path.Join(dir, snapFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	v.snap, v.snapBad = decodeSnapshot(b)
	return nil
}

// listen takes what others say about the log.
func (v *verifier) listen(kept [][]byte) error {
	var t tree
	switch s := v.snap; {
	case s == nil:
	case s.origin != v.sign.origin:
		v.snap, v.snapBad = nil, errors.New("it is of another log")
	case !t.restore(s.seq, s.tree):
		v.snap, v.snapBad = nil, errors.New("its tree does not fit")
	default:
		v.add(witness{checkpoint{Size: s.seq, Root: t.root(), Chain: s.head}, false})
	}
	for i, note := range kept {
		c, err := v.sign.open(note)
		if err != nil {
			return fmt.Errorf("reading the kept checkpoint %d: %w", i+1, err)
		}
		v.add(witness{c, true})
	}
	return nil
}

func (v *verifier) add(w witness) {
	v.witness[w.Size] = append(v.witness[w.Size], w)
	v.atLeast = max(v.atLeast, w.Size)
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
	v.record, v.mark = v.onRecord, v.onCheckpoint
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
		if damaged.Seq == 0 && v.first == 0 {
			damaged.Seq = 1 // no header says where the log begins
		}
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
	if r.Event == EventPrune && r.Count >= v.first-1 && v.tombs == 0 {
		v.tombs = r.Seq
	}
	if _, ok := v.witness[r.Seq]; !ok {
		return nil
	}
	return v.compare(v.c.checkpoint())
}

func (v *verifier) onCheckpoint(end int64) {
	s := v.snap
	if s == nil || s.segment != v.c.segment || s.seq != v.c.seq {
		return
	}
	if s.offset == end || s.offset == 0 && v.c.records == 0 {
		v.reached = true
	}
}

// compare holds what the log is at some size against what witnesses say of it.
func (v *verifier) compare(is checkpoint) error {
	for _, said := range v.witness[is.Size] {
		if said.checkpoint != is {
			return &DamagedError{Seq: v.compared + 1, Reason: fmt.Sprintf("its first %d records are not those that a checkpoint kept elsewhere, or %s, speaks of", is.Size, snapFile)}
		}
		if said.kept {
			v.agree, v.keptTo = v.agree+1, is.Size
		}
		v.compared = is.Size
	}
	return nil
}

// complete looks for what is missing at either end.
func (v *verifier) complete() error {
	for size, said := range v.witness {
		for _, w := range said {
			if w.kept && size+1 < v.first {
				v.old++
			}
		}
	}
	switch {
	case v.gap != nil:
		v.gap.Seq = v.c.seq + 1
		return v.gap
	case v.first > 1 && v.tombs == 0:
		return &DamagedError{Seq: 1, Reason: fmt.Sprintf("records 1 to %d are missing, and no record says that they were pruned", v.first-1)}
	case v.atLeast > v.c.seq:
		return &DamagedError{Seq: v.c.seq + 1, Reason: fmt.Sprintf("it ends with record %d, but there were %d: records were cut off", v.c.seq, v.atLeast)}
	case v.snapBad != nil:
		return &DamagedError{Reason: fmt.Sprintf("%s: %v", snapFile, v.snapBad)}
	case v.snap != nil && !v.reached:
		return &DamagedError{Seq: v.snap.seq + 1, Reason: fmt.Sprintf("the place in %s that %s speaks of, behind record %d, is not there", segmentName(v.snap.segment), snapFile, v.snap.seq)}
	}
	return nil
}

// report puts what was found into words.
func (v *verifier) report(torn int64) Report {
	return Report{
		OK: true, Records: v.c.seq, FirstSeq: v.first, SignedSeq: v.signed,
		Origin: v.sign.origin, Head: b64.EncodeToString(v.c.head[:]), TornBytes: torn,
		Proven: v.proven(), NotExcluded: v.notExcluded(torn),
	}
}

func (v *verifier) proven() []string {
	said := []string{}
	if v.first > 0 && v.signed >= v.first {
		said = append(said, fmt.Sprintf("records %d to %d follow from each other: none was changed, removed, added or moved between them", v.first, v.signed))
	}
	if v.signed > 0 {
		said = append(said, fmt.Sprintf("records up to %d are signed by this log's key", v.signed))
	}
	if v.agree > 0 {
		said = append(said, fmt.Sprintf("%d checkpoints kept elsewhere agree with it", v.agree))
	}
	return said
}

func (v *verifier) notExcluded(torn int64) []string {
	said := []string{}
	if v.c.seq > v.signed {
		said = append(said, fmt.Sprintf("records %d to %d are not signed yet: whoever can write the log could have replaced them", v.signed+1, v.c.seq))
	}
	if v.first > 1 && v.tombs > v.signed {
		said = append(said, fmt.Sprintf("records 1 to %d may not have been pruned but taken away: record %d, which speaks of pruning, is not signed yet", v.first-1, v.tombs))
	}
	if torn > 0 {
		said = append(said, fmt.Sprintf("the last %d bytes are a record that is being written, or the rest of one that was cut off", torn))
	}
	if v.old > 0 {
		said = append(said, fmt.Sprintf("%d checkpoints kept elsewhere speak of records that are gone: they cannot be compared", v.old))
	}
	said = append(said, fmt.Sprintf("that there were records after %d which are gone", v.c.seq))
	switch {
	case v.keptTo == 0:
		said = append(said, "that whoever can read or replace audit/key, or take the whole home back to an older copy, has written another log: only checkpoints kept elsewhere show that ([audit] anchor, and audit verify --checkpoint)")
	case v.keptTo < v.c.seq:
		said = append(said, fmt.Sprintf("that whoever can read or replace audit/key has written the records after %d: no checkpoint kept elsewhere speaks of them", v.keptTo))
	}
	return said
}

// failed turns a report into one of a log that is not what was written.
func failed(r Report, d *DamagedError) Report {
	reason := d.Error()
	r.OK, r.Reason = false, &reason
	if d.Seq > 0 {
		r.FirstBadSeq = &d.Seq
		if d.Seq >= r.FirstSeq {
			r.Records = min(r.Records, d.Seq-1)
		}
	}
	return r
}
