package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDemo(t *testing.T) {
	out := showDemo(t, nil)
	require.Contains(t, out, "secretctl: mode s")
}

// TestDemoAsOneUser: without a second user it works too, and says what it is.
func TestDemoAsOneUser(t *testing.T) {
	needRoot(t)
	out := showDemo(t, &syscall.Credential{Uid: 54321, Gid: 54321})
	require.Contains(t, out, "secretctl: mode same-user: ")
	require.Contains(t, out, "aiagent$ secretctl get openai/billing-key --as-agent\n")
}

// TestDemoWithoutReader: who looks at the beginning alone leaves nothing behind.
func TestDemoWithoutReader(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), filepath.Join(stageDir, "secretctl"), "demo")
	cmd.Env, cmd.Dir = []string{"PATH=/usr/bin:/bin", "GORACE=atexit_sleep_ms=10"}, "/"
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	r, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var shown []byte
	place := regexp.MustCompile(`/tmp/secretctl-demo\d+`)
	for piece := make([]byte, 512); !place.Match(shown); {
		n, err := r.Read(piece)
		require.NoError(t, err)
		shown = append(shown, piece[:n]...)
	}
	require.NoError(t, r.Close())
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Equal(t, 128+int(syscall.SIGPIPE), exit.ExitCode())
	require.Empty(t, stderr.String())
	require.NoDirExists(t, string(place.Find(shown)))
}

// showDemo runs the demo and returns what it shows.
func showDemo(t *testing.T, as *syscall.Credential) string {
	gatherCoverage(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(stageDir, "secretctl"), "demo")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "GORACE=atexit_sleep_ms=10", "GOCOVERDIR=" + filepath.Join(stageDir, "cover")}
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: as}
	text, err := cmd.CombinedOutput()
	out := string(text)
	require.NoError(t, err, out)
	for _, shown := range []string{
		"$ secretctl init\nmade /tmp/",
		"secretctl: ready owner=",
		"secretctl get openai/billing-key",
		"not granted to you",
		"the log is not what was written",
		"which is removed now",
	} {
		require.Contains(t, out, shown)
	}
	dir := regexp.MustCompile(`/tmp/secretctl-demo\d+`).FindString(out)
	require.NotEmpty(t, dir)
	require.NoDirExists(t, dir)
	return out
}

func TestDemoHoldsStepsToTheirEnd(t *testing.T) {
	fails := exec.Command("/bin/sh", "-c", "exit 3").Run()
	for name, c := range map[string]struct {
		step    step
		err     error
		printed string
		wrong   string
	}{
		"as it must":               {step{exit: 3, shows: "denied"}, fails, "denied", ""},
		"allowed":                  {step{exit: 3}, nil, "sk-value", "it ended with 0 and must end with 3"},
		"denied":                   {step{shows: "sk-value"}, fails, "", "it ended with 3 and must end with 0"},
		"something else":           {step{shows: "sk-value"}, nil, "sk-other", `it must print "sk-value"`},
		"what must not be printed": {step{hides: "sk-value"}, nil, "sk-value", "it must not print what it printed"},
		"not at all":               {step{}, exec.ErrNotFound, "", "executable file not found"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.step.judge("secretctl get key", c.err, c.printed)
			if c.wrong == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "secretctl get key: "+c.wrong)
		})
	}
}
