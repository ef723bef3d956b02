package json5_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/json5"
)

// asJSON spells what a tree says as JSON, numbers aside, which nobody asks for.
func asJSON(dst, text []byte, n *json5.Node) []byte {
	switch n.Kind {
	case json5.Object:
		dst = append(dst, '{')
		for i, m := range n.Members {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(json5.AppendString(dst, []byte(m.Key)), ':')
			dst = asJSON(dst, text, m.Value)
		}
		return append(dst, '}')
	case json5.Array:
		dst = append(dst, '[')
		for i, item := range n.Items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = asJSON(dst, text, item)
		}
		return append(dst, ']')
	case json5.String:
		return json5.AppendString(dst, n.AppendText(nil, text))
	}
	return append(dst, text[n.Start:n.End]...)
}

func TestJSON5(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                           `{}`,
		" \ufeff\u00a0{a:1,}//x\n":     `{"a":1}`,
		`{'a':'it''s'}`:                ``,
		`{'a':'it\'s',"b":"\"'",}`:     `{"a":"it's","b":"\"'"}`,
		`{$_a1: [1,2,], /* , */ ü: 2}`: `{"$_a1":[1,2],"ü":2}`,
		`[+1,-.5,5.,0x1F,Infinity,-NaN,1e3,.5e-3,5.e1]`: `[+1,-.5,5.,0x1F,Infinity,-NaN,1e3,.5e-3,5.e1]`,
		"['a\\\nb\\\r\nc\\\u2028d\\x41\\v\\0\\q']":      `["abcdA\u000b\u0000q"]`,
		`["\u00e9\ud83d\ude00\ud83d"]`:                  `["é😀` + "\ufffd" + `"]`,
		`{a:1 b:2}`:                                     ``, `{a}`: ``, `{,}`: ``, `[,]`: ``, `{a:}`: ``, `{"a":1}}`: ``, `/* `: ``, `/`: ``, ``: ``, `[0x]`: ``,
		`[1.2.3]`: ``, `[+-1]`: ``, `[.]`: ``, "['a\nb']": ``, `['\1']`: ``, `['\u12']`: ``, `['\xg0']`: ``, `'a`: ``, `{a-b:1}`: ``,
		`[tru]`: ``, `[01]`: ``, "\xff": ``, `['\`: ``, `[--1]`: ``,
		strings.Repeat("[", 600) + strings.Repeat("]", 600): ``,
	} {
		n, err := json5.Parse([]byte(text))
		if want == "" {
			require.Error(t, err, text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, want, string(asJSON(nil, []byte(text), n)), text)
	}
}

func TestErrorsNameTheLineAndNothingElse(t *testing.T) {
	_, err := json5.Parse([]byte("{\n  a: 'value',\n  b 'hunter2'\n}"))
	require.EqualError(t, err, "line 3: a colon is expected after a key")
}

func TestGet(t *testing.T) {
	text := []byte(`{a:{b:'first'},a:{b:'last',c:[1]}}`)
	n, err := json5.Parse(text)
	require.NoError(t, err)
	require.Equal(t, "last", string(n.At("a", "b").AppendText(nil, text)))
	require.Nil(t, n.At("a", "b", "c"))
	require.Nil(t, n.At("x", "y"))
	require.Empty(t, n.At("a", "c").AppendText(nil, text))
}

// FuzzJSON: what we call JSON is what encoding/json does, every string says the
// same to both, and JSON5 accepts all of it.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-2.5e+3,"\u00e9\n\"",true,null,{}],"b":"\ud83d\ude00"}`, `[01]`, `{"a":1,}`, `"\q"`, `[1e]`, `"\ud800x"`, ` [ ] `, `-`, `{'a':1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := json5.ParseJSON(text)
		if bytes.Count(text, []byte("[")) < 400 && bytes.Count(text, []byte("{")) < 400 {
			require.Equal(t, json.Valid(text) && utf8.Valid(text), err == nil, "%q: %v", text, err)
		}
		if _, err5 := json5.Parse(text); err == nil {
			require.NoError(t, err5, "%q", text)
		}
		if err != nil {
			return
		}
		var ours, theirs any
		decode := func(b []byte, to *any) {
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			require.NoError(t, d.Decode(to), "%q", b)
		}
		decode(asJSON(nil, text, n), &ours)
		decode(text, &theirs)
		require.Equal(t, theirs, ours, "%q", text)
	})
}

// FuzzJSON5: nothing panics, and spans are where they can be.
func FuzzJSON5(f *testing.F) {
	f.Add([]byte("{a:'b\\\n',c:[+.5,]}//x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := json5.Parse(text)
		if err != nil {
			return
		}
		var visit func(n *json5.Node, from, to int)
		visit = func(n *json5.Node, from, to int) {
			require.True(t, from <= n.Start && n.Start < n.End && n.End <= to, "%q", text)
			for _, m := range n.Members {
				require.True(t, n.Start < m.Start && m.Start < m.Value.Start, "%q", text)
				visit(m.Value, m.Start+1, n.End-1)
			}
			for _, item := range n.Items {
				visit(item, n.Start+1, n.End-1)
			}
			require.True(t, utf8.Valid(n.AppendText(nil, text)), "%q", text)
		}
		visit(n, 0, len(text))
	})
}
