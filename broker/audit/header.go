package audit

import (
	"math"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// header is the first line of a segment.
type header struct {
	Segment  uint64
	Origin   string // of the log; also the name of its key
	FirstSeq uint64
	Head     tlog.Hash   // chain of the record before FirstSeq
	Tree     []tlog.Hash // of the records before FirstSeq
	Cut      int64       // 0, or where the segment before ends, whatever lies behind
	Time     time.Time
}

func appendHeader(b []byte, h *header) []byte {
	b = append(b, `{"segment":`...)
	b = strconv.AppendUint(b, h.Segment, 10)
	b = append(b, `,"origin":"`...)
	b = append(b, h.Origin...)
	b = append(b, `","first_seq":`...)
	b = strconv.AppendUint(b, h.FirstSeq, 10)
	b = append(b, `,"head":"`...)
	b = b64.AppendEncode(b, h.Head[:])
	b = append(b, '"')
	b = appendTree(b, h.Tree)
	b = appendCount(b, `,"cut":`, uint64(h.Cut))
	b = append(b, `,"time":"`...)
	b = appendTime(b, h.Time)
	return append(b, '"')
}

func appendTree(b []byte, nodes []tlog.Hash) []byte {
	b = append(b, `,"tree":[`...)
	for i := range nodes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = b64.AppendEncode(b, nodes[i][:])
		b = append(b, '"')
	}
	return append(b, ']')
}

// tree reads what appendTree writes.
func (d *decoder) tree() (nodes []tlog.Hash) {
	d.must(`,"tree":[`)
	for !d.bad && !d.at("]") {
		if len(nodes) > 0 {
			d.must(",")
		}
		d.must(`"`)
		nodes = append(nodes, d.hash())
	}
	return nodes
}

// decodeHeader reads a header's line, given without its newline.
func decodeHeader(line string) (h header, chain tlog.Hash, body int, err error) {
	d := decoder{s: line}
	d.must(`{"segment":`)
	h.Segment = d.number(maxSegment)
	d.must(`,"origin":"`)
	h.Origin = d.text()
	d.must(`,"first_seq":`)
	h.FirstSeq = d.number(math.MaxUint64)
	d.must(`,"head":"`)
	h.Head = d.hash()
	h.Tree = d.tree()
	h.Cut = int64(d.optNumber(`,"cut":`, math.MaxInt64))
	d.must(`,"time":"`)
	h.Time = d.moment()
	d.must(`"`)
	chain, body = d.chain()
	if d.bad || len(line) >= maxLine || h.Segment == 0 || h.FirstSeq == 0 {
		return header{}, tlog.Hash{}, 0, d.err("header")
	}
	return h, chain, body, nil
}
