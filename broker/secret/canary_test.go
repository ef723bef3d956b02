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
)

// canaryLen is the length of every canary, in bytes.
const canaryLen = 33

// newText returns text that is nowhere else.
func newText() string { return "canary-" + rand.Text() }

// newCanary returns such text, and a value that holds it.
func newCanary(t *testing.T) (string, secret.Value) {
	t.Helper()
	canary := newText()
	require.Len(t, canary, canaryLen)
	v, err := secret.New([]byte(canary))
	require.NoError(t, err)
	t.Cleanup(v.Clear)
	return canary, v
}

// shown returns the first form of a part of the canary that is in the text, or
// nothing.
func shown(text, canary string) string {
	lower := strings.ToLower(text)
	for _, form := range forms(canary) {
		if strings.Contains(lower, strings.ToLower(form)) {
			return form
		}
	}
	return ""
}

// forms returns what the first bytes of the canary may look like.
func forms(canary string) []string {
	b := []byte(canary[:12])
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
