package secret_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mayConvert are the files, below the module, that may make a string of a
// value, each with the reason.
var mayConvert = map[string]string{
	"providers/services/client.go":           "a header of net/http is a string",
	"providers/postgres/session.go":          "the library that logs in takes a string",
	"providers/postgres/scram.go":            "the library that makes a verifier of a password takes a string",
	"providers/onepassword/source/source.go": "1Password's library takes the token as a string",
	"providers/onepassword/source/fields.go": "1Password's library takes strings, and is a process of its own for that too",
	"providers/openbao/client.go":            "a header of net/http is a string",
	"providers/rotatortest/login.go":         "support of tests: it compares texts",
	"providers/age/passphrase.go":            "the library that derives a key of a passphrase takes a string",
	"providers/connurl/connurl.go":           "the user's name and where the server is are no secret; the password stays where it is",
}

// TestNoStringConversion: a string cannot be cleared, so nobody makes one of the
// bytes that Use gives.
func TestNoStringConversion(t *testing.T) {
	root := filepath.Join("..", "..")
	uses := 0
	require.NoError(t, fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		src, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		n, found := conversions(t, name, src)
		uses += n
		if mayConvert[name] == "" {
			require.Empty(t, found, "a value becomes a string: use its bytes, or add the file, and why, to the list in this test")
		}
		return nil
	}))
	require.GreaterOrEqual(t, uses, 5, "the functions given to Use are not found any more")
	for name := range mayConvert {
		require.FileExists(t, filepath.Join(root, name))
	}
}

// conversions counts the function literals given to a Use and returns where one
// makes a string of its parameter.
func conversions(t *testing.T, name string, src []byte) (uses int, found []string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return 0, nil // it does not compile either
	}
	ast.Inspect(file, func(n ast.Node) bool {
		f := usingFunc(n)
		if f == nil {
			return true
		}
		uses++
		for _, at := range stringsOf(f) {
			found = append(found, fset.Position(at).String())
		}
		return true
	})
	return uses, found
}

// usingFunc returns the function literal of a call x.Use(func(b []byte) error {…}).
func usingFunc(n ast.Node) *ast.FuncLit {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) != 1 {
		return nil
	}
	if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "Use" {
		return nil
	}
	f, _ := call.Args[0].(*ast.FuncLit)
	return f
}

// stringsOf returns where f converts its parameter, or a variable made from it,
// to a string.
func stringsOf(f *ast.FuncLit) (found []token.Pos) {
	tainted := make(map[string]bool)
	for _, p := range f.Type.Params.List {
		for _, name := range p.Names {
			tainted[name.Name] = true
		}
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, to := range n.Lhs {
				name, ok := to.(*ast.Ident)
				if ok && slice(n.Rhs[min(i, len(n.Rhs)-1)], tainted) {
					tainted[name.Name] = true
				}
			}
		case *ast.CallExpr:
			if to, ok := n.Fun.(*ast.Ident); ok && to.Name == "string" && len(n.Args) == 1 && slice(n.Args[0], tainted) {
				found = append(found, n.Pos())
			}
		}
		return true
	})
	return found
}

// slice reports whether e is a tainted variable or a part of one.
func slice(e ast.Expr, tainted map[string]bool) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return tainted[e.Name]
	case *ast.SliceExpr:
		return slice(e.X, tainted)
	case *ast.ParenExpr:
		return slice(e.X, tainted)
	case *ast.CallExpr: // bytes.TrimSpace(b), append(b, …)
		for _, arg := range e.Args {
			if name, ok := e.Fun.(*ast.Ident); (!ok || name.Name == "append") && slice(arg, tainted) {
				return true
			}
		}
	}
	return false
}

func TestConversionsAreSeen(t *testing.T) {
	for body, want := range map[string]int{
		`s = string(b); return nil`:                                1,
		`s = string(b[1:n]); return nil`:                           1,
		`c := b[1:]; d := (c); s += string(d[:2]); return nil`:     1,
		`s = string(bytes.TrimSpace(b)); return nil`:               1,
		`return fmt.Errorf("%q", string(b))`:                       1,
		`func() { s, t = string(b), string(b[:1]) }(); return nil`: 2,
		`n = len(b); s = string(other); return nil`:                0,
		`n := copy(other, b); s = strconv.Itoa(n); return nil`:     0,
		`other = append(other, b...); return nil`:                  0,
	} {
		uses, found := conversions(t, "x.go", []byte("package x\nfunc f() { v.Use(func(b []byte) error { "+body+" }) }"))
		require.Equal(t, 1, uses, body)
		require.Len(t, found, want, body)
	}
}
