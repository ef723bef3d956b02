package secret_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
)

type (
	exported   struct{ V secret.Value }
	unexported struct{ v secret.Value }
	embedded   struct{ secret.Value }
	nested     struct {
		In struct{ in *unexported }
		V  []exported
	}
	generic[T any] struct{ t T }
	carryingError  struct{ v secret.Value }
	contextKey     struct{}
)

func (e carryingError) Error() string { return fmt.Sprintf("using %v: %s", e.v, e.v) }

// carriers returns everything that a value may sit in when it is shown.
func carriers(v secret.Value) map[string]any {
	pointer := &v
	in := nested{V: []exported{{v}}}
	in.In.in = &unexported{v}
	ch := make(chan secret.Value, 1)
	ch <- v
	w := "using %w" // a variable: go vet knows that this is wrong
	return map[string]any{
		"value":                       v,
		"pointer":                     &v,
		"pointer to pointer":          &pointer,
		"exported field":              exported{v},
		"unexported field":            unexported{v},
		"pointer to unexported field": &unexported{v},
		"embedded":                    embedded{v},
		"pointer to embedded":         &embedded{v},
		"nested":                      in,
		"anonymous":                   struct{ v any }{v},
		"slice":                       []secret.Value{v},
		"slice of unexported fields":  []unexported{{v}},
		"array":                       [1]*unexported{{v}},
		"map":                         map[string]secret.Value{"k": v},
		"map of pointers":             map[string]*unexported{"k": {v}},
		"key":                         map[*secret.Value]int{&v: 1},
		"interface":                   []any{v, &v, unexported{v}},
		"generic":                     generic[secret.Value]{v},
		"channel":                     ch,
		"function":                    func() secret.Value { return v },
		"reflection":                  reflect.ValueOf(unexported{v}),
		"context":                     context.WithValue(context.Background(), contextKey{}, v),
		"error":                       carryingError{v},
		"error with %w":               fmt.Errorf(w, any(v)),
		"error with %w of a carrier":  fmt.Errorf("using: %w", carryingError{v}),
		"error with %v":               fmt.Errorf("using %v, %+v, %#v", v, &v, unexported{v}),
		"joined errors":               errors.Join(carryingError{v}, io.EOF),
	}
}

// leaky is what a value would be without its closure.
type leaky struct{ b []byte }

func (leaky) String() string { return secret.Redacted }

// printed is the thing printed with every verb there could be, with the flags.
func printed(it any, flags string) string {
	var all strings.Builder
	for verb := 'A'; verb <= 'z'; verb++ {
		fmt.Fprintf(&all, "%"+flags+string(verb)+"\n", it)
	}
	return all.String()
}

func TestValueShowsNothing(t *testing.T) {
	canary, v := newCanary(t)
	_, other := newCanary(t)
	for name, carrier := range carriers(v) {
		t.Run(name, func(t *testing.T) {
			for _, flags := range []string{"", "+", "#", " ", "0", "-", "#+", "# ", "3", "#08.40", "[1]", "[1]*"} {
				require.Empty(t, shown(printed(carrier, flags), canary), flags)
			}
			require.Empty(t, shown(fmt.Sprint(carrier, carrier)+fmt.Sprintln(carrier), canary))
			for how, show := range ways {
				require.Empty(t, shown(show(carrier, carriers(other)[name]), canary), how)
			}
		})
	}
}

// ways are the ways to show a thing besides printing it; the second thing is one
// that it is compared with.
var ways = map[string]func(it, other any) string{
	"slog text": func(it, _ any) string {
		return logged(func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) }, it)
	},
	"slog JSON": func(it, _ any) string {
		return logged(func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }, it)
	},
	"log": func(it, _ any) string {
		var out strings.Builder
		log.New(&out, "", 0).Printf("%v %+v %#v", it, it, it)
		return out.String()
	},
	"json": func(it, _ any) string { return marshalled(json.Marshal(it)) },
	"xml":  func(it, _ any) string { return marshalled(xml.Marshal(it)) },
	"gob": func(it, _ any) (text string) {
		var out bytes.Buffer
		err := gob.NewEncoder(&out).Encode(it)
		return marshalled(out.Bytes(), err)
	},
	"testify": func(it, other any) string {
		var seen seeing
		assert.Equal(&seen, it, other)
		assert.Same(&seen, it, other)
		assert.Nil(&seen, it)
		assert.Contains(&seen, it, other)
		assert.ElementsMatch(&seen, []any{it}, []any{other})
		return seen.String() + fmt.Sprint(assert.ObjectsAreEqual(it, other))
	},
}

