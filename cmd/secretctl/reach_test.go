package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestImpassable(t *testing.T) {
	needRoot(t)
	const uid = 54321
	base, err := os.MkdirTemp("", "sc")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(base)) })
	require.NoError(t, os.Chmod(base, 0o711))
	outer, inner := filepath.Join(base, "outer"), filepath.Join(base, "outer", "inner")
	require.NoError(t, os.MkdirAll(inner, 0o755))
	link := filepath.Join(base, "link")
	require.NoError(t, os.Symlink("outer/inner", link))
	for name, c := range map[string]struct {
		mode  os.FileMode
		owner int
		uid   uint32
		path  string
		where string // "": it gets there
	}{
		"open to all":            {0o711, 0, uid, inner, ""},
		"closed":                 {0o700, 0, uid, inner, outer},
		"open to read only":      {0o744, 0, uid, inner, outer},
		"closed, behind a link":  {0o700, 0, uid, link, outer},
		"its own":                {0o100, uid, uid, inner, ""},
		"its own, closed to it":  {0o011, uid, uid, inner, outer},
		"closed to all but root": {0o000, uid, 0, inner, ""},
		"open to a group":        {0o710, 0, 1, inner, ""},
		"closed to its group":    {0o701, 0, 1, inner, outer},
		"not there":              {0o711, 0, uid, filepath.Join(base, "nowhere"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.Chown(outer, c.owner, 1)) // group 1 is that of user 1, daemon, everywhere
			require.NoError(t, os.Chmod(outer, c.mode))
			where, blocked := impassable(filepath.Join(c.path, "agent.sock"), c.uid)
			require.Equal(t, c.where, where)
			require.Equal(t, c.where != "", blocked)
		})
	}
}
