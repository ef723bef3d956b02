package openbao

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Store keeps each version as an entry of its own, `<mount>/<prefix>/<name>/@<version>`
// with the fields salt (base64) and value or value_base64. The engine's own
// versions are not used: what they are numbered, and how many are kept, is not
// ours to say. A name's segments never begin with @, so a version is never
// mistaken for a secret; of what else begins with @ we say nothing.
type Store struct {
	client        *client
	sessions      *sessions
	mount, prefix []string
}

var (
	_ providers.Store = (*Store)(nil)
	_ io.Closer       = (*Store)(nil)
)

func newStore(c *client, mount, prefix string, how login) *Store {
	s := &Store{client: c, mount: strings.Split(mount, "/"), prefix: strings.Split(prefix, "/")}
	s.sessions = newSessions(c, how, s.checkMount)
	return s
}

// Close ends the session on our side, and the connections.
func (s *Store) Close() error {
	s.sessions.close()
	s.client.close()
	return nil
}

// saltLen is the length of a salt, in bytes.
const saltLen = 16

// longestText is how long a value may be that is kept as text: in an answer each
// character may take six bytes.
const longestText = 128 << 10

// fields are those of an entry.
type fields struct {
	Salt   []byte `json:"salt"`
	Text   text   `json:"value"`
	Base64 based  `json:"value_base64"`
}

// value returns the one there is. The other, if both are there, is cleared.
func (f *fields) value() (secret.Value, bool) {
	one, other := f.Text.Value, f.Base64.Value
	if one.IsZero() {
		one, other = other, one
	}
	if one.IsZero() || !other.IsZero() || len(f.Salt) != saltLen {
		one.Clear()
		other.Clear()
		return secret.Value{}, false
	}
	return one, true
}

// entry is an answer with the newest of the engine's versions of an entry.
type entry struct {
	Data struct {
		Data fields `json:"data"`
	} `json:"data"`
}

// sumOf is the sum of a version.
func sumOf(salt []byte, v secret.Value) (sum providers.Sum, err error) {
	err = v.Use(func(b []byte) error { sum = providers.SaltedSum(salt, b); return nil })
	return sum, err
}

// at is the path of a version, or of a folder, below data or metadata.
func (s *Store) at(kind string, below ...string) []string {
	return slices.Concat(s.mount, []string{kind}, s.prefix, below)
}

func (s *Store) atVersion(kind string, name secret.Name, version uint64) []string {
	return s.at(kind, append(strings.Split(string(name), "/"), "@"+strconv.FormatUint(version, 10))...)
}

// shown is the path of a version as a person types it.
func (s *Store) shown(kind string, name secret.Name, version uint64) string {
	return strings.Join(s.atVersion(kind, name, version), "/")
}

// Get opens a version.
func (s *Store) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	v, sum, err := s.get(ctx, name, version)
	if err == nil && !want.IsZero() && sum != want {
		v.Clear()
		return secret.Value{}, providers.ErrChanged
	}
	return v, err
}

// Sum opens a version too: nothing that the server says of it without is a proof.
func (s *Store) Sum(ctx context.Context, name secret.Name, version uint64) (providers.Sum, error) {
	v, sum, err := s.get(ctx, name, version)
	v.Clear()
	return sum, err
}

func (s *Store) get(ctx context.Context, name secret.Name, version uint64) (secret.Value, providers.Sum, error) {
	var e entry
	_, err := s.sessions.do(ctx, request{method: http.MethodGet, path: s.atVersion("data", name, version), limit: maxEntry, into: &e})
	if err != nil {
		e.Data.Data.Text.Clear()
		e.Data.Data.Base64.Clear()
		return secret.Value{}, providers.Sum{}, s.explained(err, name, version)
	}
	v, ok := e.Data.Data.value()
	if !ok {
		return secret.Value{}, providers.Sum{}, &providers.StoreError{
			Kind: providers.ErrUnavailable, Problem: fmt.Sprintf("version %d of %q has not the fields that secretctl gives it", version, name),
			Remedy: s.client.bao("read", s.shown("metadata", name, version)),
		}
	}
	sum, err := sumOf(e.Data.Data.Salt, v)
	if err != nil {
		v.Clear()
		return secret.Value{}, providers.Sum{}, providers.Unavailable(err)
	}
	return v, sum, nil
}

