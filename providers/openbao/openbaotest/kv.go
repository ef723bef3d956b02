package openbaotest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// engine is a KV engine.
type engine struct {
	kind, id string
	entries  map[string]*entry
}

func newEngine(kind, id string) *engine { return &engine{kind, id, make(map[string]*entry)} }

// entry is what it keeps at a path.
type entry struct {
	created, updated string
	custom           any
	versions         []version
}

type version struct {
	data              map[string]any
	created, deletion string
	destroyed         bool
}

func (e *entry) metadata(n int) map[string]any {
	v := e.versions[n-1]
	return map[string]any{"created_time": v.created, "custom_metadata": e.custom, "deletion_time": v.deletion, "destroyed": v.destroyed, "version": n}
}

func (s *Server) kvLocked(c *call, e *engine, path string) answer {
	kind, at, _ := strings.Cut(path, "/")
	if e.kind != "2" {
		return missing // of these tests, nothing is put there
	}
	entry := e.entries[at]
	switch kind {
	case "data":
		return s.dataLocked(c, e, at, entry)
	case "metadata":
		return s.metadataLocked(c, e, at, entry)
	case "undelete", "destroy":
		for _, n := range c.body["versions"].([]any) {
			v := &entry.versions[int(n.(float64))-1]
			if v.deletion = ""; kind == "destroy" {
				v.data, v.destroyed = nil, true
			}
		}
		return nothing
	}
	return answer{status: http.StatusNotFound, warnings: []string{
		"Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the OpenBao CLI, use 'bao kv get' for this operation.",
	}}
}

func (s *Server) dataLocked(c *call, e *engine, at string, now *entry) answer {
	latest := 0
	if now != nil {
		latest = len(now.versions)
	}
	switch c.method {
	case http.MethodGet:
		n := latest
		if c.version != "" {
			n, _ = strconv.Atoi(c.version)
		}
		if n < 1 || n > latest {
			return missing
		}
		v := now.versions[n-1]
		a := answer{data: map[string]any{"data": v.data, "metadata": now.metadata(n)}}
		if v.destroyed || v.deletion != "" {
			a.status, a.data.(map[string]any)["data"] = http.StatusNotFound, nil
		}
		return a
	case http.MethodDelete:
		if latest > 0 {
			now.versions[latest-1].deletion = s.stampLocked()
		}
		return nothing
	}
	data, ok := c.body["data"].(map[string]any)
	if !ok {
		return refuse(http.StatusBadRequest, fmt.Sprintf("error converting input for field \"data\": '' expected type 'map[string]interface {}', got unconvertible type '%T'", c.body["data"]))
	}
	if o, ok := c.body["options"].(map[string]any); ok && o["cas"] != nil && o["cas"] != float64(latest) {
		return refuse(http.StatusBadRequest, "check-and-set parameter did not match the current version")
	}
	if c.method == http.MethodPatch {
		if latest == 0 {
			return missing
		}
		merged := maps.Clone(now.versions[latest-1].data)
		maps.Copy(merged, data)
		data = merged
	}
	if now == nil {
		now = &entry{created: s.stampLocked()}
		e.entries[at] = now
	}
	now.updated = s.stampLocked()
	now.versions = append(now.versions, version{data: data, created: now.updated})
	return answer{data: now.metadata(latest + 1)}
}

func (s *Server) metadataLocked(c *call, e *engine, at string, now *entry) answer {
	switch {
	case c.list:
		keys := e.list(at)
		if len(keys) == 0 {
			return missing
		}
		return answer{data: map[string]any{"keys": keys}}
	case c.method == http.MethodDelete:
		delete(e.entries, at)
		return nothing
	case c.method == http.MethodPut:
		if now == nil {
			now = &entry{created: s.stampLocked(), updated: s.stampLocked()}
			e.entries[at] = now
		}
		now.custom = c.body["custom_metadata"]
		return nothing
	case now == nil:
		return missing
	}
	versions := make(map[string]any)
	for i, v := range now.versions {
		versions[strconv.Itoa(i+1)] = map[string]any{"created_time": v.created, "deletion_time": v.deletion, "destroyed": v.destroyed}
	}
	return answer{data: map[string]any{
		"cas_required": false, "created_time": now.created, "current_metadata_version": 0, "current_version": len(now.versions), "custom_metadata": now.custom,
		"delete_version_after": "0s", "max_versions": 0, "metadata_cas_required": false, "oldest_version": 0, "updated_time": now.updated, "versions": versions,
	}}
}

// list returns what is directly in a folder.
func (e *engine) list(folder string) []string {
	found := make(map[string]bool)
	for at := range e.entries {
		rest, ok := strings.CutPrefix(at, strings.TrimSuffix(folder, "/")+"/")
		if !ok {
			continue
		}
		if first, _, deeper := strings.Cut(rest, "/"); deeper {
			rest = first + "/"
		}
		found[rest] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// Fields returns what is kept at a path of a mount, as a person with all rights
// sees it, and nil where nothing is.
func (s *Server) Fields(mount, path string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.spaces[""].mounts[mount].entries[path]
	if e == nil {
		return nil
	}
	var all map[string]any
	text, _ := json.Marshal(e.versions[len(e.versions)-1].data) // it came as JSON
	_ = json.Unmarshal(text, &all)
	return all
}
