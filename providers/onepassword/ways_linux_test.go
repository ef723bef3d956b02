package onepassword_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/onepassword"
	"secretctl/providers/onepassword/optest"
	"secretctl/providers/onepassword/source"
	"secretctl/providers/onepassword/wire"
	"secretctl/providers/storetest"
)

// none is a source whose library must not be asked.
func none() *source.Source {
	return &source.Source{Connect: nil, Transport: &source.Transport{Base: &http.Transport{DisableKeepAlives: true}}}
}

// inside is one for which the op program is a call, since a thousand processes take
// minutes; [TestOthersStay] and others have it as a process.
func inside() *source.Source {
	s := none()
	s.RunOp = func(cmd *exec.Cmd) error {
		if optest.Op(cmd.Args[1:], cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr) != 0 {
			return new(exec.ExitError)
		}
		return nil
	}
	return s
}

// way is a store that is reached without the library, and what it has.
type way struct {
	*onepassword.Store
	account *optest.Plain
	fail    func() (mend func())
}

// keep has a person keep a value in it.
func (w *way) keep(t *testing.T) func([]byte) (string, func([]byte)) {
	return func(value []byte) (string, func([]byte)) {
		change := func(value []byte) { require.NoError(t, w.account.Keep("github", "keys", "token", string(value))) }
		change(value)
		return "op://Agents/GitHub/keys/token", change
	}
}

// byConnect opens a store by a fake Connect server.
func byConnect(t *testing.T, setting onepassword.Setting) (*way, *optest.Connect) {
	c := optest.NewConnect()
	t.Cleanup(c.Close)
	setting.Token, setting.Dial, setting.AskHealth, setting.Via, setting.At = optest.ConnectToken, dialSource(none), true, wire.ViaConnect, c.URL
	w := &way{Store: setting.Open(), account: c.Account, fail: func() func() {
		c.Status.Store(http.StatusServiceUnavailable)
		return func() { c.Status.Store(0) }
	}}
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w, c
}

// byOp opens a store by a fake op program.
func byOp(t *testing.T, setting onepassword.Setting) (w *way, path string) {
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	program := filepath.Join(dir, "op")
	require.NoError(t, os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\nexec %q %s \"$@\"\n", self, opArg), 0o755))
	path = filepath.Join(dir, "account")
	setting.Token, setting.AskHealth, setting.Via, setting.At = "ops_fake:"+path, true, wire.ViaOp, program
	if setting.Dial == nil {
		setting.Dial = dialSource(none)
	}
	w = &way{Store: setting.Open(), account: &optest.Plain{Path: path}, fail: func() func() {
		require.NoError(t, os.WriteFile(path+".fail", []byte("dial tcp: lookup my.1password.com: no such host"), 0o600))
		return func() { require.NoError(t, os.Remove(path+".fail")) }
	}}
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w, path
}

func TestConnectContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		w, _ := byConnect(t, onepassword.Setting{})
		return storetest.Subject{Store: w, Break: w.fail, Keep: w.keep(t)}
	})
}

func TestOpContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		w, _ := byOp(t, onepassword.Setting{Answer: time.Minute, Dial: dialSource(inside)})
		return storetest.Subject{Store: w, Break: w.fail, Keep: w.keep(t)}
	})
}

// TestOthersStay: what a person has put into an item of ours, and what we do not
// understand of it, is there after a version was put and another deleted; and an item
// of theirs is left alone.
func TestOthersStay(t *testing.T) {
	byWay := map[string]func() *way{
		"connect": func() *way { w, _ := byConnect(t, onepassword.Setting{}); return w },
		"op":      func() *way { w, _ := byOp(t, onepassword.Setting{}); return w },
	}
	for name, open := range byWay {
		w := open()
		require.NoError(t, w.account.Keep("github", "keys", "token", "a"), name)
		theirs := w.account.JSON("github")
		put(t, w, "a", "value")
		require.NoError(t, w.account.Touch("a"), name)
		v, err := secret.New([]byte("second"))
		require.NoError(t, err)
		_, err = w.Put(t.Context(), "a", 2, v)
		v.Clear()
		require.NoError(t, err, name)
		requireTouched(t, w.account.JSON("a"), name)
		get(t, w, "a", "value")
		require.NoError(t, w.Delete(t.Context(), "a", 1), name)
		requireTouched(t, w.account.JSON("a"), name)
		require.NoError(t, w.Delete(t.Context(), "a", 2), name)
		requireTouched(t, w.account.JSON("a"), name)
		require.Equal(t, theirs, w.account.JSON("github"), name)

		// And what a person has removed is not there.
		put(t, w, "b", "value")
		require.NoError(t, w.account.Keep("b", "", "", ""), name)
		_, err = w.Sum(t.Context(), "b", 1)
		require.ErrorIs(t, err, providers.ErrAbsent, name)
		put(t, w, "c", "value")
		require.NoError(t, w.account.Keep("c", "", "", ""), name)
		require.NoError(t, w.Delete(t.Context(), "c", 1), name)
	}
}