// explained is an error of a request for a version.
func (s *Store) explained(err error, name secret.Name, version uint64) error {
	var deleted *gone
	switch {
	case errors.As(err, &deleted) && deleted.destroyed:
		return providers.ErrAbsent
	case errors.As(err, &deleted):
		return &providers.StoreError{
			Kind: providers.ErrUnavailable, Problem: fmt.Sprintf("version %d of %q was deleted by somebody, and can be brought back", version, name),
			// Not bao kv undelete, which cuts off a path that begins as the mount does.
			Remedy: s.client.bao("write", s.shown("undelete", name, version), fmt.Sprintf("versions=%d", deleted.version)),
		}
	case errors.Is(err, errForbidden):
		return s.notAllowed()
	}
	return providers.Unavailable(err)
}

// notAllowed is the error of a token whose policy has not what we need.
func (s *Store) notAllowed() error {
	mount, prefix := strings.Join(s.mount, "/"), strings.Join(s.prefix, "/")
	return &providers.StoreError{
		Kind: providers.ErrRefused, Problem: s.client.name() + " does not let us do this: the policy of the login is not enough",
		Remedy: fmt.Sprintf(`echo 'path "%[1]s/data/%[2]s/*" { capabilities = ["create", "read", "update"] } path "%[1]s/metadata/%[2]s/*" { capabilities = ["read", "list", "delete"] }' | %[3]s`,
			mount, prefix, s.client.bao("policy write", "secretctl", "-")),
	}
}

// Put stores a version where there is none.
func (s *Store) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt) // never fails
	sum, err := sumOf(salt, v)
	if err != nil {
		return providers.Sum{}, providers.Unavailable(err)
	}
	for cas := uint64(0); ; {
		status, err := s.put(ctx, name, version, salt, v, cas)
		if status != http.StatusBadRequest {
			if err != nil {
				return providers.Sum{}, s.explained(err, name, version)
			}
			return sum, nil
		}
		// Not what it should be, or not there where it should be. What the server says of
		// it is not asked: what is there is.
		there, _, err := s.get(ctx, name, version)
		there.Clear()
		destroyed := (*gone)(nil)
		switch {
		case err == nil:
			return providers.Sum{}, providers.ErrExists
		case !errors.Is(err, providers.ErrAbsent):
			return providers.Sum{}, err
		case cas == 0:
			if destroyed, err = s.destroyed(ctx, name, version); err != nil {
				return providers.Sum{}, err
			}
		}
		if destroyed == nil {
			return providers.Sum{}, s.client.trouble("%s does not accept version %d of %q", s.client.name(), version, name)
		}
		cas = destroyed.version
	}
}

// destroyed returns how an entry is gone whose versions somebody destroyed: it
// goes on from there. Nil: it is not.
func (s *Store) destroyed(ctx context.Context, name secret.Name, version uint64) (*gone, error) {
	_, err := s.sessions.do(ctx, request{method: http.MethodGet, path: s.atVersion("data", name, version)})
	var deleted *gone
	if errors.As(err, &deleted) || errors.Is(err, providers.ErrAbsent) {
		return deleted, nil
	}
	return nil, err
}

func (s *Store) put(ctx context.Context, name secret.Name, version uint64, salt []byte, v secret.Value, cas uint64) (status int, err error) {
	body, err := putBody(v, salt, cas)
	if err != nil {
		return 0, providers.Unavailable(err)
	}
	defer body.Clear()
	return s.sessions.do(ctx, request{method: http.MethodPut, path: s.atVersion("data", name, version), body: body, into: new(struct{})})
}

// putBody is the request that puts a value if the engine's newest version of the
// entry is cas.
func putBody(v secret.Value, salt []byte, cas uint64) (secret.Value, error) {
	field, n, write := "value", 0, secret.AppendJSON
	err := v.Use(func(b []byte) error {
		if n = secret.JSONLen(b); len(b) > longestText || !secret.Text(b) {
			field, n, write = "value_base64", base64.StdEncoding.EncodedLen(len(b)), base64.StdEncoding.AppendEncode
		}
		return nil
	})
	if err != nil {
		return secret.Value{}, err
	}
	head := fmt.Sprintf(`{"options":{"cas":%d},"data":{"salt":"%s","%s":"`, cas, base64.StdEncoding.EncodeToString(salt), field)
	const tail = `"}}`
	return secret.Fill(len(head)+n+len(tail), func(mem []byte) error {
		mem = append(mem[:0], head...)
		err := v.Use(func(b []byte) error { mem = write(mem, b); return nil })
		_ = append(mem, tail...)
		return err
	})
}

