package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// maxRequest is the largest body of a request on the agent's socket, in bytes.
const maxRequest = 64 << 10

// readBody reads a request's body into memory that is as large as it.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	body := http.MaxBytesReader(w, r.Body, limit)
	var buf []byte
	if r.ContentLength > 0 && r.ContentLength <= limit {
		buf = make([]byte, 0, r.ContentLength+1)
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		var large *http.MaxBytesError
		switch {
		case err == io.EOF:
			return buf, nil
		case errors.As(err, &large):
			return nil, &Error{CodeTooLarge, fmt.Sprintf("the request is larger than %d bytes", limit), ""}
		case err != nil:
			return nil, badRequest("the request could not be read to its end", "")
		}
	}
}

// parseLease reads the JSON of a lease request, strictly: keys are matched with
// their case, each may come once, and an unknown one is an error. encoding/json
// is lenient in all three, and a request that two readers understand
// differently is how authority leaks.
func parseLease(body []byte) (req LeaseRequest, err error) {
	p := objectParser{b: body}
	err = p.object(func(key string) (err error) {
		switch key {
		case "secret":
			req.Secret, err = p.str()
		case "door":
			req.Door, err = p.str()
		case "ttl_seconds":
			req.TTLSeconds, err = p.integer()
		case "pinned":
			req.Pinned, err = p.boolean()
		case "bound":
			req.Bound, err = p.boolean()
		case "reuse":
			req.Reuse, err = p.boolean()
		case "group":
			req.Group, err = p.str()
		case "reason":
			req.Reason, err = p.str()
		case "scope":
			req.Scope, err = p.strs()
		case "version":
			var n int64
			n, err = p.integer()
			req.Version = uint64(max(n, 0))
		default:
			err = fmt.Errorf("unknown key %.40q", key)
		}
		return err
	})
	if err != nil {
		return LeaseRequest{}, badRequest("the request is not what it must be: "+err.Error(),
			`{"secret":"openai/api-key","ttl_seconds":600}`)
	}
	if req.Secret == "" {
		return LeaseRequest{}, badRequest(`the request has no "secret"`, `{"secret":"openai/api-key"}`)
	}
	return req, nil
}

// json writes what parseLease reads, as encoding/json would. That takes longer to
// learn a type, once in each process, than the broker takes to answer.
func (req *LeaseRequest) json() []byte {
	text := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			panic("broker: strings always marshal: " + err.Error())
		}
		return b
	}
	b := fmt.Appendf(nil, `{"secret":%s`, text(req.Secret))
	add := func(is bool, format string, value any) {
		if is {
			b = fmt.Appendf(b, format, value)
		}
	}
	add(req.Door != "", `,"door":%s`, text(req.Door))
	add(req.TTLSeconds != 0, `,"ttl_seconds":%d`, req.TTLSeconds)
	add(req.Pinned, `,"pinned":%t`, true)
	add(req.Bound, `,"bound":%t`, true)
	add(req.Reuse, `,"reuse":%t`, true)
	add(req.Group != "", `,"group":%s`, text(req.Group))
	add(req.Reason != "", `,"reason":%s`, text(req.Reason))
	if len(req.Scope) > 0 {
		b = fmt.Appendf(b, `,"scope":%s`, text(req.Scope))
	}
	add(req.Version != 0, `,"version":%d`, req.Version)
	return append(b, '}')
}

// objectParser reads one flat JSON object. It is a part of JSON, exactly: what
// it accepts, encoding/json understands the same way.
type objectParser struct {
	b  []byte
	at int
}

func (p *objectParser) space() {
	for p.at < len(p.b) {
		switch p.b[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// take skips space and consumes c if it is next.
func (p *objectParser) take(c byte) bool {
	p.space()
	if p.at < len(p.b) && p.b[p.at] == c {
		p.at++
		return true
	}
	return false
}

// object reads a whole body: one object and nothing after it.
func (p *objectParser) object(value func(key string) error) error {
	if !p.take('{') {
		return errors.New("it is not a JSON object")
	}
	var seen []string
	for first := true; ; first = false {
		if p.take('}') && (first || len(seen) > 0) {
			break
		}
		if !first && !p.take(',') {
			return errors.New("the JSON is malformed")
		}
		key, err := p.str()
		if err != nil {
			return err
		}
		for _, s := range seen {
			if s == key {
				return fmt.Errorf("key %.40q comes twice", key)
			}
		}
		seen = append(seen, key)
		if !p.take(':') {
			return errors.New("the JSON is malformed")
		}
		if err := value(key); err != nil {
			return err
		}
		if p.take('}') {
			break
		}
	}
	p.space()
	if p.at != len(p.b) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// str reads a string.
func (p *objectParser) str() (string, error) {
	if !p.take('"') {
		return "", errors.New("a string is expected")
	}
	start := p.at
	for ; p.at < len(p.b); p.at++ {
		switch c := p.b[p.at]; {
		case c == '"':
			s := p.b[start:p.at]
			p.at++
			if !utf8.Valid(s) {
				return "", errors.New("a string is not UTF-8")
			}
			return string(s), nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", errors.New("a string holds a control character")
		}
	}
	return "", errors.New("a string does not end")
}

// escaped reads a string that has escapes, which names never need.
func (p *objectParser) escaped(start int) (string, error) {
	for ; p.at < len(p.b); p.at++ {
		switch p.b[p.at] {
		case '\\':
			p.at++
		case '"':
			p.at++
			var s string
			if !utf8.Valid(p.b[start:p.at]) || json.Unmarshal(p.b[start-1:p.at], &s) != nil {
				return "", errors.New("a string is malformed")
			}
			return s, nil
		}
	}
	return "", errors.New("a string does not end")
}

func (p *objectParser) strs() (out []string, err error) {
	if !p.take('[') {
		return nil, errors.New("a list is expected")
	}
	for !p.take(']') {
		if len(out) > 0 && !p.take(',') {
			return nil, errors.New("the JSON is malformed")
		}
		s, err := p.str()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (p *objectParser) boolean() (bool, error) {
	p.space()
	for _, word := range []string{"true", "false"} {
		if len(p.b)-p.at >= len(word) && string(p.b[p.at:p.at+len(word)]) == word {
			p.at += len(word)
			return word == "true", nil
		}
	}
	return false, errors.New("true or false is expected")
}

// integer reads a whole number that is not negative.
func (p *objectParser) integer() (int64, error) {
	p.space()
	start := p.at
	for p.at < len(p.b) && p.b[p.at] >= '0' && p.b[p.at] <= '9' {
		p.at++
	}
	digits := string(p.b[start:p.at])
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		return 0, errors.New("a whole number is expected")
	}
	return n, nil
}
