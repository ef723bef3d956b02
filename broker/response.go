package broker

import (
	"net/http"
	"strconv"
	"time"
)

// response is an answer being written: small ones leave in one write with their
// length, long ones in chunks.
type response struct {
	c      *connection
	header http.Header
	code   int    // 0: not decided
	body   []byte // what has not been written of it
	bare   bool   // no body is to be written: the answer to a HEAD
	sent   bool   // the header has been written
	chunks bool   // the body goes in chunks
	last   bool   // the connection ends with this answer
	old    bool   // the caller speaks HTTP/1.0
	err    error  // the connection can no longer be used

	patience time.Duration // for one write; 0: as long as it takes
}

// maxWhole is the longest body that is kept to be written whole, in bytes.
const maxWhole = 8 << 10

// begin makes ready for the answer to req, which is nil when it could not be
// read.
func (w *response) begin(req *http.Request) {
	clear(w.header)
	*w = response{c: w.c, header: w.header, body: w.body[:0]}
	if req == nil {
		return
	}
	w.bare = req.Method == http.MethodHead
	w.old = !req.ProtoAtLeast(1, 1)
	w.last = req.Close || w.old
}

// Header returns the fields that will be written.
func (w *response) Header() http.Header { return w.header }

// WriteHeader settles the status; the first call counts.
func (w *response) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
}

// Write adds to the body.
func (w *response) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	if w.bare || w.empty() {
		return len(b), w.err
	}
	if len(w.body)+len(b) > maxWhole {
		w.flush()
		w.chunk(b)
	} else {
		w.body = append(w.body, b...)
	}
	return len(b), w.err
}

// empty reports whether the status allows no body.
func (w *response) empty() bool { return w.code == http.StatusNoContent }

// flush writes what there is of the body, of unknown length.
func (w *response) flush() {
	if !w.sent {
		w.chunks = !w.old
		w.write(w.head(nil, -1))
	}
	w.chunk(w.body)
	w.body = w.body[:0]
}

// chunk writes a piece of the body.
func (w *response) chunk(b []byte) {
	switch {
	case len(b) == 0: // would end the body
	case w.chunks:
		out := strconv.AppendInt(nil, int64(len(b)), 16)
		w.write(append(append(append(out, "\r\n"...), b...), "\r\n"...))
	default:
		w.write(b)
	}
}

func (w *response) write(b []byte) {
	w.sent = true
	switch {
	case w.err != nil:
	case w.patience > 0:
		w.err = w.c.writeWithin(b, w.patience)
	default:
		w.err = w.c.write(b)
	}
}

// end writes what is left.
func (w *response) end() error {
	switch {
	case !w.sent:
		if w.code == 0 {
			w.code = http.StatusOK
		}
		w.write(append(w.head(make([]byte, 0, 256+len(w.body)), len(w.body)), w.body...))
	case w.chunks:
		w.flush()
		w.write([]byte("0\r\n\r\n"))
	case len(w.body) > 0:
		w.flush()
	}
	return w.err
}

// head appends the status and the fields of an answer to dst. A length below 0
// is not known yet.
func (w *response) head(dst []byte, length int) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(w.code), 10)
	dst = append(append(append(dst, ' '), http.StatusText(w.code)...), "\r\nDate: "...)
	dst = time.Now().UTC().AppendFormat(dst, http.TimeFormat)
	dst = append(dst, "\r\n"...)
	switch {
	case w.chunks:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case length >= 0 && !w.empty():
		dst = append(strconv.AppendInt(append(dst, "Content-Length: "...), int64(length), 10), "\r\n"...)
	}
	if w.last {
		dst = append(dst, "Connection: close\r\n"...)
	}
	for name, values := range w.header {
		for _, v := range values {
			dst = append(append(append(append(dst, name...), ": "...), v...), "\r\n"...)
		}
	}
	return append(dst, "\r\n"...)
}
