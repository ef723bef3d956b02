package openbao_test

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/openbao"
	"secretctl/providers/openbao/openbaotest"
)

// world is a fake without a network, in a bubble whose clock the test moves.
type world struct {
	*testing.T
	server *openbaotest.Server
	admin  openbaotest.Admin
	own    *own
}

const here = "http://127.0.0.1:8200"

func inBubble(t *testing.T, role map[string]any, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		server := openbaotest.New(time.Now)
		t.Cleanup(openbao.Via(server.Here()))
		admin := openbaotest.Admin{URL: here, Token: openbaotest.Root, Via: server.Here()}
		w := &world{t, server, admin, ownOf(admin.NewRole(t, "secret", "secretctl", role))}
		server.Requests()
		test(w)
	})
}

func (w *world) open(more map[string]any) providers.Store {
	return open(w.T, w.own, byRole(here, more))
}

// openWith opens a store that does not log in by role.
func (w *world) openWith(option string, value any) providers.Store {
	return open(w.T, w.own, map[string]any{"address": here, "mount": "secret", option: value})
}

// asked counts what was asked since the last time, by the end of its path.
func (w *world) asked() map[string]int {
	out := make(map[string]int)
	for _, r := range w.server.Requests() {
		out[r[strings.LastIndexByte(r, '/')+1:]]++
	}
	return out
}

const (
	loginName = "login"
	renewName = "renew-self"
)

func TestOneLoginForAll(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		s := w.open(nil)
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				if err := s.Health(w.Context()); err != nil {
					w.Error(err)
				}
			})
		}
		all.Wait()
		require.Equal(w, 1, w.asked()[loginName])
	})
}

// TestFailedLoginForAll: all who wait share what a login fails with, and the next
// tries again.
func TestFailedLoginForAll(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		w.own.set("own/bao-secret-id", "wrong")
		s := w.open(nil)
		let := make(chan struct{})
		mend := w.server.Answer(func(wr http.ResponseWriter, _ *http.Request) {
			<-let
			wr.WriteHeader(http.StatusBadRequest)
		})
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				if _, err := s.Sum(w.Context(), "a", 1); err == nil {
					w.Error("it is let in")
				}
			})
		}
		synctest.Wait() // for the login
		close(let)
		all.Wait()
		mend()
		require.Equal(w, 1, w.asked()[loginName])
		_, err := s.Sum(w.Context(), "a", 1)
		requireError(w, err, providers.ErrRefused, "does not accept the role_id with the secret_id", "bao write -f -field=secret_id auth/approle/role/ROLE/secret-id | secretctl set own/bao-secret-id")
		w.own.set("own/bao-secret-id", w.admin.SecretID(w, "secretctl"))
		put(w, s, "a", 1, "x")
	})
}

func TestRenewedAtTwoThirds(t *testing.T) {
	inBubble(t, nil, func(w *world) { // an hour, and a day at most
		s := w.open(nil)
		put(w, s, "a", 1, "x")
		require.Equal(w, 1, w.asked()[loginName])
		time.Sleep(40*time.Minute - time.Second)
		synctest.Wait()
		require.Empty(w, w.asked())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(w, map[string]int{renewName: 1}, w.asked())
		time.Sleep(20 * time.Hour)
		synctest.Wait()
		require.Equal(w, map[string]int{renewName: 30}, w.asked())
		requireHas(w, s, "a", 1, "x")
		require.Equal(w, map[string]int{"@1": 1}, w.asked())
	})
}

// TestReplacedBeforeItsEnd: near the most time that a token may have, another
// takes its place, and nobody meets one that has run out.
func TestReplacedBeforeItsEnd(t *testing.T) {
	inBubble(t, map[string]any{"token_ttl": "4s", "token_max_ttl": "12s"}, func(w *world) {
		s := w.open(nil)
		put(w, s, "a", 1, "x")
		w.asked()
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			requireHas(w, s, "a", 1, "x")
		}
		asked := w.asked()
		require.Equal(w, 600, asked["@1"], "none was refused and sent again")
		require.LessOrEqual(w, asked[loginName], 6)
		require.Less(w, asked[renewName], 35)
	})
}

