package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// hasher computes the two hashes of a line without allocating. It is not safe
// for concurrent use.
type hasher struct {
	h   hash.Hash
	pre [tlog.HashSize + 8]byte
	out tlog.Hash
}

func newHasher() *hasher { return &hasher{h: sha256.New()} }

// chain is the chain of a header or record: prev is that of the one before,
// body the line up to its chain field.
func (x *hasher) chain(prev tlog.Hash, body []byte) tlog.Hash {
	copy(x.pre[:], prev[:])
	binary.BigEndian.PutUint64(x.pre[tlog.HashSize:], uint64(len(body)))
	x.h.Reset()
	x.h.Write(x.pre[:])
	x.h.Write(body)
	x.h.Sum(x.out[:0])
	return x.out
}

var leafPrefix = []byte{0} // RFC 6962, section 2.1

// leaf is tlog.RecordHash of a record's line, without its allocation.
func (x *hasher) leaf(line []byte) tlog.Hash {
	x.h.Reset()
	x.h.Write(leafPrefix)
	x.h.Write(line)
	x.h.Sum(x.out[:0])
	return x.out
}

// tree is an RFC 6962 tree over the records so far, of which only the roots
// of the complete subtrees are kept, largest first. The zero value is empty.
type tree struct {
	n     uint64
	nodes [64]tlog.Hash // one for each bit set in n
}

func (t *tree) add(leaf tlog.Hash) {
	at := bits.OnesCount64(t.n)
	for n := t.n; n&1 == 1; n >>= 1 {
		at--
		leaf = tlog.NodeHash(t.nodes[at], leaf)
	}
	t.nodes[at] = leaf
	t.n++
}

func (t *tree) frontier() []tlog.Hash { return t.nodes[:bits.OnesCount64(t.n)] }

// restore is the inverse of frontier. It reports whether the number of nodes
// is right for n records.
func (t *tree) restore(n uint64, nodes []tlog.Hash) bool {
	*t = tree{n: n}
	return len(nodes) == bits.OnesCount64(n) && copy(t.nodes[:], nodes) == len(nodes)
}

func (t *tree) root() tlog.Hash {
	nodes := t.frontier()
	if len(nodes) == 0 {
		return tlog.Hash(sha256.Sum256(nil))
	}
	root := nodes[len(nodes)-1]
	for i := len(nodes) - 2; i >= 0; i-- {
		root = tlog.NodeHash(nodes[i], root)
	}
	return root
}