// requireTouched checks that what [optest.Plain.Touch] put into an item is there.
func requireTouched(t *testing.T, item map[string]any, name string) {
	t.Helper()
	require.NotNil(t, item, name)
	require.Equal(t, true, item["favorite"], name)
	require.Contains(t, fmt.Sprint(item["fields"]), "otpauth://theirs", name)
	require.Contains(t, fmt.Sprint(item["sections"]), "of theirs", name)
	require.Contains(t, fmt.Sprint(item["fields"]), "entropy", name)
}

// TestConnectRefuses: what a Connect server says is told apart, and a token that is
// refused is not tried again for a while.
func TestConnectRefuses(t *testing.T) {
	for status, want := range map[int]struct {
		kind error
		text string
	}{
		http.StatusBadRequest:          {providers.ErrRefused, "does not take the request"},
		http.StatusUnauthorized:        {providers.ErrRefused, "does not take the token"},
		http.StatusForbidden:           {providers.ErrRefused, "does not let this token do this"},
		http.StatusTooManyRequests:     {providers.ErrRateLimited, "more often"},
		http.StatusInternalServerError: {providers.ErrUnavailable, "trouble of its own (500)"},
		http.StatusFound:               {providers.ErrUnavailable, "sent us elsewhere"},
		http.StatusNotFound:            {providers.ErrUnavailable, "no Connect server at that address"},
	} {
		w, c := byConnect(t, onepassword.Setting{})
		c.Status.Store(int32(status))
		_, err := w.Get(t.Context(), "a", 1, providers.Sum{})
		require.ErrorIs(t, err, want.kind, "%d", status)
		require.ErrorContains(t, err, want.text, "%d", status)
		require.NotErrorIs(t, err, providers.ErrAbsent)
		n := c.Asked.Load()
		_, err = w.Refer(t.Context(), "op://Agents/a/b")
		require.ErrorIs(t, err, want.kind, "%d", status)
		if status == http.StatusUnauthorized || status == http.StatusTooManyRequests {
			require.Equal(t, n, c.Asked.Load(), "%d", status)
		}
	}

	w, c := byConnect(t, onepassword.Setting{})
	c.Close()
	_, err := w.Get(t.Context(), "a", 1, providers.Sum{})
	require.ErrorIs(t, err, providers.ErrUnavailable)
	require.ErrorContains(t, err, "could not be reached")
	require.NotContains(t, err.Error(), optest.ConnectToken)

	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	defer odd.Close()
	s := onepassword.Setting{Token: optest.ConnectToken, Dial: dialSource(none), Via: wire.ViaConnect, At: odd.URL}.Open()
	defer func() { require.NoError(t, s.Close()) }()
	_, err = s.Get(t.Context(), "a", 1, providers.Sum{})
	require.ErrorContains(t, err, "is not what it documents")
	require.Contains(t, w.Note(), "a Connect server has no limit")
}

// TestOpRefuses: what the program says is told apart as far as it can be, and never
// taken for a secret that is not there; nor is a program that others can change run.
func TestOpRefuses(t *testing.T) {
	for words, want := range map[string]struct {
		kind error
		text string
	}{
		"(429) Too Many Requests: You have exceeded the rate limit": {providers.ErrRateLimited, "more often"},
		"invalid service account token, please make sure":           {providers.ErrRefused, "does not take the token"},
		"(403) Forbidden: you do not have permission":               {providers.ErrRefused, "does not let the service account"},
		"dial tcp: lookup my.1password.com: no such host":           {providers.ErrUnavailable, "could not reach"},
		`"a" isn't an item in the "Agents" vault.`:                  {providers.ErrUnavailable, "not told apart"},
	} {
		w, path := byOp(t, onepassword.Setting{})
		require.NoError(t, os.WriteFile(path+".fail", []byte(words), 0o600))
		_, err := w.Get(t.Context(), "a", 1, providers.Sum{})
		require.ErrorIs(t, err, want.kind, words)
		require.ErrorContains(t, err, want.text, words)
		require.NotContains(t, err.Error(), words)
	}

	w, path := byOp(t, onepassword.Setting{Answer: 3 * time.Second})
	require.NoError(t, os.WriteFile(path+".fail", []byte("hang"), 0o600))
	began := time.Now()
	ctx, stop := context.WithTimeout(t.Context(), 15*time.Second)
	defer stop()
	_, err := w.Get(ctx, "a", 1, providers.Sum{})
	require.ErrorIs(t, err, providers.ErrUnavailable)
	require.Less(t, time.Since(began), 8*time.Second)

	w, path = byOp(t, onepassword.Setting{})
	require.NoError(t, os.Chmod(filepath.Join(filepath.Dir(path), "op"), 0o777))
	_, err = w.Get(t.Context(), "a", 1, providers.Sum{})
	require.ErrorContains(t, err, "could be changed by others")
	require.NoError(t, os.Remove(filepath.Join(filepath.Dir(path), "op")))
	_, err = w.Get(t.Context(), "a", 1, providers.Sum{})
	require.ErrorContains(t, err, "is not there")
}

