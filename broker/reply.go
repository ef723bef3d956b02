package broker

import (
	"encoding/base64"
	"errors"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"secretctl/broker/audit"
	"secretctl/broker/secret"
)

// valueReply is the answer that holds a value. It is built in locked memory,
// chunk by chunk, and written from there: no other buffer and no string ever
// has a byte of the value.
type valueReply struct {
	b      *Broker
	w      *response
	issued *Issued

	length         int    // of the body
	prefix, suffix []byte // what is around the value in it
	text           bool   // the value is a JSON string as it is; else base64
	sent           int    // bytes of the value that are in chunks

	buf      *secret.Buffer
	finished bool
	gated    bool // holding the gate
}

// answer writes a lease with its value. What goes wrong once the header has been
// sent cuts the connection.
func (b *Broker) answer(w *response, code int, i *Issued) error {
	r, err := b.newReply(w, i)
	if err != nil {
		return err
	}
	defer r.done()
	w.code = code
	w.header.Set("Content-Type", "application/json")
	for err == nil {
		var chunk []byte
		if chunk, err = r.next(); err == nil {
			w.sent = true
			err = w.c.writeChunk(chunk)
		}
	}
	if err == io.EOF {
		return nil
	}
	b.undelivered(i, err)
	if !w.sent {
		w.code = 0
		return err
	}
	w.err = err
	return nil
}

// undelivered ends a lease whose value did not arrive whole, for that reason.
func (b *Broker) undelivered(i *Issued, why error) {
	if b.table.Drop(i.ID) == 0 || b.log == nil {
		return
	}
	r := b.record(nil, audit.EventUndelivered)
	i.Describe(r)
	if r.Reason = "not_taken"; errors.Is(why, ErrNoSuchLease) {
		r.Reason = "no_such_lease"
	}
	b.log.Defer(r)
}

// newReply measures the answer and writes what goes around the value.
func (b *Broker) newReply(w *response, i *Issued) (*valueReply, error) {
	r := &valueReply{b: b, w: w, issued: i}
	length := 0
	err := i.Value.Use(func(v []byte) error {
		if r.text = secret.Text(v); r.text {
			length = secret.JSONLen(v)
		} else {
			length = base64.StdEncoding.EncodedLen(len(v))
		}
		return nil
	})
	if err != nil {
		return nil, errNoSuchLease // cleared: revoked in this moment
	}
	p := append(w.body[:0], `{"secret":"`...) // names need no escaping
	p = append(p, i.Secret...)
	p = append(p, `","version":`...)
	p = strconv.AppendUint(p, i.Version, 10)
	p = append(p, `,"lease_id":"`...)
	p = append(p, i.ID.String()...)
	p = append(p, `","issued_at":"`...)
	p = i.Lease.Issued.AppendFormat(p, time.RFC3339Nano)
	p = append(p, `","expires_at":"`...)
	p = i.Expires.AppendFormat(p, time.RFC3339Nano)
	if r.text {
		p = append(p, `","value":"`...)
	} else {
		p = append(p, `","value_base64":"`...)
	}
	w.body = p[:0] // whose memory is used again
	r.prefix, r.suffix = p, []byte("\"}\n")
	r.length = len(r.prefix) + length + len(r.suffix)
	return r, nil
}

// next fills the buffer and returns with the gate held, so that nobody who takes
// power away acknowledges while the chunk is on its way. io.EOF ends.
func (r *valueReply) next() ([]byte, error) {
	r.ungate()
	if r.finished {
		return nil, io.EOF
	}
	if r.buf == nil {
		var err error
		if r.buf, err = secret.GetBuffer(); err != nil {
			return nil, err
		}
		r.buf.B = append(r.w.head(r.buf.B, r.length), r.prefix...)
	} else {
		r.buf.B = r.buf.B[:0]
	}
	r.b.gate.RLock()
	r.gated = true
	if err := r.b.mayDeliver(&r.issued.Lease); err != nil {
		return nil, err
	}
	return r.buf.B, r.fill()
}

// fill appends as much of the value as the buffer has room for.
func (r *valueReply) fill() error {
	err := r.issued.Value.Use(func(v []byte) error {
		room := cap(r.buf.B) - len(r.buf.B) - len(r.suffix)
		rest := v[r.sent:]
		if r.text {
			rest = rest[:fits(rest, room)]
			r.buf.B = secret.AppendJSON(r.buf.B, rest)
		} else {
			rest = rest[:min(len(rest), room/4*3)]
			r.buf.B = base64.StdEncoding.AppendEncode(r.buf.B, rest)
		}
		if r.sent += len(rest); r.sent == len(v) {
			r.buf.B = append(r.buf.B, r.suffix...)
			r.finished = true
		}
		return nil
	})
	if errors.Is(err, secret.ErrCleared) {
		return errNoSuchLease // its version went meanwhile
	}
	return err
}

// fits returns how much of b can be escaped into room, at worst two bytes each,
// without splitting a character.
func fits(b []byte, room int) int {
	if len(b) <= room/2 {
		return len(b)
	}
	n := room / 2
	for n > 0 && !utf8.RuneStart(b[n]) {
		n--
	}
	return n
}

func (r *valueReply) ungate() {
	if r.gated {
		r.gated = false
		r.b.gate.RUnlock()
	}
}

// done clears the buffer.
func (r *valueReply) done() {
	r.ungate()
	if r.buf != nil {
		r.buf.Release()
		r.buf = nil
	}
}
