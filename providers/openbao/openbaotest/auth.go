package openbaotest

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// token is one that the server knows.
type token struct {
	root           bool
	policies       []string
	accessor, role string
	created        time.Time
	ttl, max       time.Duration
	expires        time.Time // zero: never
}

func (t *token) over(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }

// role is an AppRole.
type role struct {
	id       string
	policies []string
	ttl, max time.Duration
	uses     int            // of each new secret_id; 0: as often as one likes
	secrets  map[string]int // secret_id → uses that are left; -1: as often as one likes
}

func newRole(body map[string]any, id string) *role {
	r := &role{id: id, secrets: make(map[string]int)}
	for _, p := range body["token_policies"].([]any) {
		r.policies = append(r.policies, p.(string))
	}
	r.policies = append(r.policies, "default")
	r.ttl, r.max = span(body["token_ttl"]), span(body["token_max_ttl"])
	if n, ok := body["secret_id_num_uses"].(float64); ok {
		r.uses = int(n)
	}
	return r
}

func span(v any) time.Duration {
	text, _ := v.(string)
	d, _ := time.ParseDuration(text)
	return d
}

func (s *space) roleID(name string) answer {
	if r := s.roles[name]; r != nil {
		return answer{data: map[string]any{"role_id": r.id}}
	}
	return missing
}

func (s *Server) secretIDLocked(c *call, name string) answer {
	r := c.space.roles[name]
	if r == nil {
		return missing
	}
	id, accessor := s.idLocked(), s.idLocked()
	if r.secrets[id] = r.uses; r.uses == 0 {
		r.secrets[id] = -1
	}
	data := map[string]any{"secret_id": id, "secret_id_accessor": accessor, "secret_id_num_uses": r.uses, "secret_id_ttl": 3600}
	if c.wrap == "" {
		return answer{data: data}
	}
	wrapping := "s." + s.idLocked()
	s.wrapped[wrapping] = data
	return answer{wrap: map[string]any{
		"token": wrapping, "accessor": s.idLocked(), "ttl": int(span(c.wrap).Seconds()), "creation_time": s.stampLocked(),
		"creation_path": c.path, "wrapped_accessor": accessor,
	}}
}

func (s *Server) unwrapLocked(c *call) answer {
	data, ok := s.wrapped[c.id]
	if !ok {
		return refuse(http.StatusBadRequest, "wrapping token is not valid or does not exist")
	}
	delete(s.wrapped, c.id)
	return answer{data: data}
}

func (s *Server) loginLocked(c *call) answer {
	for name, r := range c.space.roles {
		id, _ := c.body["secret_id"].(string)
		left := r.secrets[id]
		if r.id != c.body["role_id"] || left == 0 {
			continue
		}
		if left > 0 {
			r.secrets[id] = left - 1
		}
		return s.giveLocked(&token{policies: r.policies, role: name, ttl: r.ttl, max: r.max})
	}
	return refuse(http.StatusBadRequest, "invalid role or secret ID")
}

func (s *Server) giveLocked(t *token) answer {
	id := "s." + s.idLocked()
	t.accessor, t.created = s.idLocked(), s.now()
	if t.ttl > 0 {
		t.expires = t.created.Add(t.ttl)
	}
	s.tokens[id] = t
	return s.authLocked(id, t, t.ttl)
}

func (s *Server) authLocked(id string, t *token, lease time.Duration) answer {
	policies := slices.Sorted(slices.Values(t.policies))
	return answer{auth: map[string]any{
		"client_token": id, "accessor": t.accessor, "policies": policies, "token_policies": policies, "metadata": map[string]any{"role_name": t.role},
		"lease_duration": int(lease.Seconds()), "renewable": true, "entity_id": s.idLocked(), "token_type": "service", "orphan": true, "mfa_requirement": nil, "num_uses": 0,
	}}
}

// Token makes a token of these policies.
func (s *Server) Token(ttl, maximum time.Duration, policies ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.giveLocked(&token{policies: append(policies, "default"), ttl: ttl, max: maximum})
	return a.auth.(map[string]any)["client_token"].(string)
}

func (s *Server) lookupLocked(c *call) answer {
	t := c.token
	if t.root {
		return answer{data: map[string]any{"id": c.id, "ttl": 0, "creation_ttl": 0, "renewable": false, "policies": t.policies, "expire_time": nil, "type": "service"}}
	}
	return answer{data: map[string]any{
		"accessor": t.accessor, "creation_time": t.created.Unix(), "creation_ttl": int(t.ttl.Seconds()), "display_name": "approle", "entity_id": s.idLocked(),
		"expire_time": t.expires.UTC().Format(time.RFC3339Nano), "explicit_max_ttl": 0, "id": c.id, "issue_time": t.created.UTC().Format(time.RFC3339Nano),
		"meta": map[string]any{"role_name": t.role}, "num_uses": 0, "orphan": true, "path": "auth/approle/login",
		"policies": slices.Sorted(slices.Values(t.policies)), "renewable": true,
		// The server counts whole seconds, and rounds up.
		"ttl": int(math.Ceil(t.expires.Sub(s.now()).Seconds())), "type": "service",
	}}
}

func (s *Server) renewLocked(c *call) answer {
	t := c.token
	if t.root {
		return refuse(http.StatusBadRequest, "lease is not renewable")
	}
	lease := t.ttl
	if t.max > 0 {
		lease = min(lease, t.created.Add(t.max).Sub(s.now()))
	}
	t.expires = s.now().Add(lease)
	return s.authLocked(c.id, t, lease)
}

// policy is what is allowed by path, which may end in *.
type policy map[string][]string

// parsePolicy reads the rules of a policy that the tests write.
func parsePolicy(text string) policy {
	p := make(policy)
	rule := regexp.MustCompile(`path\s+"([^"]*)"\s*\{\s*capabilities\s*=\s*\[([^\]]*)\]`)
	word := regexp.MustCompile(`[a-z]+`)
	for _, m := range rule.FindAllStringSubmatch(text, -1) {
		p[m[1]] = word.FindAllString(m[2], -1)
	}
	return p
}

// mayLocked reports whether the token may ask this.
func (s *Server) mayLocked(c *call, mount string, e *engine) bool {
	if c.token.root {
		return true
	}
	path, need := c.path, map[string]string{http.MethodGet: "read", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[c.method]
	if at, ok := strings.CutPrefix(c.path, mount+"/data/"); ok && e != nil && need == "update" && e.entries[at] == nil {
		need = "create"
	}
	if c.list {
		path, need = strings.TrimSuffix(path, "/")+"/", "list"
	}
	for _, name := range c.token.policies {
		for rule, capabilities := range s.policies[name] {
			prefix, open := strings.CutSuffix(rule, "*")
			if (rule == path || open && strings.HasPrefix(path, prefix)) && slices.Contains(capabilities, need) {
				return true
			}
		}
	}
	return false
}

// knowsLocked reports whether the token may do anything below a path.
func (s *Server) knowsLocked(t *token, path string) bool {
	return t.root || slices.ContainsFunc(t.policies, func(name string) bool {
		for rule := range s.policies[name] {
			if strings.HasPrefix(rule, path) {
				return true
			}
		}
		return false
	})
}

// Policy is what the store needs below a prefix of a mount.
func Policy(mount, prefix string) string {
	return fmt.Sprintf(`path "%[1]s/data/%[2]s/*" { capabilities = ["create", "read", "update"] }
path "%[1]s/metadata/%[2]s/*" { capabilities = ["read", "list", "delete"] }`, mount, prefix)
}
