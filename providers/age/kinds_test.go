package age_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	plain "filippo.io/age"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/age"
	"secretctl/providers/storetest"
)

const passphrase = "correct horse"

// says is a person who gives these passphrases, one after the other.
func says(all ...string) func(string, int) (secret.Value, error) {
	return func(_ string, tries int) (secret.Value, error) {
		if tries >= len(all) {
			return secret.Value{}, &providers.StoreError{Kind: providers.ErrLocked, Problem: "nobody says more"}
		}
		return secret.New([]byte(all[tries]))
	}
}

// sshPrivate is a private key of ssh.
func sshPrivate(t testing.TB, passphrase string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}

// placed returns a disk in memory with the text as its identity.
func placed(t testing.TB, text string) durable.Disk {
	t.Helper()
	disk := durable.NewMem()
	require.NoError(t, durable.WriteFile(disk, age.IdentityFile, []byte(text), 0o600))
	return disk
}

// identities are the text of one of each kind, besides the one that is tried
// everywhere else.
func identities(t testing.TB) map[string]string {
	return map[string]string{
		"post-quantum": must1(plain.GenerateHybridIdentity()).String() + "\n",
		"ssh-ed25519":  sshPrivate(t, ""),
		"passphrase":   sealedIdentity(),
		"plugin":       pluginIdentity(plainly) + "\n",
	}
}

func TestContractOfEveryKind(t *testing.T) {
	for name, text := range identities(t) {
		t.Run(name, func(t *testing.T) {
			installed(t)
			storetest.Run(t, func(t *testing.T) storetest.Subject {
				d := &failing{Disk: placed(t, text)}
				return storetest.Subject{
					Store: age.Open(age.Options{Disk: d, Dir: "vault", Passphrase: says("horse")}),
					Break: func() func() { d.broken.Store(true); return func() { d.broken.Store(false) } },
				}
			})
		})
	}
}

// What is known of each kind, and what its files are sealed to: nothing else than
// what the age package makes of the same identity.
func TestKinds(t *testing.T) {
	installed(t)
	hybrid := must1(plain.GenerateHybridIdentity())
	private := sshPrivate(t, "")
	key := must1(ssh.ParsePrivateKey([]byte(private))).PublicKey()
	for text, want := range map[string]age.Public{
		testIdentity:            {Kind: "x25519", Recipient: ours.Recipient().String()},
		hybrid.String():         {Kind: "post-quantum", Recipient: hybrid.Recipient().String()},
		private:                 {Kind: "ssh-ed25519", Recipient: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))},
		sealedIdentity():        {Kind: "x25519", Recipient: ours.Recipient().String(), Passphrase: true},
		pluginIdentity(plainly): {Kind: "plugin secretctltest"},
		"#    Recipient: age1secretctltest1qqqq\n" + pluginIdentity(plainly): {Kind: "plugin secretctltest", Recipient: "age1secretctltest1qqqq"},
	} {
		s := age.Open(age.Options{Disk: placed(t, text), Dir: "vault", Passphrase: says("horse")})
		public, others, err := s.Identity()
		require.NoError(t, err)
		require.Equal(t, want, public)
		require.Empty(t, others)
	}
}

// The file of one kind is not opened by another, and a person is told what it
// takes.
func TestKindsApart(t *testing.T) {
	for kind, want := range map[string]string{
		"post-quantum": "it is sealed to no post-quantum recipient (age1pq1…), the only kind that is opened here",
		"ssh-ed25519":  "it is sealed to no recipient of kind ssh-ed25519, the only kind that is opened here",
		"passphrase":   "",
		"plugin":       "",
	} {
		t.Run(kind, func(t *testing.T) {
			installed(t)
			disk := placed(t, identities(t)[kind])
			require.NoError(t, durable.MkdirAll(disk, "vault/a", 0o700))
			require.NoError(t, durable.WriteFile(disk, rawFile, sealedTo(t, horse, ours.Recipient()), 0o600))
			s := age.Open(age.Options{Disk: disk, Dir: "vault", Passphrase: says("horse")})
			v, err := s.Get(t.Context(), rawName, rawVersion, providers.Sum{})
			if want == "" { // both are that key, in another dress
				require.NoError(t, err)
				v.Clear()
				return
			}
			require.EqualError(t, err, "opening vault/a/@1.age: "+want)
		})
	}
}

