// Package openbaotest has OpenBao servers for tests: a fake that answers as the
// recorded exchanges of a real one do, and a real one where there is one.
//
// It guards against a store that only a friendly server understands: the fake
// keeps versions, tokens, policies and wrapped answers as the real one does, and
// can be sealed, hang, forget tokens and answer with what was sent to it.
package openbaotest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Root is the token that may do everything.
const Root = "root-token"

// Server is the fake. It begins as a server in development mode does: unsealed,
// with a KV v2 engine at secret.
type Server struct {
	now func() time.Time

	mu       sync.Mutex
	sealed   bool
	fault    http.HandlerFunc
	stuck    chan struct{} // not nil: requests wait until it is closed, and get no answer
	requests []string
	serial   uint64
	tokens   map[string]*token
	wrapped  map[string]map[string]any
	policies map[string]policy
	spaces   map[string]*space // by namespace
}

// space is what a namespace has of its own.
type space struct {
	mounts map[string]*engine // by path, without the / at its end
	roles  map[string]*role
}

func newSpace() *space { return &space{make(map[string]*engine), make(map[string]*role)} }

// New returns the fake, which reads the time by now.
func New(now func() time.Time) *Server {
	s := &Server{
		now: now, tokens: make(map[string]*token), wrapped: make(map[string]map[string]any), policies: make(map[string]policy),
		spaces: map[string]*space{"": newSpace()},
	}
	s.tokens[Root] = &token{policies: []string{"root"}, root: true}
	s.spaces[""].mounts["secret"] = newEngine("2", s.idLocked())
	return s
}

// Seal seals the server, until unseal.
func (s *Server) Seal() (unseal func()) {
	s.setSealed(true)
	return func() { s.setSealed(false) }
}

func (s *Server) setSealed(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = is
}

// Hang leaves requests without an answer, until mend, which cuts them off.
func (s *Server) Hang() (mend func()) {
	stuck := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stuck = stuck
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stuck = nil
		close(stuck)
	}
}

// Answer has a function answer every request, until mend.
func (s *Server) Answer(with http.HandlerFunc) (mend func()) {
	s.setFault(with)
	return func() { s.setFault(nil) }
}

func (s *Server) setFault(f http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Echo answers with a status, and with all that was sent, as a proxy may.
func Echo(status int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{"echo", r.Header.Get("X-Vault-Token"), string(body)}})
	}
}

// RevokeTokens has the server forget every token but the root's.
func (s *Server) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.tokens, func(_ string, t *token) bool { return !t.root })
}

// Requests returns the methods and paths of what was asked since the last time.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.requests = nil }()
	return s.requests
}

// call is one request.
type call struct {
	method, path string // below /v1/
	list         bool
	version      string
	body         map[string]any
	space        *space
	token        *token
	id           string // of the token
	wrap         string
}

// answer is what is said to one: data alone, unless body or errors are set.
type answer struct {
	status   int
	data     any
	auth     any
	wrap     any
	warnings any
	errors   []string // of a status that is no success
	body     any      // the whole of it
}

func refuse(status int, errors ...string) answer {
	return answer{status: status, errors: append([]string{}, errors...)}
}

