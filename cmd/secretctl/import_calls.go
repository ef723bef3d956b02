package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"secretctl/cmd/secretctl/dotenv"
)

// Between import --user and the process that is the user go calls and answers: a
// length, JSON of that length, and a body whose length the JSON says. Values are in
// bodies alone.

// The calls.
const (
	opBecome  = "become"
	opOpen    = "open"
	opRewrite = "rewrite"
	opRemains = "remains"
)

type call struct {
	Op       string
	Path     string `json:",omitempty"`
	Taken    []int  `json:",omitempty"`
	UID, GID uint32 `json:",omitempty"`
}

type answer struct {
	Error, Hint string   `json:",omitempty"`
	Remains     []remain `json:",omitempty"`
}

// envelope is a call or an answer, and how long its body is.
type envelope struct {
	Message json.RawMessage
	Body    int
}

const (
	maxEnvelope = 1 << 20            // in bytes; a sanity check
	maxBody     = 2 * dotenv.MaxSize // in bytes: a file with references may be longer than without
)

// errEnded means that the other end has nothing more to say.
var errEnded = errors.New("the other end has closed")

func send(w io.Writer, message any, body []byte) error {
	inner, err := json.Marshal(message)
	if err != nil {
		return err
	}
	head, err := json.Marshal(envelope{inner, len(body)})
	if err != nil {
		return err
	}
	head = append(binary.BigEndian.AppendUint32(nil, uint32(len(head))), head...)
	_, err = w.Write(head)
	if err == nil && len(body) > 0 { // who has the head of an empty one may be gone
		_, err = w.Write(body)
	}
	return err
}

// receive reads a message into out and returns its body, which the caller clears.
func receive(r io.Reader, out any) (body []byte, err error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); errors.Is(err, io.EOF) {
		return nil, errEnded
	} else if err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxEnvelope {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	head := make([]byte, n)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	var e envelope
	if err := json.Unmarshal(head, &e); err != nil {
		return nil, err
	}
	if e.Body < 0 || e.Body > maxBody {
		return nil, fmt.Errorf("a body of %d bytes", e.Body)
	}
	if err := json.Unmarshal(e.Message, out); err != nil {
		return nil, err
	}
	body = make([]byte, e.Body)
	if _, err := io.ReadFull(r, body); err != nil {
		clear(body)
		return nil, err
	}
	return body, nil
}

// inherited returns what this process was started with as a descriptor, if that
// is a socket.
func inherited(fd int) (*os.File, error) {
	f := os.NewFile(uintptr(fd), "import")
	if f == nil {
		return nil, os.ErrInvalid
	}
	syscall.CloseOnExec(fd) // what this process starts is not to speak to our parent
	info, err := f.Stat()
	if err == nil && info.Mode().Type() != os.ModeSocket {
		err = os.ErrInvalid
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