// A vault is sealed to post-quantum keys alone or to none.
func TestPostQuantumAlone(t *testing.T) {
	hybrid := must1(plain.GenerateHybridIdentity())
	other := must1(plain.GenerateHybridIdentity()).Recipient().String()
	classic := must1(plain.GenerateX25519Identity()).Recipient().String()
	for _, c := range []struct {
		identity, recipient string
		ok                  bool
	}{{testIdentity, classic, true}, {hybrid.String(), other, true}, {testIdentity, other, false}, {hybrid.String(), classic, false}} {
		s := age.Open(age.Options{Disk: placed(t, c.identity), Dir: "vault", Recipients: []string{c.recipient}})
		require.NoError(t, s.Unlock())
		err := s.Health(t.Context())
		_, sealing := s.Seal(must1(secret.New([]byte("x"))))
		require.Equal(t, err, sealing)
		if c.ok {
			require.NoError(t, err)
			continue
		}
		var wrong *providers.StoreError
		require.ErrorAs(t, err, &wrong)
		require.Contains(t, wrong.Problem, "no safer than the weaker")
		require.NotEmpty(t, wrong.Remedy)
	}
}

// The labels by which age itself refuses to mix them are passed on.
func TestLabelsArePassedOn(t *testing.T) {
	installed(t) // of a plugin's identity it is not known here what it is
	s := age.Open(age.Options{Disk: placed(t, pluginIdentity(plainly)), Dir: "vault",
		Recipients: []string{must1(plain.GenerateHybridIdentity()).Recipient().String()}})
	v, err := secret.New([]byte(canary.New(t, "horse")))
	require.NoError(t, err)
	defer v.Clear()
	_, err = s.Put(t.Context(), "a", 1, v)
	require.ErrorContains(t, err, "can't mix post-quantum and classic recipients")
}

// Each of the other recipients opens every version too, and nobody else.
func TestRecipients(t *testing.T) {
	paper := must1(plain.GenerateX25519Identity())
	key := must1(ssh.ParsePrivateKey([]byte(sshPrivate(t, "")))).PublicKey()
	disk := placed(t, testIdentity)
	s := age.Open(age.Options{Disk: disk, Dir: "vault", Recipients: []string{paper.Recipient().String(), string(ssh.MarshalAuthorizedKey(key))}})
	for _, size := range []int{0, 100, 70_000} {
		b := pattern(size)
		v, err := secret.New(bytes.Clone(b))
		require.NoError(t, err)
		_, err = s.Put(t.Context(), "a", uint64(size)+1, v)
		v.Clear()
		require.NoError(t, err)
		r, err := plain.Decrypt(bytes.NewReader(must1(durable.ReadFile(disk, s.File("a", uint64(size)+1)))), paper)
		require.NoError(t, err)
		var out bytes.Buffer
		_, err = out.ReadFrom(r)
		require.NoError(t, err)
		require.True(t, bytes.Equal(b, out.Bytes()))
		got, err := s.Get(t.Context(), "a", uint64(size)+1, providers.Sum{})
		require.NoError(t, err)
		got.Clear()
	}
	for _, bad := range []string{"", "age1", "age1pq1", "ssh-rsa AAAA", testIdentity, ours.Recipient().String()[:40], "ssh-ed25519 AAAA"} {
		problem, remedy := age.CheckRecipient(bad)
		require.NotEmpty(t, problem, bad)
		require.NotEmpty(t, remedy)
		if len(bad) > 8 {
			require.NotContains(t, problem, bad[len(bad)-8:])
		}
	}
	problem, _ := age.CheckRecipient(paper.Recipient().String())
	require.Empty(t, problem)
}