func logged(handler func(io.Writer) slog.Handler, it any) string {
	var out strings.Builder
	l := slog.New(handler(&out)).With("with", it)
	l.Info("using", "it", it, slog.Group("group", "it", it))
	return out.String()
}

func marshalled(b []byte, err error) string { return fmt.Sprintf("%s %v", b, err) }

// seeing keeps what an assertion says.
type seeing struct{ strings.Builder }

func (s *seeing) Errorf(format string, args ...any) { fmt.Fprintf(s, format, args...) }

// Without this the test above could be one that sees nothing.
func TestShownSees(t *testing.T) {
	canary, v := newCanary(t)
	bare := leaky{[]byte(canary)}
	for _, verb := range []string{"%d", "%#v", "%b", "%o", "%c", "%U", "%#x", "% x", "%X"} {
		require.NotEmpty(t, shown(fmt.Sprintf(verb, bare.b), canary), verb)
	}
	for _, verb := range []string{"%v", "%d", "%s", "%q", "%x", "%#v", "%+v"} {
		require.NotEmpty(t, shown(fmt.Sprintf(verb, struct{ in leaky }{bare}), canary), verb)
	}
	for how, show := range ways {
		text := show(struct{ In struct{ B []byte } }{struct{ B []byte }{[]byte(canary)}}, exported{v})
		if how == "gob" || how == "xml" {
			continue // of a struct without a name
		}
		require.NotEmpty(t, shown(text, canary), how)
	}
}

func TestValueIsNotMarshalled(t *testing.T) {
	_, v := newCanary(t)
	for name, marshal := range map[string]func(any) error{
		"json": func(it any) error { _, err := json.Marshal(it); return err },
		"xml":  func(it any) error { _, err := xml.Marshal(it); return err },
		"gob":  func(it any) error { return gob.NewEncoder(io.Discard).Encode(it) },
	} {
		require.ErrorContains(t, marshal(v), "not marshalled", name)
		require.ErrorContains(t, marshal(exported{v}), "not marshalled", name)
	}
	for name, marshal := range map[string]func() ([]byte, error){
		"json": v.MarshalJSON, "text": v.MarshalText, "binary": v.MarshalBinary, "gob": v.GobEncode,
	} {
		b, err := marshal()
		require.ErrorContains(t, err, "not marshalled", name)
		require.Empty(t, b, name)
	}
}

func TestValueSaysRedacted(t *testing.T) {
	_, v := newCanary(t)
	for _, verb := range []string{"%v", "%s", "%q", "%x", "%d", "%#v", "%+v"} {
		require.Equal(t, secret.Redacted, fmt.Sprintf(verb, v), verb)
	}
	require.Equal(t, secret.Redacted, v.String())
	require.Equal(t, secret.Redacted, v.GoString())
	require.Equal(t, secret.Redacted, v.LogValue().String())
}

// A comparison with == would not be in constant time; that it does not compile
// is a property of the type.
func TestValueDoesNotCompare(t *testing.T) {
	require.False(t, reflect.TypeFor[secret.Value]().Comparable())
	require.False(t, reflect.TypeFor[exported]().Comparable())
}

// panics are what a program may die of with a value in hand.
func panics(v secret.Value) map[string]func() {
	all := map[string]func(){
		"while using it": func() { _ = v.Use(func(b []byte) error { panic(len(b)) }) },
		"out of range":   func() { _ = v.Use(func(b []byte) error { b[len(b)]++; return nil }) },
	}
	for name, carrier := range carriers(v) {
		all[name] = func() { panic(carrier) }
	}
	return all
}

func TestPanicShowsNothing(t *testing.T) {
	canary, v := newCanary(t)
	for name := range panics(v) {
		t.Run(name, func(t *testing.T) {
			var said bytes.Buffer
			c := start(t, "panicker", func(c *exec.Cmd) {
				c.Env = append(c.Env, "CARRIER="+name, "GOTRACEBACK=system")
				c.Stderr = &said
			})
			c.tell(t, canary)
			var exit *exec.ExitError
			require.ErrorAs(t, c.Wait(), &exit)
			require.Contains(t, said.String(), "panic")
			require.Contains(t, said.String(), "goroutine 1 ")
			require.Empty(t, shown(said.String(), canary), said.String())
		})
	}
}
