package secret_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
)

// newText returns text that is nowhere else.
func newText() string { return canary.Of(rand.Text()) }

// newCanary returns such text, and a value that holds it.
func newCanary(t *testing.T) (string, secret.Value) {
	t.Helper()
	text := newText()
	v, err := secret.New([]byte(text))
	require.NoError(t, err)
	t.Cleanup(v.Clear)
	return text, v
}

// shown returns the first form of a part of the value that is in the text, or
// nothing.
func shown(text, value string) string {
	lower := strings.ToLower(text)
	for _, form := range forms(value) {
		if strings.Contains(lower, strings.ToLower(form)) {
			return form
		}
	}
	return ""
}

// forms returns what the first bytes of the value may look like.
func forms(value string) []string {
	b := []byte(value[:12])
	list := func(format, separator string) string {
		var each []string
		for _, c := range b {
			each = append(each, fmt.Sprintf(format, c))
		}
		return strings.Join(each, separator)
	}
	return []string{
		string(b),
		hex.EncodeToString(b),
		base64.StdEncoding.EncodeToString(b),
		list("%d", " "), list("%d", ","), list("%d", ", "), list("%+d", " "), list("%03d", " "),
		list("%x", " "), list("%#x", " "), list("%#x", ", "),
		list("%o", " "), list("%#o", " "), list("%O", " "),
		list("%b", " "), list("%#b", " "),
		list("%q", " "), list("%c", " "),
		list("%U", " "), list("%#U", " "),
	}
}
