package age_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/age"
)

// program runs one of the plain age programs, which get nothing but their
// arguments and input.
func program(t *testing.T, in []byte, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, "needs the age program")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = []string{}
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	require.NoError(t, err, "%s %v", name, args)
	return out
}

// TestPlainAge: the age program opens what we sealed with nothing but the home's
// identity, and we open what it sealed.
func TestPlainAge(t *testing.T) {
	disk, dir := newHome(t)
	s := age.New(disk, "vault")
	identity := filepath.Join(dir, age.IdentityFile)
	recipient := string(bytes.TrimSpace(program(t, nil, "age-keygen", "-y", identity)))
	for _, size := range []int{0, 1, 100, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20} {
		name := secret.Name("n/" + strconv.Itoa(size))
		b := pattern(size)
		v, err := secret.New(bytes.Clone(b))
		require.NoError(t, err)
		_, err = s.Put(t.Context(), name, 1, v)
		require.NoError(t, err)
		folder := filepath.Join(dir, "vault", string(name))
		out := program(t, nil, "age", "-d", "-i", identity, filepath.Join(folder, "@1.age"))
		require.True(t, bytes.Equal(b, out), size)

		program(t, b, "age", "-e", "-r", recipient, "-o", filepath.Join(folder, "@2.age"))
		got, err := s.Get(t.Context(), name, 2, providers.Sum{})
		require.NoError(t, err, size)
		require.True(t, got.Equal(v), size)
		got.Clear()
		v.Clear()
	}
}

// An identity that age-keygen made serves as the home's.
func TestPlainIdentity(t *testing.T) {
	disk, dir := newHome(t)
	identity := filepath.Join(dir, age.IdentityFile)
	require.NoError(t, os.Remove(identity))
	program(t, nil, "age-keygen", "-o", identity)
	require.NoError(t, age.New(disk, "vault").Health(t.Context()))
}

// TestReadsForEver: files of every version of the format, and of the age program,
// open with the identity beside them.
func TestReadsForEver(t *testing.T) {
	files, err := filepath.Glob("testdata/*.age")
	require.NoError(t, err)
	require.Len(t, files, 2)
	identity, err := os.ReadFile("testdata/identity.txt")
	require.NoError(t, err)
	require.Equal(t, testIdentity, string(bytes.TrimSpace(identity)))
	for _, name := range files {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		b, err := opened(t, content)
		require.NoError(t, err, name)
		require.Equal(t, "correct horse battery staple", string(b), name)
	}
}