// Delete removes a version's entry, with all that the engine keeps of it.
func (s *Store) Delete(ctx context.Context, name secret.Name, version uint64) error {
	_, err := s.sessions.do(ctx, request{method: http.MethodDelete, path: s.atVersion("metadata", name, version)})
	if err = s.explained(err, name, version); errors.Is(err, providers.ErrAbsent) {
		return nil
	}
	return err
}

// List walks the folder. Entries that are not versions of ours are passed over,
// and so is what is deleted meanwhile.
func (s *Store) List(ctx context.Context, fn func(secret.Name, uint64, providers.Sum) error) error {
	return s.walk(ctx, nil, fn)
}

func (s *Store) walk(ctx context.Context, under []string, fn func(secret.Name, uint64, providers.Sum) error) error {
	var out struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	_, err := s.sessions.do(ctx, request{method: http.MethodGet, path: s.at("metadata", under...), query: "list=true", limit: maxList, into: &out})
	if errors.Is(err, providers.ErrAbsent) {
		return nil
	}
	if err != nil {
		return s.explained(err, "", 0)
	}
	for _, key := range out.Data.Keys {
		if folder, ok := strings.CutSuffix(key, "/"); ok {
			below := append(slices.Clone(under), folder)
			if _, err := secret.ParseName(strings.Join(below, "/")); err != nil {
				continue
			}
			if err := s.walk(ctx, below, fn); err != nil {
				return err
			}
			continue
		}
		name, version, ok := versionOf(strings.Join(under, "/"), key)
		if !ok {
			continue
		}
		sum, err := s.Sum(ctx, name, version)
		if errors.Is(err, providers.ErrAbsent) {
			continue
		}
		if err != nil {
			return err
		}
		if err := fn(name, version, sum); err != nil {
			return err
		}
	}
	return nil
}

// versionOf reads an entry's place in the folder back into what it holds.
func versionOf(under, key string) (secret.Name, uint64, bool) {
	number, ok := strings.CutPrefix(key, "@")
	version, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || version == 0 || strconv.FormatUint(version, 10) != number {
		return "", 0, false
	}
	name, err := secret.ParseName(under)
	return name, version, err == nil
}

// Health reports whether the server is up and unsealed, knows our token, and has
// a KV v2 engine where the config says.
func (s *Store) Health(ctx context.Context) error {
	status, err := s.client.do(ctx, request{method: http.MethodGet, path: []string{"sys", "health"}, root: true})
	switch {
	case status == http.StatusTooManyRequests, status == 473:
		// A standby, which passes on what it is asked; one that does not shows it below.
	case err != nil:
		return providers.Unavailable(err)
	}
	r := lookUp(secret.Value{}, new(lookup))
	if _, err := s.sessions.do(ctx, r); err != nil {
		return providers.Unavailable(err)
	}
	return s.seeMount(func(r request) (int, error) { return s.sessions.do(ctx, r) })
}

// checkMount checks the engine with a session that is new. Without a look at what
// kind it is, an engine that keeps no versions would seem to be empty.
func (s *Store) checkMount(ctx context.Context, now *session) error {
	return s.seeMount(func(r request) (int, error) {
		r.token = now.token
		return s.client.do(ctx, r)
	})
}

func (s *Store) seeMount(do func(request) (int, error)) error {
	var out struct {
		Data struct {
			Path    string          `json:"path"`
			Type    string          `json:"type"`
			Options json.RawMessage `json:"options"`
		} `json:"data"`
	}
	mount := strings.Join(s.mount, "/")
	_, err := do(request{method: http.MethodGet, path: append([]string{"sys", "internal", "ui", "mounts"}, s.mount...), into: &out})
	var options struct {
		Version string `json:"version"`
	}
	switch {
	case err != nil:
		return s.explained(err, "", 0)
	case json.Unmarshal(out.Data.Options, &options) != nil || out.Data.Type != "kv" || options.Version != "2" || out.Data.Path != mount+"/":
		e := s.client.trouble("%s has no KV v2 engine at %q", s.client.name(), mount)
		e.Remedy = s.client.bao("secrets enable", "-path="+mount, "-version=2", "kv")
		return e
	}
	return nil
}
