package keychain_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/providers/servertest"
)

// This package's code for macOS is C by cgo, which nothing here can build: go vet
// and go build pass it over without a word.

// listed is a package as go list describes it.
type listed struct {
	ImportPath, Dir, Export                       string
	GoFiles, CgoFiles, XTestGoFiles, XTestImports []string
	Standard                                      bool
}

// goList lists packages, and all that they import, as they are on a Mac.
func goList(t *testing.T, cgo string, args ...string) map[string]*listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-json=ImportPath,Dir,Export,GoFiles,CgoFiles,XTestGoFiles,XTestImports,Standard"}, args...)...)
	cmd.Env = append(os.Environ(), "GOOS=darwin", "GOARCH=arm64", "CGO_ENABLED="+cgo)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, said.String())
	all := make(map[string]*listed)
	for in := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := new(listed)
		if err := in.Decode(p); errors.Is(err, io.EOF) {
			return all
		} else {
			require.NoError(t, err)
		}
		all[p.ImportPath] = p
	}
}

// mac type-checks packages from their source, with cgo, for a Mac. What they use
// of the standard library is the same with cgo and without.
type mac struct {
	set   *token.FileSet
	all   map[string]*listed
	std   types.Importer
	done  map[string]*types.Package
	wrong []string
	extra string // instead of one file
}

func newMac(t *testing.T, roots ...string) *mac {
	t.Helper()
	m := &mac{set: token.NewFileSet(), all: goList(t, "1", roots...), done: make(map[string]*types.Package)}
	args := []string{"-export"}
	for path, p := range m.all {
		if p.Standard && !slices.Contains([]string{"C", "unsafe", "runtime/cgo"}, path) {
			args = append(args, path)
		}
	}
	export := goList(t, "0", args...)
	m.std = importer.ForCompiler(m.set, "gc", func(path string) (io.ReadCloser, error) {
		p := export[path]
		if p == nil || p.Export == "" {
			return nil, fmt.Errorf("there is no package %s", path)
		}
		return os.Open(p.Export)
	})
	return m
}

// Import implements [types.Importer].
func (m *mac) Import(path string) (*types.Package, error) {
	p := m.all[path]
	switch {
	case path == "unsafe":
		return types.Unsafe, nil
	case p == nil || p.Standard:
		return m.std.Import(path)
	case m.done[path] != nil:
		return m.done[path], nil
	}
	pkg := m.check(path, p.Dir, append(p.GoFiles, p.CgoFiles...))
	m.done[path] = pkg
	return pkg, nil
}

// check checks files as one package.
func (m *mac) check(path, dir string, names []string) *types.Package {
	var files []*ast.File
	for _, name := range names {
		var source any
		if m.extra != "" && strings.HasSuffix(name, "_darwin.go") && strings.HasPrefix(path, "secretctl/providers/keychain") {
			source = m.extra
		}
		f, err := parser.ParseFile(m.set, filepath.Join(dir, name), source, parser.SkipObjectResolution)
		if err != nil {
			m.wrong = append(m.wrong, err.Error())
		}
		files = append(files, f)
	}
	config := types.Config{FakeImportC: true, Importer: m, Error: func(err error) { m.wrong = append(m.wrong, err.Error()) }}
	pkg, _ := config.Check(path, m.set, files, nil) // its errors are in wrong
	return pkg
}

const self = "secretctl/providers/keychain"

// TestMacTypes: what is written for macOS is right as far as a compiler can tell.
func TestMacTypes(t *testing.T) {
	imports := goList(t, "1", self)[self].XTestImports
	m := newMac(t, append(imports, self)...)
	p := m.all[self]
	require.Contains(t, p.GoFiles, "keychain_darwin.go")
	require.Contains(t, p.XTestGoFiles, "onmac_darwin_test.go")
	require.NotContains(t, p.GoFiles, "none.go")
	require.NotEmpty(t, m.all["github.com/keybase/go-keychain"].CgoFiles)
	_, err := m.Import(self)
	require.NoError(t, err)
	m.check(self+"_test", p.Dir, p.XTestGoFiles)
	require.Empty(t, m.wrong)
}

// A name that the library does not have is seen.
func TestMacTypesSee(t *testing.T) {
	source, err := os.ReadFile("keychain_darwin.go")
	require.NoError(t, err)
	m := newMac(t, self)
	for old, mistake := range map[string]string{
		"keychain.ErrorAuthFailed)": "keychain.ErrorAuthFail)", "SetComment(": "SetComments(", "item.SetData(value)": "item.SetData(salt, value)",
	} {
		require.Contains(t, string(source), old)
		delete(m.done, self) // what it imports is as it was
		m.wrong, m.extra = nil, strings.ReplaceAll(string(source), old, mistake)
		_, err := m.Import(self)
		require.NoError(t, err)
		require.NotEmpty(t, m.wrong, mistake)
	}
	delete(m.done, self)
	m.wrong, m.extra = nil, ""
	_, err = m.Import(self)
	require.NoError(t, err)
	require.Empty(t, m.wrong)
}

// crossVariable names a compiler for macOS: a command that takes what cc takes.
const crossVariable = "SECRETCTL_TEST_DARWIN_CC"

// TestMacBuild builds the program with cgo for macOS, where there is a compiler and
// linker for that. Nothing here can run it.
func TestMacBuild(t *testing.T) {
	cc := os.Getenv(crossVariable)
	if cc == "" {
		t.Skip("needs a C compiler for macOS in " + crossVariable)
	}
	_ = servertest.Program(t, strings.Fields(cc)[0])
	out := filepath.Join(t.TempDir(), "secretctl")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-w", "-o", out, "secretctl/cmd/secretctl")
	cmd.Env = append(os.Environ(), "GOOS=darwin", "GOARCH=arm64", "CGO_ENABLED=1", "CC="+cc)
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	head := make([]byte, 4)
	f, err := os.Open(out)
	require.NoError(t, err)
	defer f.Close()
	_, err = io.ReadFull(f, head)
	require.NoError(t, err)
	require.Equal(t, "\xcf\xfa\xed\xfe", string(head), "a Mach-O of 64 bits")
}
