package shape

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLooksSecret(t *testing.T) {
	const key = "x7Gk2pQ9vTzL4mWb8nRc" // secretctl:allow
	for _, c := range []struct{ key, value, rule string }{
		{"PORT", "3000", ""}, {"DEBUG", "true", ""}, {"NODE_ENV", "production", ""}, {"URL", "https://example.com/path", ""}, {"EMPTY", "", ""},
		{"DB_PASSWORD", "hunter2", "secret-name"}, {"PASSWORD", "correct horse battery staple", "secret-name"}, {"MYSQL_ROOT_PASSWORD", "s3cr", "secret-name"},
		{"PIN_CODE", "1234", ""}, {"dbpassword", "12345678", ""}, {"DB_PASS", "73119284", "secret-name"},
		{"API_KEY", key, "secret-name"}, {"apiKey", key, "secret-name"}, {"STRIPE_SECRET", "whatever-it-is-9", "secret-name"},
		{"OPENAI_API_KEY_PROD", key, "secret-name"}, {"SECRET_KEY_BASE", key, "secret-name"}, {"TOKEN_2", key, "secret-name"},
		{"PASSWORD", "changeme", ""}, {"PASSWORD", "xxx", ""}, {"PASSWORD", "password", ""}, {"PASSWORD", "<your password>", ""}, {"PASSWORD", "${DB_PASSWORD}", ""},
		{"PASSWORD", "$DB_PASSWORD", ""}, {"PASSWORD", "secret://db/password", ""}, {"API_KEY", "your-api-key-here", ""}, {"API_KEY", "********", ""}, {"TOKEN", "op://vault/item/field", ""},
		{"MAX_TOKENS", "4096", ""}, {"TOKEN_LIMIT", "100000", ""}, {"TOKEN", "4096", ""}, {"API_KEY_FILE", "/run/secrets/api-key", ""}, {"SECRET_NAME", "openai/api-key", ""},
		{"PASSWORD_FILE", "/run/secrets/password", ""}, {"PUBLIC_KEY", key, ""}, {"TOKEN_URL", "https://example.com/token", ""}, {"AUTH_ENABLED", "true", ""}, {"SECRET", "true", ""},
		{"WHATEVER", "x7Gk2pQ9vTzL4mWb8nRcYh3f", "high-entropy"}, {"WHATEVER", "9f86d081884c7d659a2feaa0c55ad015", "high-entropy"},
		{"GIT_COMMIT", "9f86d081884c7d659a2feaa0c55ad015", ""}, {"TRACE_ID", "9f86d081884c7d659a2feaa0c55ad015", ""}, {"IMAGE", "registry.example.com/team/app:v1.2.3", ""},
		{"GREETING", "Hello there, this is a sentence 4 U", ""}, {"PATH", "/usr/local/bin:/usr/bin:/bin", ""}, {"CLASS", "com.example.Project2024.MainActivity", ""},
		{"DATABASE_URL", "postgres://app:x7Gk2pQ9vT@db/app", "url-password"}, {"DATABASE_URL", "postgres://localhost/app", ""}, // secretctl:allow
	} {
		rule, ok := LooksSecret(c.key, []byte(c.value))
		require.Equal(t, c.rule, rule, "%s=%s", c.key, c.value)
		require.Equal(t, rule != "", ok)
	}
}

func TestNames(t *testing.T) {
	for name, parts := range map[string][]string{
		"OPENAI_API_KEY": {"openai", "api", "key"}, "apiKey": {"api", "key"}, "APIKey": {"api", "key"}, "db.password": {"db", "password"}, "a-b__c": {"a", "b", "c"}, "": nil, "__": nil,
		"key2Value": {"key2", "value"}, "HTTPServerURL": {"http", "server", "url"},
	} {
		require.Equal(t, parts, split(name), name)
	}
}

func TestEntropy(t *testing.T) {
	require.Zero(t, Entropy(nil))
	require.Zero(t, Entropy([]byte("aaaaaaaa")))
	require.InDelta(t, 1, Entropy([]byte("abababab")), 1e-9)
	require.InDelta(t, 3, Entropy([]byte("abcdefgh")), 1e-9)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	require.InDelta(t, 8, Entropy(all), 1e-9)
	require.False(t, math.IsNaN(Entropy([]byte{0})))
}

// TestSummed: the sums of GitHub and npm, from the example of the announcement.
func TestSummed(t *testing.T) {
	require.Equal(t, "000000", base62(0))
	require.Equal(t, "4gfFC3", base62(math.MaxUint32))
	right := "gh" + "p_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17" // published, long revoked
	require.True(t, summed([]byte(right)))
	require.True(t, summed([]byte("gh"+"p_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq18")), "one mistyped is a secret still")
	require.False(t, summed([]byte("gh"+"p_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa111111")))
}