// A passphrase is asked for once, and again while it is wrong.
func TestPassphrase(t *testing.T) {
	disk := placed(t, sealedIdentity())
	requireKind := func(err, kind error) {
		t.Helper()
		var failed *providers.StoreError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, kind, failed.Kind)
	}
	requireKind(age.New(disk, "vault").Health(t.Context()), providers.ErrLocked)
	requireKind(age.Open(age.Options{Disk: disk, Passphrase: says("house", "")}).Unlock(), providers.ErrLocked)

	asked := 0
	s := age.Open(age.Options{Disk: disk, Dir: "vault", Passphrase: func(file string, tries int) (secret.Value, error) {
		require.Equal(t, age.IdentityFile, file)
		require.Equal(t, asked, tries)
		asked++
		return says("house", "", "horse")(file, tries)
	}})
	require.NoError(t, s.Unlock())
	require.NoError(t, s.Health(t.Context()))
	require.Equal(t, 3, asked)

	for name, text := range map[string]string{
		"sealed to a key":    string(sealedTo(t, horse, ours.Recipient())),
		"cut":                sealedIdentity()[:200],
		"not an identity":    string(sealedTo(t, horse, weak("horse"))),
		"a passphrase again": string(sealedTo(t, []byte(sealedIdentity()), weak("horse"))),
	} {
		err := age.Open(age.Options{Disk: placed(t, text), Passphrase: says("horse")}).Unlock()
		require.ErrorContains(t, err, "opening vault: identity.txt ", name)
		require.NotContains(t, err.Error(), string(horse), name)
	}
}

func weak(passphrase string) plain.Recipient {
	to := must1(plain.NewScryptRecipient(passphrase))
	to.SetWorkFactor(1)
	return to
}

// What Init makes is what it says, and Debian's age program opens what the vault
// has with it where it knows the kind.
func TestInitOfEveryKind(t *testing.T) {
	age.WorkFactor(t, 1)
	for name, want := range map[string]age.Wanted{
		"post-quantum":            {Kind: age.PostQuantum},
		"passphrase":              {Passphrase: must1(secret.New([]byte(passphrase)))},
		"post-quantum passphrase": {Kind: age.PostQuantum, Passphrase: must1(secret.New([]byte(passphrase)))},
	} {
		t.Run(name, func(t *testing.T) {
			disk := durable.NewMem()
			public, err := age.Init(disk, start, want)
			require.NoError(t, err)
			require.Equal(t, want.Kind == age.PostQuantum, public.Kind == age.PostQuantum)
			require.Equal(t, !want.Passphrase.IsZero(), public.Passphrase)
			text := must1(durable.ReadFile(disk, age.IdentityFile))
			require.Equal(t, public.Passphrase, bytes.HasPrefix(text, []byte("-----BEGIN AGE ENCRYPTED FILE-----\n")))
			require.Equal(t, public.Passphrase, !bytes.Contains(text, []byte("AGE-SECRET")))
			got, _, err := age.Open(age.Options{Disk: disk, Passphrase: says(passphrase)}).Identity()
			require.NoError(t, err)
			require.Equal(t, public, got)

			kept, err := age.Init(disk, start, want)
			require.NoError(t, err)
			require.Equal(t, public.Passphrase, kept.Passphrase)
			require.True(t, bytes.Equal(text, must1(durable.ReadFile(disk, age.IdentityFile))))
		})
	}
	_, err := age.Init(durable.NewMem(), start, age.Wanted{Kind: "plugin"})
	require.ErrorContains(t, err, "cannot be made here")
}

