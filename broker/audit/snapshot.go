package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"secretctl/broker/durable"
)

// snapshot is the folded state at one place in the log. In leases.snap it is
// one header line and then the state:
//
//	{"format":1,"origin":"secretctl/…","segment":3,"offset":0,"seq":18000,"head":"…","tree":["…"],"time":"…","boot_id":"…","sha256":"<hex>"}
//
// sha256 covers the line before it and the state.
type snapshot struct {
	origin  string
	segment uint64
	offset  int64 // in it, behind a checkpoint; 0: before its header
	seq     uint64
	head    tlog.Hash
	tree    []tlog.Hash
	time    time.Time // of the last record
	bootID  string
	state   []byte
}

const snapSum = `,"sha256":"`

func (s *snapshot) encode() []byte {
	b := append([]byte(nil), `{"format":1`...)
	b = appendText(b, `,"origin":"`, s.origin)
	b = appendCount(b, `,"segment":`, s.segment)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, s.offset, 10)
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, s.seq, 10)
	b = append(b, `,"head":"`...)
	b = b64.AppendEncode(b, s.head[:])
	b = append(b, '"')
	b = appendTree(b, s.tree)
	b = append(b, `,"time":"`...)
	b = appendTime(b, s.time)
	b = append(b, '"')
	b = appendText(b, `,"boot_id":"`, Sanitise(s.bootID, maxToken))
	sum := snapshotSum(b, s.state)
	b = append(b, snapSum...)
	b = hex.AppendEncode(b, sum[:])
	b = append(b, "\"}\n"...)
	return append(b, s.state...)
}

func snapshotSum(head, state []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write(head)
	h.Write(state)
	h.Sum(sum[:0])
	return sum
}

func decodeSnapshot(b []byte) (*snapshot, error) {
	line, state, ok := bytes.Cut(b, []byte{'\n'})
	d := decoder{s: string(line)}
	s := &snapshot{state: state}
	d.must(`{"format":1,"origin":"`)
	s.origin = d.text()
	s.segment = d.optNumber(`,"segment":`, maxSegment)
	d.must(`,"offset":`)
	s.offset = int64(d.number(math.MaxInt64))
	d.must(`,"seq":`)
	s.seq = d.number(math.MaxInt64)
	d.must(`,"head":"`)
	s.head = d.hash()
	s.tree = d.tree()
	d.must(`,"time":"`)
	s.time = d.moment()
	d.must(`"`)
	s.bootID = d.opt(`,"boot_id":"`)
	sum := snapshotSum(line[:min(d.i, len(line))], state)
	d.must(snapSum + hex.EncodeToString(sum[:]) + `"}`)
	if !ok || d.bad || d.i != len(d.s) || s.segment == 0 {
		return nil, errors.New("it is not intact")
	}
	return s, nil
}

// readSnapshot returns nil when there is none.
func readSnapshot(d durable.Disk, dir string) (*snapshot, error) {
	b, err := durable.ReadFile(d, path.Join(dir, snapFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return decodeSnapshot(b)
}

// resume returns the place of s in its segment, once it is certain that the
// log says there what s says. sign is the log's.
func (s *snapshot) resume(p *part, x *hasher, sign *signer) (c cursor, from int64, err error) {
	line, end, err := p.lines(0, p.size).next()
	if err != nil {
		return c, 0, fmt.Errorf("reading its segment's header: %w", err)
	}
	h, _, _, err := decodeHeader(string(line))
	if err != nil {
		return c, 0, errors.New("its segment has no header")
	}
	if err := c.readHeader(x, line, s.segment); err != nil {
		return c, 0, err
	}
	if h.Origin != s.origin || sign.origin != s.origin {
		return c, 0, errors.New("it is of another log")
	}
	if s.offset > 0 {
		if s.offset > p.size || s.offset < end || s.seq+1 < h.FirstSeq {
			return c, 0, errors.New("the log ends before its place: it was cut")
		}
		if !c.tree.restore(s.seq, s.tree) {
			return c, 0, errors.New("its tree does not fit")
		}
		c.seq, c.head, c.running, c.last = s.seq, s.head, s.head, s.time
		c.records = s.seq + 1 - h.FirstSeq
		return c, s.offset, s.sealed(p, sign, &c)
	}
	if c.seq != s.seq || c.head != s.head {
		return c, 0, errors.New("the log has other records before its place")
	}
	return c, end, nil
}

// sealed checks that the line before s.offset is a checkpoint of c.
func (s *snapshot) sealed(p *part, sign *signer, c *cursor) error {
	tail := make([]byte, min(s.offset, maxLine+1))
	if n, err := p.file.ReadAt(tail, s.offset-int64(len(tail))); n < len(tail) {
		return err
	}
	tail, ok := bytes.CutSuffix(tail, []byte{'\n'})
	line := tail[bytes.LastIndexByte(tail, '\n')+1:]
	if !ok || c.readCheckpoint(sign, line) != nil {
		return errors.New("the log has other records before its place")
	}
	return nil
}
