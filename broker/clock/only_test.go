package clock_test

import (
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

// mayReadTime is where time is read past this package, by file or directory.
var mayReadTime = map[string]string{
	"broker/clock":                  "this is the place",
	"broker/connection.go":          "the kernel wants the deadline of a connection in its own clock",
	"broker/response.go":            "it tells when it was written",
	"broker/mask/writer.go":         "how long a prompt is held back matters to a person at that moment",
	"cmd/secretctl/child/keeper.go": "which signals came together matters at that moment",
	"broker/secret/canary":          "support of tests: it compares with the time stamps of files",

	"providers/onepassword/link.go":             "a socket wants its deadlines in the clock of the kernel",
	"providers/onepassword/source/transport.go": "a request is given up at its time, in a process that lives for minutes",
	"providers/onepassword/optest":              "support of tests: the service's own clock",
	"providers/rotatortest":                     "support of tests: how long a call took",
	"providers/servertest":                      "support of tests: certificates are valid from some day on",
	"providers/storetest":                       "support of tests: how long a call took",
}

// TestOnlyClockReadsTime: what reads another clock cannot be tried with time
// set back, nor with a machine that slept.
func TestOnlyClockReadsTime(t *testing.T) {
	used := map[string]bool{}
	files := 0
	err := filepath.WalkDir(module, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return err
		}
		files++
		name, err := filepath.Rel(module, file)
		require.NoError(t, err)
		name = filepath.ToSlash(name)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if reads := readsTime(t, name, string(text)); len(reads) > 0 {
			switch {
			case mayReadTime[name] != "":
				used[name] = true
			case mayReadTime[path.Dir(name)] != "":
				used[path.Dir(name)] = true
			default:
				t.Errorf("%s has %s: read broker/clock", name, strings.Join(reads, ", "))
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, files, 50, "where has the code gone?")
	for name := range mayReadTime {
		require.True(t, used[name], "%s reads no time any more: take it off the list", name)
	}
}

// TestReadsTime is the control: each of these is found.
func TestReadsTime(t *testing.T) {
	for text, want := range map[string][]string{
		`import "time"; var a = time.Now()`:                                {"time.Now"},
		`import "time"; var f = time.Since`:                                {"time.Since"},
		`import t "time"; func f() { _ = t.Until(t.Now()) }`:               {"time.Until", "time.Now"},
		`import . "time"; var a = Now()`:                                   {"time without its name"},
		`import "golang.org/x/sys/unix"; var f = unix.ClockGettime`:        {"golang.org/x/sys/unix.ClockGettime"},
		`import "time"; var a = time.Unix(0, 0)`:                           nil,
		`import time "path"; var f = time.Base`:                            nil,
		`type c struct{}; func (c) Now() {}; var time c; var a = time.Now`: nil,
	} {
		require.Equal(t, want, readsTime(t, "a.go", "package a; "+text), text)
	}
}

// reading is what reads a clock, by package.
var reading = map[string]string{
	"time":                  "Now Since Until",
	"syscall":               "ClockGettime Gettimeofday Time",
	"golang.org/x/sys/unix": "ClockGettime Gettimeofday Time",
}

// readsTime returns what in a Go file reads a clock.
func readsTime(t *testing.T, name, text string) (found []string) {
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
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
		if as == "." && reading[from] != "" {
			found = append(found, from+" without its name")
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok {
				from := imported[x.Name]
				for _, f := range strings.Fields(reading[from]) {
					if f == sel.Sel.Name {
						found = append(found, from+"."+f)
					}
				}
			}
		}
		return true
	})
	return found
}