// A plugin that cannot be trusted, is not there, asks or does not answer is an
// error that says what to do.
func TestPluginTrouble(t *testing.T) {
	use := func(t *testing.T, how string) (*age.Store, error) {
		s := age.Open(age.Options{Disk: placed(t, pluginIdentity(how)), Dir: "vault"})
		v, err := secret.New([]byte(canary.New(t, "horse")))
		require.NoError(t, err)
		defer v.Clear()
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		_, err = s.Put(ctx, "a", 1, v)
		return s, err
	}
	requireRemedy := func(t *testing.T, err error, problem string) {
		t.Helper()
		var failed *providers.StoreError
		require.ErrorAs(t, err, &failed)
		require.Contains(t, failed.Error(), problem)
		require.NotEmpty(t, failed.Remedy)
	}
	t.Run("works", func(t *testing.T) {
		installed(t)
		_, err := use(t, plainly)
		require.NoError(t, err)
	})
	t.Run("not there", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, err := use(t, plainly)
		requireRemedy(t, err, "age-plugin-secretctltest, which the identity belongs to, is not in the PATH")
	})
	t.Run("an agent can write its directory", func(t *testing.T) {
		dir := installed(t)
		require.NoError(t, os.Chmod(dir, 0o777))
		_, err := use(t, plainly)
		requireRemedy(t, err, "could be changed by others")
	})
	t.Run("an agent can write one before it", func(t *testing.T) {
		dir, before := installed(t), t.TempDir()
		require.NoError(t, os.Chmod(before, 0o777))
		t.Setenv("PATH", before+":"+dir)
		_, err := use(t, plainly)
		requireRemedy(t, err, "could be changed by others")
		t.Setenv("PATH", filepath.Join(before, "not", "there")+":"+dir)
		_, err = use(t, plainly)
		requireRemedy(t, err, "could be changed by others")
		t.Setenv("PATH", dir+":"+before)
		_, err = use(t, plainly)
		require.NoError(t, err)
	})
	t.Run("the directory is not absolute", func(t *testing.T) {
		t.Setenv("PATH", ".:"+installed(t))
		_, err := use(t, plainly)
		requireRemedy(t, err, "not absolute")
	})
	t.Run("it asks", func(t *testing.T) {
		installed(t)
		_, err := use(t, asking)
		requireRemedy(t, err, "asked for something that nobody can be asked for")
	})
	t.Run("it tells", func(t *testing.T) {
		installed(t)
		var told []string
		s := age.Open(age.Options{Disk: placed(t, pluginIdentity(telling)), Tell: func(text string) { told = append(told, text) }})
		_, err := s.Seal(must1(secret.New([]byte("x"))))
		require.NoError(t, err)
		require.Equal(t, []string{"age-plugin-secretctltest says: touch me"}, told)
	})
	t.Run("it does not answer", func(t *testing.T) {
		hold := filepath.Join(installed(t), "hold")
		require.NoError(t, syscall.Mkfifo(hold, 0o600))
		t.Setenv(holdVar, hold)
		s := age.Open(age.Options{Disk: placed(t, pluginIdentity(silent)), Dir: "vault"})
		v, err := secret.New([]byte(canary.New(t, "horse")))
		require.NoError(t, err)
		defer v.Clear()
		for range 2 { // the second waits for the first
			ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
			_, err = s.Put(ctx, "a", 1, v)
			stop()
			requireRemedy(t, err, "does not answer")
		}
		go func() { // for whoever opens it, until it is gone
			for {
				f, err := os.OpenFile(hold, os.O_WRONLY, 0)
				if err != nil {
					return
				}
				f.Close()
			}
		}()
		_, err = s.Put(t.Context(), "a", 1, v)
		require.NoError(t, err, "it goes on when the plugin does")
		require.NoError(t, os.Rename(hold, hold+"2"))
		f, err := os.OpenFile(hold+"2", os.O_RDWR, 0) // so that the last open ends
		require.NoError(t, err)
		require.NoError(t, f.Close())
	})
}

// A key of ssh that has a passphrase, or is of another type, is refused with what
// to do.
func TestKeysOfSSH(t *testing.T) {
	err := age.New(placed(t, sshPrivate(t, "horse")), "vault").Unlock()
	require.ErrorContains(t, err, "has a passphrase of its own")
	require.ErrorContains(t, err, "ssh-keygen -p")
}
