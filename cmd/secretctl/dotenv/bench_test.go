package dotenv_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/dotenv"
)

// BenchmarkParse reads the largest of the real files.
func BenchmarkParse(b *testing.B) {
	text, err := os.ReadFile("testdata/real/dotenv-tests.env")
	require.NoError(b, err)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_, err := dotenv.Parse(bytes.Clone(text))
		require.NoError(b, err)
	}
}
