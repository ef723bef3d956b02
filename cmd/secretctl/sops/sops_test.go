package sops_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/sops"
)

// identity opens the files under testdata. It is no secret.
func identity(t testing.TB) age.Identity {
	t.Helper()
	text, err := os.ReadFile("testdata/keys.txt")
	require.NoError(t, err)
	ids, err := age.ParseIdentities(bytes.NewReader(text))
	require.NoError(t, err)
	return ids[0]
}

// holds is what each file holds: a line a value, encrypted ones with a star.
var holds = map[string]string{
	"a.env": `* OPENAI_API_KEY "fixture-one"
* MULTI "line one\nline two"
  EMPTY ""
  PORT_unencrypted "8080"
`,
	"a.yaml": `* db.password "fixture-one"
* db.port "5432"
* db.ratio "1.5"
* db.on "true"
* list.0 "first"
* list.1.name "second"
* list.1.n "2"
* list.2.0 "deep"
  empty ""
  note_unencrypted "in the clear"
  flags_unencrypted.deep "7"
  flags_unencrypted.is "true"
  flags_unencrypted.ratio "0.25"
* multi "one\ntwo\n"
`,
	"a.json": `* db.password "fixture-one"
* db.port "5432"
* db.ratio "1.5"
* db.on "false"
* list.0 "first"
* list.1.name "second"
* list.1.n "2"
* list.2.0 "deep"
  empty ""
  note_unencrypted "in the clear"
  n_unencrypted "7"
`,
}

// read reads a file, as text.
func read(t testing.TB, name string, content []byte) (string, error) {
	t.Helper()
	values, err := sops.Read(name, content, identity(t))
	if err != nil {
		require.Nil(t, values)
		require.NotContains(t, err.Error(), "fixture-one")
		return "", err
	}
	var out strings.Builder
	for _, v := range values {
		fmt.Fprintf(&out, "%s %s %q\n", map[bool]string{true: "*", false: " "}[v.Encrypted], strings.Join(v.Path, "."), v.Bytes)
	}
	return out.String(), nil
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return content
}

// TestFixtures: files that sops 3.13.3 made of those in testdata/plain.
func TestFixtures(t *testing.T) {
	for name, want := range holds {
		got, err := read(t, name, fixture(t, name))
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
}

// TestRealSOPS: files that the sops in SECRETCTL_TEST_SOPS makes now.
func TestRealSOPS(t *testing.T) {
	program := os.Getenv("SECRETCTL_TEST_SOPS")
	if program == "" {
		t.Skip("SECRETCTL_TEST_SOPS names no sops")
	}
	to := identity(t).(*age.X25519Identity).Recipient().String()
	for name, want := range holds {
		cmd := exec.CommandContext(t.Context(), program, "encrypt", "--age", to, filepath.Join("testdata/plain", name))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		made, err := cmd.Output()
		require.NoError(t, err, "%s: %s", name, &stderr)
		got, err := read(t, name, made)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
}

// Whatever is changed in a file, what it held is not given out.
func TestChanged(t *testing.T) {
	changed := func(name, old, to string) []byte {
		re := regexp.MustCompile(old)
		content := fixture(t, name)
		require.True(t, re.Match(content), "%s: %s", name, old)
		first := true
		return re.ReplaceAllFunc(content, func(b []byte) []byte {
			if !first {
				return b
			}
			first = false
			return re.ReplaceAll(b, []byte(to))
		})
	}
	for what, c := range map[string]struct {
		name    string
		content []byte
		says    string
	}{
		"a line left out":                {"a.env", changed("a.env", `(?m)^MULTI=.*\n`, ""), "its MAC is of other values"},
		"a plain value changed":          {"a.env", changed("a.env", "8080", "8081"), "its MAC is of other values"},
		"a plain value added":            {"a.env", changed("a.env", `(?m)^PORT_`, "X_unencrypted=1\nPORT_"), "its MAC is of other values"},
		"an encrypted one under another": {"a.env", changed("a.env", "OPENAI_API_KEY=", "OTHER="), "changed, or moved"},
		"a value in plain":               {"a.env", changed("a.env", `OPENAI_API_KEY=.*`, "OPENAI_API_KEY=x"), "not encrypted as sops does"},
		"a tag changed":                  {"a.env", changed("a.env", `(OPENAI_API_KEY=.*tag:)[^,]{4}`, "${1}AAAA"), "changed, or moved"},
		"another time":                   {"a.env", changed("a.env", `lastmodified=\d{4}`, "lastmodified=2001"), "its MAC: it was changed"},
		"no time":                        {"a.env", changed("a.env", `lastmodified=.*`, "lastmodified=x"), "no time"},
		"no MAC":                         {"a.env", changed("a.env", `(?m)^sops_mac=.*\n`, ""), "no metadata"},
		"no metadata":                    {"a.env", changed("a.env", `(?s)sops_.*`, ""), "no metadata"},
		"a line of something else":       {"a.env", changed("a.env", `EMPTY=`, "EMPTY"), "no KEY=value"},
		"no recipient":                   {"a.env", changed("a.env", `(?s)sops_age__list_0__map_enc=[^\n]*\n`, ""), "no age recipient"},
		"a key left out":                 {"a.yaml", changed("a.yaml", `(?m)^    port: .*\n`, ""), "its MAC is of other values"},
		"an alias":                       {"a.yaml", changed("a.yaml", `note_unencrypted: in the clear`, "note_unencrypted: &a in the clear\nother_unencrypted: *a"), "is an alias"},
		"two documents":                  {"a.yaml", append(fixture(t, "a.yaml"), "---\na: b\n"...), "more than one YAML document"},
		"no YAML":                        {"a.yaml", []byte("a: [\n"), "no YAML"},
		"a list":                         {"a.yaml", []byte("- a\n"), "no metadata"},
		"another way to choose":          {"a.yaml", changed("a.yaml", `unencrypted_suffix: .*`, "encrypted_regex: ^x"), "encrypted_regex, which is not supported"},
		"groups of keys":                 {"a.yaml", changed("a.yaml", `(?m)^sops:\n`, "sops:\n    shamir_threshold: 2\n"), "shamir_threshold, which is not supported"},
		"a key of JSON left out":         {"a.json", changed("a.json", `"note_unencrypted": "in the clear",`, ""), "its MAC is of other values"},
		"half of a JSON":                 {"a.json", fixture(t, "a.json")[:200], "JSON"},
		"no JSON":                        {"a.json", []byte("[]"), "no metadata"},
	} {
		_, err := read(t, c.name, c.content)
		require.ErrorContains(t, err, c.says, what)
	}
}

// An identity that does not open a file is said, and so is none at all.
func TestOtherIdentity(t *testing.T) {
	other, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	for _, ids := range [][]age.Identity{nil, {other}} {
		_, err = sops.Read("a.env", fixture(t, "a.env"), ids...)
		require.ErrorIs(t, err, sops.ErrNoKey)
	}
	_, err = sops.Read("a.env", fixture(t, "a.env"), other, identity(t))
	require.NoError(t, err)
}

// FuzzRead: any file is refused or read, and nothing else.
func FuzzRead(f *testing.F) {
	for name := range holds {
		f.Add(name, fixture(f, name))
	}
	id := identity(f)
	f.Fuzz(func(_ *testing.T, name string, content []byte) {
		values, _ := sops.Read(name, content, id)
		sops.Clear(values)
	})
}
