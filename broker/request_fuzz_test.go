package broker

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// strict is what a lease request is to an independent reader: encoding/json,
// with what it is lenient about looked at by hand.
func strict(body []byte) (req LeaseRequest, ok bool) {
	var keys map[string]json.RawMessage
	if json.Unmarshal(body, &keys) != nil || keys == nil {
		return req, false
	}
	known := map[string]bool{"secret": true, "door": true, "ttl_seconds": true, "pinned": true, "reason": true, "scope": true, "version": true}
	for k, v := range keys {
		if !known[k] || string(v) == "null" {
			return req, false
		}
	}
	if json.Unmarshal(body, &req) != nil {
		return req, false
	}
	return req, true
}

// FuzzRequest: whatever is accepted, encoding/json understands the same way;
// what it would refuse, or be lenient about, is refused.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"secret":"openai/api-key"}`, `{"secret":"a","door":"value","ttl_seconds":600,"pinned":false,"reason":"x","scope":["a","b"]}`,
		`{"secret":"a","secret":"b"}`, `{"Secret":"a"}`, `{"secret":"a"} x`, `{"secret":"\u0061"}`, `{"secret":"a\"b\\"}`,
		`{}`, `[]`, `null`, `{"secret":null}`, `{"secret":"a","ttl_seconds":1e3}`, `{"secret":"a","ttl_seconds":007}`, `{"secret":"a",}`,
		`{"secret":"a","scope":[null]}`, `{"secret":"a","scope":[]}`, "{\"secret\":\"\xff\"}", `{"secret":"a","version":18446744073709551616}`,
		" {\t\"secret\" : \"a\" }\n", `{"secret":"a","pinned":truex}`, `{"secret":"` + strings.Repeat("a", 200) + `"}`, `{"secret":"\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parseLease(body)
		if err != nil {
			require.ErrorIs(t, err, ErrBadRequest)
			return
		}
		want, ok := strict(body)
		require.True(t, ok, "%q is accepted, and no such request", body)
		if len(got.Scope) == 0 && len(want.Scope) == 0 {
			got.Scope, want.Scope = nil, nil
		}
		require.True(t, reflect.DeepEqual(want, got), "%q: %+v, not %+v", body, got, want)
	})
}

// TestLeaseJSON: what the client writes is what encoding/json would.
func TestLeaseJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := rapid.Make[LeaseRequest]().Draw(t, "request")
		want, err := json.Marshal(req)
		require.NoError(t, err)
		require.Equal(t, string(want), string(req.json()))
	})
}

// TestRequests: what is right is accepted.
func TestRequests(t *testing.T) {
	for body, want := range map[string]LeaseRequest{
		`{"secret":"a"}`: {Secret: "a"},
		"\n{ \"secret\" : \"a\", \"ttl_seconds\" : 0, \"pinned\": true, \"door\":\"value\", \"reason\":\"a \\u00e9\", \"scope\":[\"x\"], \"version\":2 }\n": {Secret: "a", Pinned: true, Door: "value", Reason: "a é", Scope: []string{"x"}, Version: 2},
	} {
		got, err := parseLease([]byte(body))
		require.NoError(t, err, body)
		require.Equal(t, want, got)
	}
	for _, body := range []string{`{"secret":"a","secret":"a"}`, `{"SECRET":"a"}`, `{"secret":"a","colour":1}`, `{"secret":""}`, `{"secret":"a"}{}`, ``} {
		_, err := parseLease([]byte(body))
		require.ErrorIs(t, err, ErrBadRequest, body)
	}
}
