package shape

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkFind searches the sources of Go's standard library.
func BenchmarkFind(b *testing.B) {
	root, err := exec.CommandContext(b.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatal(err)
	}
	var text []byte
	for _, pattern := range []string{"net/http/*.go", "crypto/tls/*.go", "go/*/*.go", "runtime/*.go"} {
		found, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "src", pattern))
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

// BenchmarkHostile searches text that was made to be slow: of what begins keys.
func BenchmarkHostile(b *testing.B) {
	for _, unit := range []string{
		"eyJ-", "sk-.", "ops_eyJ+", "-----BEGIN PRIVATE KEY-----", "8Q~", "://a:", "pass" + "word=a1", "mach" + "ine ", "curl ", "AKIA+", "xoxb-%",
	} {
		text := []byte(strings.Repeat(unit, 64<<10/len(unit)))
		b.Run(unit, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				Find(nil, text)
			}
		})
	}
}
