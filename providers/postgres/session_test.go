package postgres

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers/servertest"
)

// TestTLSModes holds each sslmode to what it means, for servers elsewhere and
// on this machine.
func TestTLSModes(t *testing.T) {
	type is struct {
		plain, plainAfterTLS bool // may a session be in the clear: at first, or when TLS is refused
		named                bool // must the certificate be of that host
		methods              string
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	vouches, _, _ := servertest.Certificate(t, "127.0.0.1")
	require.NoError(t, os.WriteFile(ca, vouches, 0o600))
	const proof, all = "scram-sha-256,md5", "scram-sha-256,md5,password"
	for url, want := range map[string]is{
		"postgres://u:p@db.example/d":                                   {methods: proof},
		"postgres://u:p@db.example/d?sslmode=prefer":                    {methods: proof},
		"postgres://u:p@db.example/d?sslmode=allow":                     {methods: proof},
		"postgres://u:p@192.0.2.1/d?sslmode=allow":                      {methods: proof},
		"postgres://u:p@localhost.example/d":                            {methods: proof},
		"postgres://u:p@db.example/d?host=other.example":                {methods: proof},
		"postgres://u:p@db.example/d?sslmode=require":                   {methods: proof},
		"postgres://u:p@db.example/d?sslmode=disable":                   {plain: true, methods: "scram-sha-256"},
		"postgres://u:p@db.example/d?sslmode=disable&sslrootcert=" + ca: {plain: true, methods: "scram-sha-256"},
		"postgres://u:p@localhost/d?sslmode=disable":                    {plain: true, methods: all},
		"postgres://u:p@db.example/d?sslmode=verify-ca":                 {methods: all},
		"postgres://u:p@db.example/d?sslmode=verify-full":               {named: true, methods: all},
		"postgres://u:p@db.example/d?sslrootcert=system":                {named: true, methods: all},
		"postgres://u:p@localhost/d":                                    {plainAfterTLS: true, methods: all},
		"postgres://u:p@127.1.2.3/d?sslmode=allow":                      {plainAfterTLS: true, methods: all},
		"postgres://u:p@[::1]/d":                                        {plainAfterTLS: true, methods: all},
		"postgres://u:p@localhost/d?sslmode=require":                    {methods: all},
		"postgres://u:p@/d?host=/run/pg":                                {plain: true, methods: all},
		"postgres://u:p@h.example/d?host=/run/pg":                       {plain: true, methods: all},
		"postgres://u:p@localhost/d?host=db.example&port=77":            {methods: proof},
	} {
		v, err := secret.New([]byte(url))
		require.NoError(t, err)
		at, err := parse(v)
		require.NoError(t, err, url)
		c, err := at.config(t.Context())
		require.NoError(t, err, url)
		got := is{plain: c.TLSConfig == nil, methods: c.RequireAuth}
		for _, f := range c.Fallbacks {
			got.plainAfterTLS = got.plainAfterTLS || f.TLSConfig == nil
		}
		got.named = !got.plain && !c.TLSConfig.InsecureSkipVerify && c.TLSConfig.ServerName == at.host
		require.Equal(t, want, got, url)
		require.Equal(t, "-", c.Password, url)
		if !got.plain {
			require.LessOrEqual(t, c.TLSConfig.MinVersion, uint16(tls.VersionTLS12))
		}
	}
}
