package openclaw_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/openclaw"
)

func TestRequests(t *testing.T) {
	ids := func(n int) string { return strings.TrimSuffix(strings.Repeat(`"a",`, n), ",") }
	for text, wrong := range map[string]string{
		`{"protocolVersion":1,"provider":"secretctl","ids":["a/b","d"]}`:   "",
		`{"protocolVersion":1,"ids":[]}`:                                   "",
		`{"protocolVersion":1,"ids":["A:b#c._-/x"],"later":{"a":1}}`:       "",
		`{"protocolVersion":1,"ids":[` + ids(512) + `]}`:                   "",
		`{"protocolVersion":1,"ids":[` + ids(513) + `]}`:                   "has 513 ids; at most 512",
		`{"protocolVersion":2,"ids":[]}`:                                   "not of protocol version 1",
		`{"protocolVersion":"1","ids":[]}`:                                 "not of protocol version 1",
		`{"protocolversion":1,"ids":[]}`:                                   "not of protocol version 1",
		`{"protocolVersion":1,"ids":[],"ids":["a"]}`:                       `has "ids" twice`,
		`{"protocolVersion":1}`:                                            `no list of "ids"`,
		`{"protocolVersion":1,"ids":"a"}`:                                  `no list of "ids"`,
		`{"protocolVersion":1,"ids":["a",1]}`:                              "id 2 of the request is none",
		`{"protocolVersion":1,"ids":[""]}`:                                 "id 1 of the request is none",
		`{"protocolVersion":1,"ids":["../a"]}`:                             "id 1 of the request is none",
		`{"protocolVersion":1,"ids":["a/../b"]}`:                           "id 1 of the request is none",
		`{"protocolVersion":1,"ids":["a\n"]}`:                              "id 1 of the request is none",
		`{"protocolVersion":1,"ids":["` + strings.Repeat("a", 257) + `"]}`: "id 1 of the request is none",
		`{protocolVersion:1,ids:[]}`:                                       "not JSON",
		`[]`:                                                               "not a JSON object",
		``:                                                                 "not JSON",
	} {
		_, err := openclaw.ParseRequest([]byte(text))
		if wrong == "" {
			require.NoError(t, err, text)
		} else {
			require.ErrorContains(t, err, wrong, text)
		}
	}
}

// idRule is OpenClaw's own, in its words.
var idRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/#-]{0,255}$`)

// FuzzRequest: what is accepted, encoding/json reads the same way, and each id
// is one by OpenClaw's rule.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"protocolVersion":1,"provider":"secretctl","ids":["a/b","d"]}`))
	f.Add([]byte(`{"protocolVersion":1,"ids":["a/./b","\u0061"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := openclaw.ParseRequest(text)
		if err != nil {
			return
		}
		var theirs struct {
			ProtocolVersion int
			IDs             []string
		}
		require.NoError(t, json.Unmarshal(text, &theirs), "%q", text)
		require.Equal(t, len(theirs.IDs), len(r.IDs), "%q", text)
		for i, id := range r.IDs {
			require.Equal(t, theirs.IDs[i], id, "%q", text)
			require.Regexp(t, idRule, id)
			require.False(t, slices.ContainsFunc(strings.Split(id, "/"), func(s string) bool { return s == "." || s == ".." }), "%q", id)
		}
	})
}
