package shape

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// BenchmarkFind searches the sources of Go's standard library.
func BenchmarkFind(b *testing.B) {
	var text []byte
	for _, pattern := range []string{"net/http/*.go", "crypto/tls/*.go", "go/*/*.go", "runtime/*.go"} {
		found, err := filepath.Glob(filepath.Join(runtime.GOROOT(), "src", pattern))
		if err != nil || len(found) == 0 {
			b.Fatal("the sources are gone")
		}
		for _, path := range found {
			t, err := os.ReadFile(path)
			if err != nil {
				b.Fatal(err)
			}
			text = append(text, t...)
		}
	}
	b.Run("find", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		var dst []Match
		for b.Loop() {
			dst = Find(dst[:0], text)
		}
	})
	b.Run("limit: one literal", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			bytes.Count(text, []byte("ghp_"))
		}
	})
}