// TestRenewalTriedAgain: a server that is down for a moment costs no login.
func TestRenewalTriedAgain(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		s := w.open(nil)
		put(w, s, "a", 1, "x")
		time.Sleep(39 * time.Minute)
		unseal := w.server.Seal()
		time.Sleep(7 * time.Minute)
		unseal()
		time.Sleep(20 * time.Minute)
		w.asked()
		requireHas(w, s, "a", 1, "x")
		require.Zero(w, w.asked()[loginName])

		// Down for longer than the token lives: it logs in when it is asked.
		time.Sleep(10 * time.Minute)
		unseal = w.server.Seal()
		time.Sleep(3 * time.Hour)
		unseal()
		w.asked()
		requireHas(w, s, "a", 1, "x")
		require.Equal(w, 1, w.asked()[loginName])
	})
}

func TestRevokedTokenIsReplaced(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		s := w.open(nil)
		sum := put(w, s, "a", 1, "x")
		for name, do := range map[string]func() error{
			"get":    func() error { requireHas(w, s, "a", 1, "x"); return nil },
			"sum":    func() error { got, err := s.Sum(w.Context(), "a", 1); require.Equal(w, sum, got); return err },
			"put":    func() error { put(w, s, "b", 1, "y"); return nil },
			"delete": func() error { return s.Delete(w.Context(), "none", 1) },
			"health": func() error { return s.Health(w.Context()) },
		} {
			w.asked()
			w.server.RevokeTokens()
			require.NoError(w, do(), name)
			require.Equal(w, 1, w.asked()[loginName], name)
		}
	})
}

// TestNotAllowed: what a policy refuses costs no login, and the remedy is one
// that helps.
func TestNotAllowed(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		s := w.open(map[string]any{"prefix": "other"})
		_, err := s.Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrRefused, "the policy of the login is not enough", "bao policy write -address="+here+" secretctl -")
		w.asked()
		for range 5 {
			_, err = s.Put(w.Context(), "a", 1, value(w, "x"))
			require.ErrorIs(w, err, providers.ErrRefused)
			require.ErrorIs(w, s.Delete(w.Context(), "a", 1), providers.ErrRefused)
			require.ErrorIs(w, s.List(w.Context(), nil), providers.ErrRefused)
		}
		require.Zero(w, w.asked()[loginName])

		var told *providers.StoreError
		require.ErrorAs(w, err, &told)
		policy, _, _ := strings.Cut(strings.TrimPrefix(told.Remedy, "echo '"), "'")
		w.admin.Do(w, http.MethodPut, "sys/policies/acl/secretctl", map[string]any{"policy": policy})
		put(w, s, "a", 1, "x")
		requireHas(w, s, "a", 1, "x")
		require.NoError(w, s.List(w.Context(), func(secret.Name, uint64, providers.Sum) error { return nil }))
		require.NoError(w, s.Delete(w.Context(), "a", 1))
	})
}

func TestSecretIDUsedUp(t *testing.T) {
	inBubble(t, map[string]any{"secret_id_num_uses": 1}, func(w *world) {
		s := w.open(nil)
		put(w, s, "a", 1, "x")
		time.Sleep(20 * time.Hour) // the token is kept
		requireHas(w, s, "a", 1, "x")
		w.server.RevokeTokens()
		_, err := s.Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrRefused, "used up", "secretctl set own/bao-secret-id")
		w.own.set("own/bao-secret-id", w.admin.SecretID(w, "secretctl"))
		requireHas(w, s, "a", 1, "x")
	})
}

func TestWrapped(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		w.own.set("own/bao-secret-id", w.admin.Wrapped(w, "secretctl"))
		s := w.open(map[string]any{"wrapped": true})
		put(w, s, "a", 1, "x")
		require.Equal(w, 1, w.asked()["unwrap"])
		w.server.RevokeTokens()
		requireHas(w, s, "a", 1, "x")
		require.Zero(w, w.asked()["unwrap"], "what was in it is kept")

		// Another store, as after a start: it is used.
		again := w.open(map[string]any{"wrapped": true})
		_, err := again.Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrRefused, "somebody else has the secret_id", "-wrap-ttl=10m")
		w.own.set("own/bao-secret-id", w.admin.Wrapped(w, "secretctl"))
		requireHas(w, again, "a", 1, "x")

		// The one before takes the new one too, where its own serves no more.
		w.own.set("own/bao-secret-id", w.admin.Wrapped(w, "secretctl"))
		w.server.RevokeTokens()
		requireHas(w, s, "a", 1, "x")
	})
}

