package openbaotest

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/providers/servertest"
)

// Program is the variable that names the bao, or vault, to test against.
const Program = "SECRETCTL_TEST_OPENBAO"

// Real is a server of that program, in development mode.
type Real struct {
	Admin
	*servertest.Process
	unseal string
}

// StartReal starts one, until the test ends.
func StartReal(t testing.TB) *Real {
	program := os.Getenv(Program)
	if program == "" {
		t.Skip("runs where " + Program + " names a bao")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	account := servertest.Unprivileged(t)
	cmd := account.Command(t, account.Dir(t), program, "server", "-dev", "-dev-root-token-id="+Root, "-dev-listen-address="+address, "-dev-no-store-token")
	out, in, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = in, in
	r := &Real{Admin: Admin{URL: "http://" + address, Token: Root}, Process: servertest.Start(t, cmd)}
	require.NoError(t, in.Close())
	said := make(chan string, 1)
	go func() { // to its end, or the server waits for a reader
		defer out.Close()
		key := regexp.MustCompile(`Unseal Key: (\S+)`)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := key.FindStringSubmatch(lines.Text()); m != nil {
				said <- m[1]
			}
		}
	}()
	require.True(t, r.Ready(func() bool { return r.answers(t) }), "the server ends at once")
	r.unseal = <-said
	return r
}

// answers reports whether the server does, within a moment.
func (r *Real) answers(t testing.TB) bool {
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/v1/sys/health", nil)
	require.NoError(t, err)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil
}

// Freeze stops the process where it is, until thaw.
func (r *Real) Freeze(t testing.TB) (thaw func()) {
	r.Pause()
	t.Cleanup(r.Resume)
	require.True(t, r.Ready(func() bool { return !r.answers(t) })) // a signal takes its time
	return r.Resume
}

// Seal seals the server, until unseal.
func (r *Real) Seal(t testing.TB) (unseal func()) {
	r.Do(t, http.MethodPut, "sys/seal", map[string]any{})
	return func() { r.Do(t, http.MethodPut, "sys/unseal", map[string]any{"key": r.unseal}) }
}

// Type types a command of bao's as the administrator, which must work.
func (r *Real) Type(t testing.TB, command string) {
	command, ok := strings.CutPrefix(command, "bao ")
	require.True(t, ok)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `exec "$0" `+command, os.Getenv(Program))
	cmd.Env = []string{"HOME=/nonexistent", "BAO_TOKEN=" + r.Token, "VAULT_TOKEN=" + r.Token}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// RevokeTokens revokes those that were given for a login by role.
func (r *Real) RevokeTokens(t testing.TB) {
	r.Do(t, http.MethodPut, "sys/leases/revoke-prefix/auth/approle/login", map[string]any{"sync": true})
}
