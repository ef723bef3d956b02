package age_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	plain "filippo.io/age"
	"filippo.io/age/armor"
	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/age"
)

func TestInit(t *testing.T) {
	disk, dir := newHome(t)
	file := filepath.Join(dir, age.IdentityFile)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Regexp(t, `\A# created: 2026-07-01T12:00:00Z\n# public key: age1[0-9a-z]{58}\nAGE-SECRET-KEY-1[0-9A-Z]{58}\n\z`, string(text))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())

	public, err := age.Init(disk, start.Add(time.Hour), age.Wanted{})
	require.NoError(t, err)
	require.Contains(t, string(text), "public key: "+public.Recipient+"\n")
	require.Equal(t, age.Public{Kind: age.X25519, Recipient: public.Recipient}, public)
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, text, again, "a vault cannot be opened with a new identity")
}

func TestInitOfAFullDisk(t *testing.T) {
	full := errors.New("no space")
	disk := &durable.Hook{Disk: durable.NewMem(), Before: func(durable.Op) durable.Verdict { return durable.Verdict{Err: full} }}
	_, err := age.Init(disk, start, age.Wanted{})
	require.ErrorIs(t, err, full)
	require.ErrorContains(t, err, "writing identity.txt")
}

func TestNoIdentity(t *testing.T) {
	dir := canary.Dir(t)
	disk, err := durable.OpenHome(dir)
	require.NoError(t, err)
	s := age.New(disk, "vault")
	require.ErrorIs(t, s.Health(t.Context()), fs.ErrNotExist)
	v, err := secret.New([]byte(canary.New(t, "horse")))
	require.NoError(t, err)
	defer v.Clear()
	_, err = s.Put(t.Context(), "a", 1, v)
	require.ErrorContains(t, err, "opening vault: ")
	require.NoDirExists(t, filepath.Join(dir, "vault"))

	_, err = age.Init(disk, start, age.Wanted{})
	require.NoError(t, err)
	sum, err := s.Put(t.Context(), "a", 1, v)
	require.NoError(t, err, "it is tried again")

	require.NoError(t, os.Remove(filepath.Join(dir, age.IdentityFile)))
	_, err = age.New(disk, "vault").Get(t.Context(), "a", 1, sum)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, providers.ErrAbsent, "a vault that cannot be opened is not an empty one")
}

// sealedIdentity is an identity file with a passphrase.
func sealedIdentity() string {
	to := must1(plain.NewScryptRecipient("horse"))
	to.SetWorkFactor(1)
	var out strings.Builder
	armored := armor.NewWriter(&out)
	w := must1(plain.Encrypt(armored, to))
	must1(w.Write([]byte(testIdentity)))
	must1(0, w.Close())
	must1(0, armored.Close())
	return out.String()
}

func TestBadIdentity(t *testing.T) {
	const (
		notAge = "opening vault: identity.txt is not a file with an age identity (AGE-SECRET-KEY-1…)"
		notOne = "opening vault: identity.txt must hold one identity (AGE-SECRET-KEY-1…) and no other"
		notSSH = "opening vault: identity.txt is not a file with an ssh key of type ed25519"
		plugin = "opening vault: identity.txt is not a file with an age identity (AGE-PLUGIN-…): it is mistyped"
	)
	for name, tt := range map[string]struct{ text, want string }{
		"empty":           {"", notAge},
		"comments":        {"# public key: age1…\n", notAge},
		"text":            {"correct horse", notAge},
		"binary":          {"\x00\xff\n", notAge},
		"lower case":      {strings.ToLower(testIdentity), notAge},
		"cut":             {testIdentity[:len(testIdentity)-1], notAge},
		"mistyped":        {testIdentity[:len(testIdentity)-1] + "Q", notAge},
		"the public half": {ours.Recipient().String(), notAge},
		"a key of ssh":    {"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE=\n-----END OPENSSH PRIVATE KEY-----\n", notSSH},
		"a plugin's":      {"AGE-PLUGIN-YUBIKEY-1QQQQQQQQQQQQQQQQQQ", plugin},
		"two":             {testIdentity + "\n" + must1(plain.GenerateX25519Identity()).String() + "\n", notOne},
		"the same twice":  {testIdentity + "\n" + testIdentity + "\n", notOne},
		"a hybrid too":    {testIdentity + "\n" + must1(plain.GenerateHybridIdentity()).String(), notOne},
	} {
		disk := durable.NewMem()
		require.NoError(t, durable.WriteFile(disk, age.IdentityFile, []byte(tt.text), 0o600))
		require.EqualError(t, age.New(disk, "vault").Health(t.Context()), tt.want, name)

		_, err := age.Init(disk, start, age.Wanted{})
		require.EqualError(t, err, tt.want, name)
		kept, err := durable.ReadFile(disk, age.IdentityFile)
		require.NoError(t, err)
		require.True(t, bytes.Equal([]byte(tt.text), kept), "%s: what is there is kept", name)
	}
}

func TestOpenIdentity(t *testing.T) {
	disk, dir := newHome(t)
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o620, 0o604, 0o601, 0o666, 0o700, 0o400} {
		require.NoError(t, os.Chmod(filepath.Join(dir, age.IdentityFile), mode))
		err := age.New(disk, "vault").Health(t.Context())
		if mode&0o077 == 0 {
			require.NoError(t, err, mode)
		} else {
			require.ErrorContains(t, err, "so others may have read it: chmod 600 it", mode)
		}
	}
}

// What is in the identity's place and is no file is neither followed nor waited
// for.
func TestIdentityOfAnotherKind(t *testing.T) {
	for name, place := range map[string]func(file string) error{
		"link":      func(file string) error { return os.Symlink("moved.txt", file) },
		"fifo":      func(file string) error { return syscall.Mkfifo(file, 0o600) },
		"directory": func(file string) error { return os.Mkdir(file, 0o700) },
	} {
		disk, dir := newHome(t)
		file := filepath.Join(dir, age.IdentityFile)
		require.NoError(t, os.Rename(file, filepath.Join(dir, "moved.txt")))
		require.NoError(t, place(file), name)
		require.EqualError(t, age.New(disk, "vault").Health(t.Context()), "opening vault: identity.txt is not a file", name)
		_, err := age.Init(disk, start, age.Wanted{})
		require.EqualError(t, err, "opening vault: identity.txt is not a file", name)
	}
}