func TestToken(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		w.own.set("own/bao-token", w.server.Token(time.Hour, 0, "secretctl"))
		s := w.openWith("token", secret.Name("own/bao-token"))
		put(w, s, "a", 1, "x")
		time.Sleep(100 * time.Hour)
		requireHas(w, s, "a", 1, "x")
		require.GreaterOrEqual(w, w.asked()[renewName], 149)

		w.server.RevokeTokens()
		_, err := s.Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrRefused, `does not accept the token in "own/bao-token"`, "bao token create -period=24h -policy=secretctl -field=token | secretctl set own/bao-token")
		w.own.set("own/bao-token", w.server.Token(time.Hour, 0, "secretctl"))
		requireHas(w, s, "a", 1, "x")

		w.own.set("own/bao-token", "of two\nlines")
		w.server.RevokeTokens()
		_, err = s.Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrRefused, "has characters that none has", "bao")
	})
}

func TestRootTokenHasNoEnd(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		w.own.set("own/bao-token", openbaotest.Root)
		s := w.openWith("token", secret.Name("own/bao-token"))
		put(w, s, "a", 1, "x")
		time.Sleep(1000 * time.Hour)
		require.Zero(w, w.asked()[renewName])
		requireHas(w, s, "a", 1, "x")
	})
}

func TestTokenFile(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		file := filepath.Join(canary.Dir(w), "token")
		write := func(text string, mode os.FileMode) {
			require.NoError(w, os.WriteFile(file, []byte(text), mode))
			require.NoError(w, os.Chmod(file, mode))
		}
		s := w.openWith("token_file", file)
		_, err := s.Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrUnavailable, "is not there", "make it")
		token := w.server.Token(time.Hour, 0, "secretctl")
		write(token, 0o644)
		_, err = s.Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrRefused, "can be read by others", "chmod 600 "+file)
		write(token, 0o622)
		_, err = s.Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrUnavailable, "could be changed by others", "nobody else")
		write(token+"\n", 0o600)
		put(w, s, "a", 1, "x")
		w.asked()
		time.Sleep(2 * time.Hour)
		require.Empty(w, w.asked(), "renewing is for whoever writes it")

		_, err = s.Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrRefused, "it has run out or was revoked", "bao-agent")
		write(w.server.Token(time.Hour, 0, "secretctl"), 0o600)
		requireHas(w, s, "a", 1, "x")
	})
}

// TestLoginThatHangs: who waits for a login keeps its own time, and a login of the
// time before is not the answer of those who come after.
func TestLoginThatHangs(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		s := w.open(nil)
		mend := w.server.Hang()
		short, stop := contextOf(w, 2*time.Second)
		defer stop()
		began := time.Now()
		_, err := s.Get(short, "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrUnavailable, "longer than there was time", "bao status -address="+here)
		require.Equal(w, 2*time.Second, time.Since(began))
		done := make(chan error, 1)
		go func() { _, err := s.Put(w.Context(), "a", 1, value(w, "x")); done <- err }()
		time.Sleep(time.Second)
		mend()
		require.NoError(w, <-done)
	})
}

// TestClose: what is closed asks nothing more, and says so.
func TestClose(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		s := w.open(nil)
		put(w, s, "a", 1, "x")
		require.NoError(w, s.(interface{ Close() error }).Close())
		w.asked()
		time.Sleep(2 * time.Hour)
		_, err := s.Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrUnavailable, "the store is closed", "secretctl status")
		require.Empty(w, w.asked())
	})
}

func TestOwnSecretMissing(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		maps.DeleteFunc(w.own.all, func(n secret.Name, _ string) bool { return n == "own/bao-role-id" })
		_, err := w.open(nil).Get(w.Context(), "a", 1, providers.Sum{})
		requireError(w, err, providers.ErrUnavailable, "logging in: there is no secret own/bao-role-id", "bao read -field=role_id auth/approle/role/ROLE/role-id | secretctl set own/bao-role-id")
	})
}
