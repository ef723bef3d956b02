package age_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	plain "filippo.io/age"
	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/age"
)

func value(t *testing.T, text string) secret.Value {
	t.Helper()
	v, err := secret.New([]byte(text))
	require.NoError(t, err)
	t.Cleanup(v.Clear)
	return v
}

// opens checks that a store on the disk opens all versions, each of which is the
// name's canary.
func opens(t *testing.T, disk durable.Disk, passphrases ...string) {
	t.Helper()
	opensAll(t, age.Open(age.Options{Disk: disk, Dir: "vault", Passphrase: says(passphrases...)}))
}

func opensAll(t *testing.T, s *age.Store) {
	t.Helper()
	n := 0
	require.NoError(t, s.List(t.Context(), func(name secret.Name, version uint64, sum providers.Sum) error {
		v, err := s.Get(t.Context(), name, version, sum)
		require.NoError(t, err)
		require.True(t, v.Equal(value(t, canary.New(t, string(name)))))
		v.Clear()
		n++
		return nil
	}))
	require.Equal(t, 3, n)
}

// TestResealToEveryKind: from every kind of identity to every kind that is made,
// and to what a file has; halfway all opens with what opened it before, and at the
// end with the new one alone.
func TestResealToEveryKind(t *testing.T) {
	age.WorkFactor(t, 1)
	from := identities(t)
	from["x25519"] = testIdentity
	for name, text := range from {
		for to, want := range map[string]age.Wanted{
			"x25519":         {},
			"post-quantum":   {Kind: age.PostQuantum},
			"new passphrase": {Passphrase: value(t, "house")},
			"same":           {Passphrase: value(t, "horse")},
			"ssh":            {From: "ssh"},
		} {
			t.Run(name+" to "+to, func(t *testing.T) {
				installed(t)
				disk := placed(t, text)
				s := age.Open(age.Options{Disk: disk, Dir: "vault", Passphrase: says("horse")})
				for _, n := range []secret.Name{"a", "b/c", "d"} {
					_, err := s.Put(t.Context(), n, 1, value(t, canary.New(t, string(n))))
					require.NoError(t, err)
				}
				if want.From != "" {
					want.From = filepath.Join(t.TempDir(), "key")
					require.NoError(t, os.WriteFile(want.From, []byte(sshPrivate(t, "")), 0o600))
				}
				if name == "passphrase" {
					want.Current = value(t, "horse")
				}
				kept, err := s.Seal(value(t, canary.New(t, "kept")))
				require.NoError(t, err)

				before := "horse"
				if name != "passphrase" && !want.Passphrase.IsZero() { // there is one alone, the new one
					require.NoError(t, want.Passphrase.Use(func(b []byte) error { before = string(b); return nil }))
				}
				r, err := s.Reseal(start, want)
				require.NoError(t, err)
				require.False(t, r.GoesOn)
				opens(t, disk, before)
				stage(t, r, "b/c")
				opens(t, disk, before)

				s = age.Open(age.Options{Disk: disk, Dir: "vault", Passphrase: says(before)})
				require.True(t, s.Halfway())
				r, err = s.Reseal(start, age.Wanted{})
				require.NoError(t, err)
				require.True(t, r.GoesOn)
				one, two := stage(t, r, "b/c")
				require.Equal(t, one, two, "it was sealed anew before")
				one, two = stage(t, r, "a")
				require.NotEqual(t, one, two)
				stage(t, r, "d")
				again, err := r.Seal(kept)
				require.NoError(t, err)
				require.NoError(t, r.Finish())
				opens(t, disk, before)
				_, err = disk.Stat("identity.next.txt")
				require.ErrorIs(t, err, fs.ErrNotExist)
				v, err := s.Open(again)
				require.NoError(t, err)
				require.True(t, v.Equal(value(t, canary.New(t, "kept"))))
				v.Clear()
				_, err = s.Open(kept)
				require.Error(t, err)
				public, _, err := s.Identity()
				require.NoError(t, err)
				require.Equal(t, r.Public.Recipient, public.Recipient)
			})
		}
	}
}

func stage(t *testing.T, r *age.Resealing, name secret.Name) (before, after providers.Sum) {
	t.Helper()
	before, after, err := r.Stage(t.Context(), name, 1)
	require.NoError(t, err)
	require.NoError(t, r.Commit())
	return before, after
}

// The passphrase that an identity is to have it gets last, so that nobody needs
// two in between.
func TestResealChangesThePassphrase(t *testing.T) {
	age.WorkFactor(t, 1)
	for name, want := range map[string]age.Wanted{
		"another": {Current: value(t, "horse"), Passphrase: value(t, "house")},
		"none":    {Current: value(t, "horse")},
	} {
		disk := placed(t, sealedIdentity())
		s := age.Open(age.Options{Disk: disk, Dir: "vault", Passphrase: says("horse")})
		r, err := s.Reseal(start, want)
		require.NoError(t, err)
		require.NoError(t, age.Open(age.Options{Disk: disk, Passphrase: says("horse")}).Unlock(), name)
		require.NoError(t, r.Finish())
		if name == "none" {
			require.True(t, bytes.HasPrefix(must1(durable.ReadFile(disk, age.IdentityFile)), []byte("# created: ")))
			continue
		}
		require.Error(t, age.Open(age.Options{Disk: disk, Passphrase: says("horse")}).Unlock())
		require.NoError(t, age.Open(age.Options{Disk: disk, Passphrase: says("house")}).Unlock())
	}
}

// What cannot be done is refused before anything is written.
func TestResealRefuses(t *testing.T) {
	paper := must1(plain.GenerateX25519Identity()).Recipient().String()
	open := filepath.Join(t.TempDir(), "open")
	require.NoError(t, os.WriteFile(open, []byte(must1(plain.GenerateX25519Identity()).String()), 0o644))
	ours := filepath.Join(t.TempDir(), "ours")
	require.NoError(t, os.WriteFile(ours, []byte(testIdentity), 0o600))
	for what, c := range map[string]struct {
		options age.Options
		want    age.Wanted
	}{
		"not in the home":          {age.Options{Identity: "/etc/identity"}, age.Wanted{}},
		"not with the recipients":  {age.Options{Recipients: []string{paper}}, age.Wanted{Kind: age.PostQuantum}},
		"another may have read it": {age.Options{}, age.Wanted{From: open}},
		"the one that we have":     {age.Options{}, age.Wanted{From: ours}},
		"it is not there":          {age.Options{}, age.Wanted{From: "/nowhere"}},
		"no kind that is made":     {age.Options{}, age.Wanted{Kind: "rsa"}},
	} {
		c.options.Disk, c.options.Dir = placed(t, testIdentity), "vault"
		_, err := age.Open(c.options).Reseal(start, c.want)
		require.Error(t, err, what)
		_, err = c.options.Disk.Stat("identity.next.txt")
		require.ErrorIs(t, err, fs.ErrNotExist, what)
	}
}

// A new identity that others may have read, or that is damaged, is said and not
// passed over: what is sealed to it would not open.
func TestResealHalfOfAnIdentity(t *testing.T) {
	for _, text := range []string{"", "AGE-SECRET-KEY-1", string(horse)} {
		disk := placed(t, testIdentity)
		require.NoError(t, durable.WriteFile(disk, "identity.next.txt", []byte(text), 0o600))
		require.ErrorContains(t, age.New(disk, "vault").Unlock(), "identity.next.txt")
	}
}
