package servicetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// GiteaProgram names, in the environment, the program of a Gitea to test with.
const GiteaProgram = "SECRETCTL_TEST_GITEA"

// RealGitea starts a Gitea on this machine, which ends with the test, or returns
// nil where [GiteaProgram] names none. Its log goes nowhere but to the test, when
// it does not start.
func RealGitea(t *testing.T) *Gitea {
	t.Helper()
	named := os.Getenv(GiteaProgram)
	if named == "" {
		return nil
	}
	// One that was built without its data in it has it beside it, in its source.
	program, err := filepath.EvalSymlinks(named)
	require.NoError(t, err)
	dir, static := t.TempDir(), filepath.Dir(program)
	if _, err := os.Stat(filepath.Join(static, "options", "locale")); err != nil {
		static = t.TempDir()
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().(*net.TCPAddr)
	require.NoError(t, free.Close())
	config := filepath.Join(dir, "app.ini")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = %[1]s
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %[2]d
ROOT_URL = http://127.0.0.1:%[2]d/
DISABLE_SSH = true
OFFLINE_MODE = true
STATIC_ROOT_PATH = %[3]s
[database]
DB_TYPE = sqlite3
PATH = %[1]s/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = of-tests
INTERNAL_TOKEN = of-tests
PASSWORD_HASH_ALGO = pbkdf2_v2
[oauth2]
ENABLED = false
[log]
LEVEL = Error
[cron]
ENABLED = false
`, dir, address.Port, static), 0o600))
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), program, append(args, "--config", config)...)
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	run("migrate")
	// A password that Gitea chooses is in no argument.
	said := run("admin", "user", "create", "--username", giteaUser, "--email", "bot@localhost", "--random-password", "--must-change-password=false")
	password := regexp.MustCompile(`random password is '(.*)'`).FindStringSubmatch(said)
	require.Len(t, password, 2)

	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	web := exec.CommandContext(ctx, program, "web", "--config", config)
	web.Dir, web.Env, web.WaitDelay = dir, []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}, time.Minute
	var log bytes.Buffer
	web.Stdout, web.Stderr = &log, &log
	require.NoError(t, web.Start())
	ended := make(chan struct{})
	go func() { _ = web.Wait(); close(ended) }()
	down := func(testing.TB) { stop(); <-ended }
	t.Cleanup(func() { down(t) })

	g := &Gitea{URL: "http://" + address.String(), User: giteaUser, Password: password[1], Down: down}
	up := func() bool {
		c, err := net.Dial("tcp", address.String())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	if !waitFor(ended, up) {
		down(t)
		t.Fatalf("gitea does not start: %s", log.String())
	}
	values := []string{g.Password}
	g.Leaks = func(t *testing.T, text string) {
		for _, v := range values {
			require.False(t, strings.Contains(text, v), "a value is in a text")
		}
	}
	g.Add = func(t *testing.T, name string, scopes ...string) (id, value string) {
		body, err := json.Marshal(giteaNew{name, scopes})
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/api/v1/users/"+giteaUser+"/tokens", bytes.NewReader(body))
		require.NoError(t, err)
		req.SetBasicAuth(giteaUser, g.Password)
		req.Header.Set("Content-Type", "application/json")
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusCreated, resp.StatusCode)
		var made giteaToken
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&made))
		values = append(values, made.Value)
		return strconv.FormatInt(made.ID, 10), made.Value
	}
	return g
}

// waitFor asks until it is so, for as long as the process runs.
func waitFor(ended <-chan struct{}, so func() bool) bool {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for !so() {
		select {
		case <-ended:
			return false
		case <-again.C:
		}
	}
	return true
}
