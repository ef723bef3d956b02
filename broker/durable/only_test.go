package durable_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// module is the module's directory, as seen from this one.
const module = "../.."

// mayTouchDisk is where files are changed that are no state of a home's.
var mayTouchDisk = map[string]string{
	"broker/durable":       "this is the place",
	"broker/secret/canary": "support of tests: it stages scenes in temporary directories",

	"providers/keychain/keychaintest": "support of tests: directories of keyrings",
	"providers/onepassword/optest":    "support of tests: the account's own file",
	"providers/postgres/postgrestest": "support of tests: a server's own files",
	"providers/redis/redistest":       "support of tests: a server's own files",
	"providers/servertest":            "support of tests: directories of servers",
	"providers/services/servicetest":  "support of tests: a server's own files",
	"providers/ssh/sshtest":           "support of tests: a server's own files",
}

// changing is what changes files, by package.
var changing = map[string]string{
	"os": "Chmod Chown Chtimes CopyFS Create CreateTemp Lchown Link Mkdir MkdirAll MkdirTemp OpenFile OpenInRoot OpenRoot " +
		"Remove RemoveAll Rename Symlink Truncate WriteFile",
	"io/ioutil":             "TempDir TempFile WriteFile",
	"syscall":               systemCalls,
	"golang.org/x/sys/unix": systemCalls,
	"go.etcd.io/bbolt":      "Open",
}

const systemCalls = "Chmod Chown Creat Fallocate Fchmod Fchmodat Fchown Ftruncate Link Linkat Mkdir Mkdirat Mknod Open Openat Openat2 " +
	"Pwrite Rename Renameat Renameat2 Rmdir Symlink Symlinkat Truncate Unlink Unlinkat Write"

// TestOnlyDurTouchesDisk: what is not written through this package is in no
// crash test. A socket is not state, so sock is left out, and so is cmd.
func TestOnlyDurTouchesDisk(t *testing.T) {
	files := 0
	for _, top := range []string{"broker", "providers", "rotation"} {
		err := filepath.WalkDir(filepath.Join(module, top), func(file string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case e.IsDir(), filepath.Ext(file) != ".go", strings.HasSuffix(file, "_test.go"):
				return nil
			}
			name, err := filepath.Rel(module, file)
			require.NoError(t, err)
			if mayTouchDisk[path.Dir(filepath.ToSlash(name))] != "" {
				return nil
			}
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, found := range touches(t, name, string(text)) {
				t.Errorf("%s changes files past broker/durable", found)
			}
			files++
			return nil
		})
		require.NoError(t, err)
	}
	require.Greater(t, files, 50, "where has the code gone?")
}

// TestTouches is the control: each of these is found.
func TestTouches(t *testing.T) {
	for text, want := range map[string]string{
		`import "os"; func f() { os.WriteFile("a", nil, 0) }`:                  "a.go:1: os.WriteFile",
		`import "os"; var f = os.Rename`:                                       "a.go:1: os.Rename",
		`import disk "os"; func f() { defer func() { disk.RemoveAll("a") }()}`: "a.go:1: os.RemoveAll",
		`import . "os"`: "a.go:1: os, without its name",
		`import "golang.org/x/sys/unix"; var f = unix.Renameat`:             "a.go:1: golang.org/x/sys/unix.Renameat",
		`import bolt "go.etcd.io/bbolt"; var f, _ = bolt.Open("a", 0, nil)`: "a.go:1: go.etcd.io/bbolt.Open",
	} {
		require.Equal(t, []string{want}, touches(t, "a.go", "package a; "+text), text)
	}
	for _, text := range []string{
		`import "os"; var f, _ = os.ReadFile("a")`,
		`import os "path"; var f = os.Rename`,
		`type d struct{}; func (d) Remove() {}; var os = struct{ d }{}; func f() { os.Remove() }`,
	} {
		require.Empty(t, touches(t, "a.go", "package a; "+text), text)
	}
}

// touches returns where a Go file uses what changes files.
func touches(t *testing.T, name, text string) (found []string) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	require.NoError(t, err)
	imported := map[string]string{} // name in the file → path
	for _, spec := range file.Imports {
		from, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		as := path.Base(from)
		if spec.Name != nil {
			as = spec.Name.Name
		}
		imported[as] = from
		if as == "." && changing[from] != "" {
			found = append(found, fmt.Sprintf("%s:%d: %s, without its name", name, set.Position(spec.Pos()).Line, from))
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok {
				from := imported[x.Name]
				for _, f := range strings.Fields(changing[from]) {
					if f == sel.Sel.Name {
						found = append(found, fmt.Sprintf("%s:%d: %s.%s", name, set.Position(sel.Pos()).Line, from, f))
					}
				}
			}
		}
		return true
	})
	return found
}
