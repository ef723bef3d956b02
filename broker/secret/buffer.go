package secret

import "sync"

// BufferSize is the size of a [Buffer], in bytes: more than a key and its
// framing need, so that an answer is one write.
const BufferSize = 4 << 10

// poolSize is the memory for buffers, in bytes: for more answers at once than
// one agent can have stuck by not reading them.
const poolSize = 256 * BufferSize

// Buffer is locked memory for bytes on their way out. B has length 0 and
// capacity [BufferSize] when it is taken from the pool; whoever appends more
// than that appends to the Go heap.
type Buffer struct {
	B   []byte
	own []byte // what B was taken as
}

type buffers struct {
	idle chan *Buffer
	lock error
}

var pool = sync.OnceValues(func() (*buffers, error) {
	mem, lock, err := lockedMemory(poolSize)
	if err != nil {
		return nil, err
	}
	p := &buffers{idle: make(chan *Buffer, poolSize/BufferSize), lock: lock}
	for at := 0; at < poolSize; at += BufferSize {
		own := mem[at : at : at+BufferSize]
		p.idle <- &Buffer{own, own}
	}
	return p, nil
})

// GetBuffer takes a buffer, waiting when all are in use. The caller must
// Release it.
func GetBuffer() (*Buffer, error) {
	p, err := pool()
	if err != nil {
		return nil, err
	}
	return <-p.idle, nil
}

// Release clears the buffer and gives it back.
func (b *Buffer) Release() {
	p, _ := pool() // made before b was
	clear(b.own[:cap(b.own)])
	if all := b.B[:cap(b.B)]; len(all) > 0 && &all[0] != &b.own[:1][0] {
		clear(all) // grown out of the pool, or cut from its front
	}
	b.B = b.own
	p.idle <- b
}
