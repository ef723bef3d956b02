package openbaotest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/providers/openbao/openbaotest"
)

// exchange is a request that a real server was sent, and what it answered.
type exchange struct {
	Name    string
	Request struct {
		Method, Path string
		Headers      map[string]string
		Body         json.RawMessage
	}
	Response struct {
		Status  int
		Headers map[string]string
		Body    any
	}
}

func recorded(t *testing.T) []exchange {
	text, err := os.ReadFile("testdata/recorded.json")
	require.NoError(t, err)
	var all struct{ Exchanges []exchange }
	require.NoError(t, json.Unmarshal(text, &all))
	require.Len(t, all.Exchanges, 49)
	return all.Exchanges
}

// TestReplay: the fake answers every recorded request as the real server did.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.Empty(t, replay(recorded(t), openbaotest.New(time.Now)))
	})
}

// TestReplayTellsApart: a server that answers otherwise is found out.
func TestReplayTellsApart(t *testing.T) {
	for name, change := range map[string]func(*exchange){
		"status":       func(e *exchange) { e.Response.Status++ },
		"header":       func(e *exchange) { e.Response.Headers["Content-Type"] = "text/plain" },
		"another key":  func(e *exchange) { e.Response.Body.(map[string]any)["more"] = true },
		"another type": func(e *exchange) { e.Response.Body.(map[string]any)["data"] = "none" },
		"value": func(e *exchange) {
			e.Response.Body.(map[string]any)["data"].(map[string]any)["data"] = map[string]any{"value": "v3"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := recorded(t)
				i := slices.IndexFunc(all, func(e exchange) bool { return e.Name == "kv get latest" })
				change(&all[i])
				require.NotEmpty(t, replay(all, openbaotest.New(time.Now)))
			})
		})
	}
}

// replay returns where the server differs. What the recording calls by an id or a
// token of its own is called by the server's in the requests after.
func replay(all []exchange, server http.Handler) (wrong []string) {
	calls := map[string]string{}
	for _, e := range all {
		if e.Name == "expired token" {
			time.Sleep(6 * time.Second)
		}
		rename := func(text string) string {
			for _, was := range slices.Sorted(maps.Keys(calls)) {
				text = strings.ReplaceAll(text, was, calls[was])
			}
			return text
		}
		body := ""
		if string(e.Request.Body) != "null" {
			body = rename(string(e.Request.Body))
		}
		r := httptest.NewRequest(e.Request.Method, e.Request.Path, strings.NewReader(body))
		for k, v := range e.Request.Headers {
			r.Header.Set(k, rename(v))
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		var got any
		if w.Body.Len() > 0 {
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				wrong = append(wrong, e.Name+": it is not JSON")
			}
		}
		if w.Code != e.Response.Status {
			wrong = append(wrong, fmt.Sprintf("%s: status %d, not %d", e.Name, w.Code, e.Response.Status))
		}
		for k, v := range e.Response.Headers {
			if w.Header().Get(k) != v {
				wrong = append(wrong, fmt.Sprintf("%s: header %s", e.Name, k))
			}
		}
		wrong = append(wrong, differences(e.Name, "", e.Response.Body, got, calls)...)
	}
	return wrong
}

// own are the keys of what each server says in its own way: there the kind alone
// is compared, and whether there is something.
var own = regexp.MustCompile(`^(id|.*_id|.*_accessor|accessor|token|client_token|.*_time|server_time_utc|uuid|cluster_name|created_time|updated_time)$`)

// differences compares what two servers say at a place.
func differences(name, at string, want, got any, calls map[string]string) (wrong []string) {
	key := at[strings.LastIndexByte(at, '.')+1:]
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || !slices.Equal(slices.Sorted(maps.Keys(w)), slices.Sorted(maps.Keys(g))) {
			return []string{fmt.Sprintf("%s: %s is %v, not %v", name, at, got, want)}
		}
		for k := range w {
			wrong = append(wrong, differences(name, at+"."+k, w[k], g[k], calls)...)
		}
		return wrong
	case []any:
		g, ok := got.([]any)
		if !ok || len(w) != len(g) {
			return []string{fmt.Sprintf("%s: %s is %v, not %v", name, at, got, want)}
		}
		for i := range w {
			wrong = append(wrong, differences(name, at, w[i], g[i], calls)...)
		}
		return wrong
	case string:
		if g, ok := got.(string); ok && own.MatchString(key) && (w == "") == (g == "") {
			if w != "" {
				calls[w] = g
			}
			return nil
		}
	case float64:
		if _, ok := got.(float64); ok && own.MatchString(key) {
			return nil
		}
	}
	if want != got {
		return []string{fmt.Sprintf("%s: %s is %v, not %v", name, at, got, want)}
	}
	return nil
}