// TestChangedMeanwhile: an item that somebody changed since it was read is not
// replaced by what it was.
func TestChangedMeanwhile(t *testing.T) {
	w, c := byConnect(t, onepassword.Setting{})
	put(t, w, "a", "value")
	// Between the reading for the change and the reading for the replacement.
	c.Before = func(r *http.Request, n int) {
		if r.Method == http.MethodGet && n == 2 {
			require.NoError(t, c.Account.Touch("a"))
		}
	}
	v, err := secret.New([]byte("second"))
	require.NoError(t, err)
	defer v.Clear()
	c.Counted.Store(0)
	_, err = w.Put(t.Context(), "a", 2, v)
	require.ErrorContains(t, err, "was changed in 1Password meanwhile")
	require.False(t, errors.Is(err, providers.ErrExists))
	c.Before = nil
	_, err = w.Put(t.Context(), "a", 2, v)
	require.NoError(t, err)
	requireTouched(t, c.Account.JSON("a"), "connect")
}

// TestSections: a reference means one field of one item that is not archived.
func TestSections(t *testing.T) {
	w, c := byConnect(t, onepassword.Setting{})
	require.NoError(t, c.Account.Keep("any", "keys", "token", "x")) // so that there is an account
	const id, gone = "githubgithubgithubgithubgi", "oldoldoldoldoldoldoldoldol"
	field := func(id, section, value string) any {
		return map[string]any{"id": id, "type": "CONCEALED", "label": "token", "value": value, "section": map[string]any{"id": section}}
	}
	for id, state := range map[string]any{id: nil, gone: "ARCHIVED"} {
		c.Account.Items[id] = map[string]any{
			"id": id, "title": id[:6], "category": "LOGIN", "vault": map[string]any{"id": c.Account.Vault}, "version": float64(1), "state": state,
			"sections": []any{map[string]any{"id": "s1", "label": "test"}, map[string]any{"id": "s2", "label": "Live"}},
			"fields":   []any{field("f1", "s1", "of test"), field("f2", "s2", "of live")},
		}
	}
	for ref, want := range map[string]string{
		"op://Agents/github/test/token":                          "of test",
		"op://Agents/github/live/token":                          "of live",
		"op://agents/" + id + "/s2/f2":                           "of live",
		"op://" + c.Account.Vault + "/GITHUB/f1":                 "of test",
		"op://Agents/github/token":                               "more than one field",
		"op://Agents/github/s1/f2":                               "",
		"op://Agents/github/none/token":                          "",
		"op://Agents/oldold/test/token":                          "",
		"op://Others/github/test/token":                          "",
		"op://" + "othervaultothervaultotherv" + "/github/token": "",
	} {
		v, err := w.Refer(t.Context(), ref)
		if err != nil {
			require.True(t, want == "" && errors.Is(err, providers.ErrAbsent) || want != "" && errors.Is(err, providers.ErrRefused), "%s: %v", ref, err)
			require.ErrorContains(t, err, want, ref)
			continue
		}
		require.NoError(t, v.Use(func(b []byte) error { require.Equal(t, want, string(b), ref); return nil }))
		v.Clear()
	}

	put(t, w, "a", "value")
	for _, item := range c.Account.Items {
		if item["title"] == "a" {
			item["state"] = "ARCHIVED"
		}
	}
	w.Drop() // who starts anew does not know it by its ID
	_, err := w.Sum(t.Context(), "a", 1)
	require.ErrorIs(t, err, providers.ErrAbsent)
}
