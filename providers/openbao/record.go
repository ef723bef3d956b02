package openbao

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// shared is a store that other hosts keep the same secrets in. A secret's record
// is the entry `<name>/@record` with the field record, and its revision the
// engine's own: what is written with a check-and-set is counted by the server.
type shared struct{ *Store }

var _ providers.Shared = shared{}

func (s shared) atRecord(kind string, name secret.Name) []string {
	return s.at(kind, append(strings.Split(string(name), "/"), "@record")...)
}

// Record returns a secret's record. How old it is the server says, by when it
// took it and what its clock shows as it answers: those of the hosts may differ.
func (s shared) Record(ctx context.Context, name secret.Name) (providers.Record, error) {
	var out struct {
		Data struct {
			Data struct {
				Record json.RawMessage `json:"record"`
			} `json:"data"`
			Metadata struct {
				Version uint64    `json:"version"`
				Created time.Time `json:"created_time"`
			} `json:"metadata"`
		} `json:"data"`
	}
	var now time.Time
	_, err := s.sessions.do(ctx, request{method: http.MethodGet, path: s.atRecord("data", name), into: &out, date: &now})
	if err != nil {
		return providers.Record{}, s.notRecorded(err, name)
	}
	r := providers.Record{Text: out.Data.Data.Record, Revision: out.Data.Metadata.Version}
	if r.Revision == 0 || len(r.Text) == 0 || r.Text[0] != '{' {
		e := s.client.trouble("the record of %q is not one that secretctl writes", name)
		e.Remedy = s.client.bao("read", strings.Join(s.atRecord("data", name), "/"))
		return providers.Record{}, e
	}
	if made := out.Data.Metadata.Created; !now.IsZero() && !made.IsZero() {
		r.Age = max(now.Sub(made), 0)
	}
	return r, nil
}

// Change writes a secret's record.
func (s shared) Change(ctx context.Context, name secret.Name, revision uint64, text []byte) (uint64, error) {
	body, err := secret.New(fmt.Appendf(nil, `{"options":{"cas":%d},"data":{"record":%s}}`, revision, text))
	if err != nil {
		return 0, providers.Unavailable(err)
	}
	defer body.Clear()
	var out struct {
		Data struct {
			Version uint64 `json:"version"`
		} `json:"data"`
	}
	status, err := s.sessions.do(ctx, request{method: http.MethodPut, path: s.atRecord("data", name), body: body, into: &out})
	switch {
	case status == http.StatusBadRequest:
		// What the server says of it is not asked: what is there is.
		now, err := s.Record(ctx, name)
		switch {
		case errors.Is(err, providers.ErrAbsent) && revision != 0, err == nil && now.Revision != revision:
			err = providers.ErrChanged
		case err == nil, errors.Is(err, providers.ErrAbsent):
			err = s.client.trouble("%s does not accept the record of %q", s.client.name(), name)
		}
		return 0, err
	case err != nil:
		return 0, s.notRecorded(err, name)
	case out.Data.Version != revision+1:
		return 0, s.client.trouble("%s wrote the record of %q without looking whether it had changed", s.client.name(), name)
	}
	return out.Data.Version, nil
}

// notRecorded is an error of a request for a record. One that somebody deleted is
// not one that never was: what it said is in force.
func (s shared) notRecorded(err error, name secret.Name) error {
	var deleted *gone
	switch {
	case !errors.As(err, &deleted):
		return s.explained(err, name, 0)
	case deleted.destroyed:
		e := s.client.trouble("the record of %q, which all hosts go by, was destroyed by somebody", name)
		e.Remedy = "if nothing else has changed there: " + s.client.bao("delete", strings.Join(s.atRecord("metadata", name), "/"))
		return e
	}
	e := s.client.trouble("the record of %q, which all hosts go by, was deleted by somebody, and can be brought back", name)
	e.Remedy = s.client.bao("write", strings.Join(s.atRecord("undelete", name), "/"), fmt.Sprintf("versions=%d", deleted.version))
	return e
}
