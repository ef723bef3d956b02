package age_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	plain "filippo.io/age"
	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/providers/age"
	"secretctl/providers/storetest"
)

// grown is a vault with n secrets, all of which are the same file. Beside it there is
// the least that a Go program can do with age files that must survive a crash.
func grown(t testing.TB, n int) storetest.Grown {
	dir := t.TempDir()
	disk, err := durable.OpenHome(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, age.IdentityFile), []byte(testIdentity), 0o600))
	s := age.New(disk, "vault")
	v, err := secret.New([]byte("filler"))
	require.NoError(t, err)
	defer v.Clear()
	_, err = s.Put(t.Context(), storetest.Filler(0), 1, v)
	require.NoError(t, err)
	path := func(i int) string { return filepath.Join(dir, s.File(storetest.Filler(i), 1)) }
	sealed, err := os.ReadFile(path(0))
	require.NoError(t, err)
	for i := 1; i < n; i++ {
		require.NoError(t, os.MkdirAll(filepath.Dir(path(i)), 0o700))
		require.NoError(t, os.WriteFile(path(i), sealed, 0o600))
	}
	return storetest.Grown{
		Store: s, N: n, Value: func(int) string { return "filler" },
		Get: func(i int) error {
			file, err := os.ReadFile(path(i))
			if err != nil {
				return err
			}
			r, err := plain.Decrypt(bytes.NewReader(file), ours)
			if err != nil {
				return err
			}
			_, err = io.ReadAll(r)
			return err
		},
		Put: func(i int) error {
			var out bytes.Buffer
			w, err := plain.Encrypt(&out, ours.Recipient())
			if err != nil {
				return err
			}
			if _, err := w.Write([]byte("one more")); err != nil {
				return err
			}
			if err := w.Close(); err != nil {
				return err
			}
			name := s.File(storetest.Filler(i), 1)
			if err := durable.MkdirAll(disk, filepath.Dir(name), 0o700); err != nil {
				return err
			}
			return durable.WriteFile(disk, name, out.Bytes(), 0o600)
		},
		List: func() error {
			return filepath.WalkDir(filepath.Join(dir, "vault"), func(p string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return err
				}
				b, err := os.ReadFile(p)
				_ = sha256.Sum256(b)
				return err
			})
		},
	}
}

// What a large vault costs.
func BenchmarkGrowth(b *testing.B) {
	storetest.Grow(b, func(b *testing.B, n int) storetest.Grown { return grown(b, n) })
}

// However many secrets there are, each is served as what it is.
func TestGrown(t *testing.T) {
	n := 300
	if os.Getenv("SECRETCTL_LONG") != "" {
		n = 10_000
	}
	storetest.Served(t, grown(t, n))
}
