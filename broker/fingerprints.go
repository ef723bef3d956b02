package broker

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"secretctl/broker/audit"
	"secretctl/broker/ledger"
	"secretctl/broker/mask"
	"secretctl/broker/secret"
)

// Fingerprints calls fn with the fingerprints of each secret's values, all
// versions of it, so that an owner's redact and scan know them without having
// them. Values that are not worth masking have none. Like a lease it is recorded
// first, once, and refused while nothing is handed out. A secret that cannot be
// opened is an error: what is masked without it would look complete.
func (b *Broker) Fingerprints(ctx context.Context, c *Caller, salt mask.Salt, fn func(secret.Name, []mask.Fingerprint) error) error {
	if err := b.serving(); err != nil {
		b.refused(c, audit.EventFingerprint, "")
		return err
	}
	count, err := b.ledger.Count()
	if err != nil {
		return err
	}
	r := b.record(c, audit.EventFingerprint)
	r.Decision, r.Count = audit.Allow, uint64(count)
	if err := b.log.Append(r); err != nil {
		return b.notRecorded(err)
	}
	var names []secret.Name // first, since the ledger is not kept open for as long as a reader takes
	if err := b.ledger.Each("", func(e *ledger.Entry) bool { names = append(names, e.Name); return true }); err != nil {
		return err
	}
	var prints []mask.Fingerprint
	for _, name := range names {
		if prints, err = b.fingerprint(ctx, salt, prints[:0], name); err != nil {
			return err
		}
		if err := errors.Join(ctx.Err(), fn(name, prints)); err != nil {
			return err
		}
	}
	return nil
}

// fingerprint appends the fingerprints of one secret's values.
func (b *Broker) fingerprint(ctx context.Context, salt mask.Salt, dst []mask.Fingerprint, name secret.Name) ([]mask.Fingerprint, error) {
	e, err := b.ledger.Get(name)
	switch {
	case errors.Is(err, ledger.ErrNoEntry):
		return dst, nil // removed meanwhile
	case err != nil:
		return nil, err
	}
	for version := range e.Versions {
		if err := b.serving(); err != nil {
			return nil, err
		}
		value, err := b.values.openWithRoom(ctx, held{name, version})
		if errors.Is(err, errReplaced) {
			continue // nobody can have it any more
		}
		if err != nil {
			return nil, unavailable("opening", name, err)
		}
		err = value.Use(func(v []byte) (err error) {
			dst, err = salt.Fingerprints(dst, string(name), v)
			return err
		})
		value.Clear()
		if err != nil && !errors.Is(err, mask.ErrShort) && !errors.Is(err, mask.ErrPlain) {
			return nil, err
		}
	}
	return dst, nil
}

// printsLine is the fingerprints of one secret as they cross the socket.
type printsLine struct {
	Name  string `json:"name,omitempty"`
	Forms []byte `json:"forms,omitempty"` // printSize bytes each
	Error *Error `json:"error,omitempty"` // the last line: the rest could not be had
	Done  bool   `json:"done,omitempty"`  // the last line: that is all
}

// printSize is how long a fingerprint is without its name, in bytes.
const printSize = 4 + 1 + 4 + 4 + 16

func appendPrint(dst []byte, f *mask.Fingerprint) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(f.Len))
	dst = append(dst, f.Floor)
	dst = binary.BigEndian.AppendUint32(dst, f.Prefix)
	dst = binary.BigEndian.AppendUint32(dst, f.Head)
	return append(dst, f.Digest[:]...)
}

func readPrint(name string, b []byte) mask.Fingerprint {
	f := mask.Fingerprint{
		Name: name, Len: int(binary.BigEndian.Uint32(b)), Floor: b[4],
		Prefix: binary.BigEndian.Uint32(b[5:]), Head: binary.BigEndian.Uint32(b[9:]),
	}
	copy(f.Digest[:], b[13:])
	return f
}

func postFingerprints(r *request) error {
	var salt mask.Salt
	if b, err := hex.DecodeString(r.URL.Query().Get("salt")); err != nil || copy(salt[:], b) < len(salt) {
		return badRequest("the salt is not whole", "")
	}
	out := json.NewEncoder(r.w)
	began := false
	var forms []byte
	err := r.b.Fingerprints(r.Context(), r.c, salt, func(name secret.Name, prints []mask.Fingerprint) error {
		began = true
		forms = forms[:0]
		for i := range prints {
			forms = appendPrint(forms, &prints[i])
		}
		return out.Encode(printsLine{Name: string(name), Forms: forms})
	})
	switch {
	case err == nil:
		return out.Encode(printsLine{Done: true})
	case began:
		return out.Encode(printsLine{Error: asError(err)})
	}
	return err
}

// Fingerprints asks for the fingerprints of all values. See
// [Broker.Fingerprints].
func (c *Client) Fingerprints(ctx context.Context, salt mask.Salt) (out []mask.Fingerprint, err error) {
	answer, err := c.do(ctx, http.MethodPost, "/v1/fingerprints", url.Values{"salt": {hex.EncodeToString(salt[:])}}, nil, 0)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	for lines := json.NewDecoder(answer); ; {
		var line printsLine
		switch err := lines.Decode(&line); {
		case err != nil:
			return nil, fmt.Errorf("reading fingerprints: %w", err)
		case line.Error != nil:
			return nil, line.Error
		case line.Done:
			return out, nil
		case len(line.Forms)%printSize != 0:
			return nil, errors.New("reading fingerprints: the broker is of another version")
		}
		for at := 0; at < len(line.Forms); at += printSize {
			out = append(out, readPrint(line.Name, line.Forms[at:]))
		}
	}
}