var (
	nothing = answer{status: http.StatusNoContent}
	missing = refuse(http.StatusNotFound)
	unknown = refuse(http.StatusForbidden, "permission denied")
	denied  = refuse(http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
)

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	stuck, fault := s.stuck, s.fault
	s.mu.Unlock()
	switch {
	case stuck != nil:
		select {
		case <-stuck:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	case fault != nil:
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		fault(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeLocked(w, s.answerLocked(r, body))
}

func (s *Server) writeLocked(w http.ResponseWriter, a answer) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	if a.status == 0 {
		a.status = http.StatusOK
	}
	w.WriteHeader(a.status)
	switch {
	case a.status == http.StatusNoContent:
		return
	case a.errors != nil:
		a.body = map[string]any{"errors": a.errors}
	case a.body == nil:
		id := s.idLocked()
		if a.wrap != nil {
			id = ""
		}
		a.body = map[string]any{
			"request_id": id, "lease_id": "", "renewable": false, "lease_duration": 0,
			"data": a.data, "wrap_info": a.wrap, "warnings": a.warnings, "auth": a.auth,
		}
	}
	_ = json.NewEncoder(w).Encode(a.body) // who has gone wants no answer
}

// idLocked makes an id.
func (s *Server) idLocked() string {
	s.serial++
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", s.serial, s.serial)
}

func (s *Server) stampLocked() string { return s.now().UTC().Format(time.RFC3339Nano) }

func (s *Server) answerLocked(r *http.Request, body []byte) answer {
	c := &call{
		method: r.Method, path: strings.TrimPrefix(r.URL.Path, "/v1/"), list: r.URL.Query().Get("list") == "true",
		version: r.URL.Query().Get("version"), id: r.Header.Get("X-Vault-Token"), wrap: r.Header.Get("X-Vault-Wrap-TTL"),
	}
	if c.method == http.MethodPost {
		c.method = http.MethodPut
	}
	switch {
	case r.Header.Get("X-Vault-Request") != "true":
		return refuse(http.StatusBadRequest, "missing X-Vault-Request header")
	case c.path == "sys/health":
		return s.healthLocked()
	case s.sealed:
		return refuse(http.StatusServiceUnavailable, "Vault is sealed")
	case len(body) > 0 && json.Unmarshal(body, &c.body) != nil:
		return refuse(http.StatusBadRequest, "failed to parse JSON input")
	}
	c.space = s.spaces[r.Header.Get("X-Vault-Namespace")]
	if c.space == nil {
		return refuse(http.StatusNotFound, fmt.Sprintf("no handler for route %q. route entry not found.", c.path))
	}
	switch c.path {
	case "auth/approle/login":
		return s.loginLocked(c)
	case "sys/wrapping/unwrap":
		return s.unwrapLocked(c)
	}
	if c.token = s.tokens[c.id]; c.token == nil || c.token.over(s.now()) {
		delete(s.tokens, c.id)
		return unknown
	}
	switch c.path {
	case "auth/token/lookup-self":
		return s.lookupLocked(c)
	case "auth/token/renew-self":
		return s.renewLocked(c)
	}
	if mount, ok := strings.CutPrefix(c.path, "sys/internal/ui/mounts/"); ok {
		return s.mountLocked(c, mount)
	}
	mount, engine := c.engine()
	if !s.mayLocked(c, mount, engine) {
		return denied
	}
	return s.allowedLocked(c, mount, engine)
}

// allowedLocked answers what the token may ask.
func (s *Server) allowedLocked(c *call, mount string, e *engine) answer {
	var name string
	is := func(pattern string) bool {
		before, after, _ := strings.Cut(pattern, "*")
		rest, ok := strings.CutPrefix(c.path, before)
		if !ok || !strings.HasSuffix(rest, after) {
			return false
		}
		name = strings.TrimSuffix(rest, after)
		return name != "" && !strings.Contains(name, "/")
	}
	switch {
	case e != nil:
		return s.kvLocked(c, e, strings.TrimPrefix(c.path, mount+"/"))
	case c.path == "sys/seal":
		s.sealed = true
		return nothing
	case is("sys/policies/acl/*"):
		s.policies[name] = parsePolicy(c.body["policy"].(string))
		return nothing
	case is("sys/auth/*"):
		return nothing
	case is("auth/approle/role/*/role-id"):
		return c.space.roleID(name)
	case is("auth/approle/role/*/secret-id"):
		return s.secretIDLocked(c, name)
	case is("auth/approle/role/*"):
		c.space.roles[name] = newRole(c.body, s.idLocked())
		return nothing
	case is("sys/namespaces/*"):
		s.spaces[name] = newSpace()
		return answer{data: map[string]any{
			"custom_metadata": map[string]any{}, "id": s.idLocked()[:6], "locked": false, "path": name + "/", "tainted": false, "uuid": s.idLocked(),
		}}
	case is("sys/mounts/*"):
		version := "1"
		if o, ok := c.body["options"].(map[string]any); ok && o["version"] == "2" {
			version = "2"
		}
		c.space.mounts[name] = newEngine(version, s.idLocked())
		return nothing
	}
	return refuse(http.StatusNotFound, fmt.Sprintf("no handler for route %q. route entry not found.", c.path))
}

func (s *Server) healthLocked() answer {
	body := map[string]any{
		"initialized": true, "sealed": s.sealed, "standby": s.sealed, "replication_performance_mode": "disabled", "replication_dr_mode": "disabled",
		"server_time_utc": s.now().Unix(), "version": "2.0.0-HEAD",
	}
	if s.sealed {
		body["replication_performance_mode"], body["replication_dr_mode"] = "unknown", "unknown"
		return answer{status: http.StatusServiceUnavailable, body: body}
	}
	body["cluster_name"], body["cluster_id"] = "vault-cluster-fake", s.idLocked()
	return answer{body: body}
}

// engine returns the KV engine that a path belongs to.
func (c *call) engine() (mount string, e *engine) {
	for _, m := range slices.Sorted(maps.Keys(c.space.mounts)) {
		if strings.HasPrefix(c.path, m+"/") {
			mount, e = m, c.space.mounts[m]
		}
	}
	return mount, e
}

// mountLocked says what an engine is, to whoever may do anything in it.
func (s *Server) mountLocked(c *call, mount string) answer {
	e := c.space.mounts[mount]
	if e == nil || !s.knowsLocked(c.token, mount+"/") {
		return refuse(http.StatusForbidden, fmt.Sprintf("preflight capability check returned 403, please ensure client's policies grant access to path %q", mount+"/"))
	}
	return answer{data: map[string]any{
		"accessor": "kv_" + e.id[:8], "config": map[string]any{"default_lease_ttl": 0, "force_no_cache": false, "max_lease_ttl": 0},
		"deprecation_status": "supported", "description": "key/value secret storage", "external_entropy_access": false, "local": false,
		"options": map[string]any{"version": e.kind}, "path": mount + "/", "plugin_version": "", "running_plugin_version": "v2.0.0+builtin.bao",
		"running_sha256": "", "seal_wrap": false, "type": "kv", "uuid": e.id,
	}}
}
