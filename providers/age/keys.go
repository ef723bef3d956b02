package age

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Public is what may be known of an identity.
type Public struct {
	Kind       string `json:"kind"`       // "x25519", "post-quantum", "ssh-ed25519", or "plugin NAME"
	Recipient  string `json:"recipient"`  // what is sealed to; "": only its plugin knows
	Passphrase bool   `json:"passphrase"` // the file it is in has one
}

// The kinds of identities that are made here.
const (
	X25519      = "x25519"
	PostQuantum = "post-quantum"
)

const sshKey = "ssh-ed25519" // the kind, and the stanza

// one is an identity: what opens, and what it opens is sealed to.
type one struct {
	Public
	id     age.Identity
	to     age.Recipient
	stanza string // what a file that it opens has; "": only its plugin knows
	called string // what such a recipient is called, for people
}

// keys are what a store opens and seals with.
type keys struct {
	main  *one
	next  *one            // that the vault is being sealed to anew; nil: it is not
	ids   []age.Identity  // that are tried, in this order
	extra []age.Recipient // that each file is sealed to besides the main one
	mixed error           // why nothing can be sealed, though all opens; nil: it can

	// turn is not nil where a plugin is called, which is one at a time: it may stand
	// on a device, and wait for a person.
	turn chan struct{}
}

// key returns what the store opens and seals with. It is read when it is first
// needed, and until that works. Who waits for another to read it waits no longer
// than they want to.
func (s *Store) key(ctx context.Context) (*keys, error) {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		return nil, &providers.StoreError{Kind: providers.ErrUnavailable, Err: ctx.Err(),
			Problem: fmt.Sprintf("opening vault: %s is still being read", s.options.place())}
	}
	if s.keys == nil {
		k, err := s.options.load(ctx)
		if err != nil {
			return nil, err
		}
		s.keys = k
	}
	return s.keys, nil
}

// Unlock reads the identity, and asks for its passphrase if it has one.
func (s *Store) Unlock() error {
	_, err := s.key(context.Background())
	return providers.Unavailable(err)
}

// HasPassphrase reports whether one is needed to read the identity. A keyring is
// not asked: none is needed there.
func (s *Store) HasPassphrase() bool {
	if s.InKeyring() {
		return false
	}
	text, err := s.options.place().read(context.Background())
	defer clear(text)
	return err == nil && encrypted(text)
}

// Identity returns what may be known of the identity, and who else each version
// is sealed to.
func (s *Store) Identity() (Public, []string, error) {
	k, err := s.key(context.Background())
	if err != nil {
		return Public{}, nil, providers.Unavailable(err)
	}
	return k.main.Public, slices.Clone(s.options.Recipients), nil
}

// load reads the identity.
func (o *Options) load(ctx context.Context) (*keys, error) {
	ctx, stop := o.inTime(ctx)
	defer stop()
	ask, done := o.asker()
	defer done()
	main, err := o.read(ctx, o.place(), ask)
	if err != nil {
		return nil, err
	}
	k, err := o.with(main)
	if err == nil {
		err = o.addNext(ctx, k, ask)
	}
	return k, err
}

// with returns the keys of an identity.
func (o *Options) with(main *one) (*keys, error) {
	k := &keys{main: main, ids: []age.Identity{main.id}}
	if _, is := main.id.(*pluginKey); is {
		k.turn = make(chan struct{}, 1)
	}
	for _, text := range o.Recipients {
		to, pq, err := recipient(text)
		if err != nil {
			return nil, fmt.Errorf("opening vault: %w", err)
		}
		if k.turn == nil && pq != (main.Kind == PostQuantum) {
			k.mixed = &providers.StoreError{Kind: providers.ErrUnavailable,
				Problem: fmt.Sprintf("sealing: the recipient %.24s… cannot be beside an identity of kind %s: what is sealed to both is no safer than the weaker", text, main.Kind),
				Remedy:  "in [store.age] of secretctl.toml: recipients that are all age1pq1… beside a post-quantum identity, and none of them beside another"}
		}
		k.extra = append(k.extra, to)
	}
	return k, nil
}

// read reads the identity in a place.
func (o *Options) read(ctx context.Context, p place, ask asker) (*one, error) {
	text, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return o.understand(p.String(), text, ask)
}

// understand reads the text of an identity.
func (o *Options) understand(shown string, text []byte, ask asker) (*one, error) {
	if !encrypted(text) {
		return o.parse(shown, text)
	}
	plain, err := decrypt(shown, text, ask)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	if encrypted(plain) {
		return nil, fmt.Errorf("opening vault: %s has a passphrase inside of a passphrase", shown)
	}
	id, err := o.parse(shown, plain)
	if err == nil {
		id.Passphrase = true
	}
	return id, err
}

var sshBegin = []byte("-----BEGIN ")

// parse reads an identity that has no passphrase. What it says is never in an
// error.
func (o *Options) parse(file string, text []byte) (*one, error) {
	if bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), sshBegin) {
		return parseSSH(file, text)
	}
	var lines []string
	for line := range bytes.Lines(text) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 && line[0] != '#' {
			lines = append(lines, string(line))
		}
	}
	switch {
	case len(lines) == 1 && strings.HasPrefix(lines[0], "AGE-PLUGIN-"):
		return o.parsePlugin(file, lines[0], text)
	case len(lines) > 1:
		return nil, fmt.Errorf("opening vault: %s must hold one identity (AGE-SECRET-KEY-1…) and no other", file)
	}
	ids, err := age.ParseIdentities(bytes.NewReader(text))
	if err == nil && len(ids) == 1 {
		switch id := ids[0].(type) {
		case *age.X25519Identity:
			return classic(id), nil
		case *age.HybridIdentity:
			return hybrid(id), nil
		}
	}
	return nil, fmt.Errorf("opening vault: %s is not a file with an age identity (AGE-SECRET-KEY-1…)", file)
}

func classic(id *age.X25519Identity) *one {
	return &one{Public{Kind: X25519, Recipient: id.Recipient().String()}, id, id.Recipient(), "X25519", "X25519 recipient (age1…)"}
}

func hybrid(id *age.HybridIdentity) *one {
	return &one{Public{Kind: PostQuantum, Recipient: id.Recipient().String()}, id, id.Recipient(), "mlkem768x25519", "post-quantum recipient (age1pq1…)"}
}

// parseSSH reads a private key of ssh.
func parseSSH(file string, text []byte) (*one, error) {
	raw, err := ssh.ParseRawPrivateKey(text)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		return nil, fmt.Errorf("opening vault: the ssh key in %s has a passphrase of its own: take it away (ssh-keygen -p -N '' -f FILE) and encrypt the whole file instead (age -p -a)", file)
	}
	key, ok := raw.(*ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("opening vault: %s is not a file with an ssh key of type ed25519", file)
	}
	defer clear(*key)
	id, err := agessh.NewEd25519Identity(*key)
	if err != nil {
		return nil, fmt.Errorf("opening vault: %s: the ssh key cannot be used", file)
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("opening vault: %s: the ssh key cannot be used", file)
	}
	shown := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
	return &one{Public{Kind: sshKey, Recipient: shown}, id, id.Recipient(), sshKey, "recipient of kind ssh-ed25519"}, nil
}

// recipient reads what a version is sealed to besides the identity, and whether
// that is post-quantum.
func recipient(text string) (to age.Recipient, pq bool, err error) {
	switch {
	case strings.HasPrefix(text, "age1pq1"):
		to, err = age.ParseHybridRecipient(text)
		return to, true, malformed(err)
	case strings.HasPrefix(text, "age1"):
		to, err = age.ParseX25519Recipient(text)
		return to, false, malformed(err)
	case strings.HasPrefix(text, sshKey+" "):
		to, err = agessh.ParseRecipient(text)
		return to, false, malformed(err)
	}
	return nil, false, malformed(errors.New(""))
}

// malformed does not repeat what may be a private key that was put in the wrong
// place.
func malformed(err error) error {
	if err == nil {
		return nil
	}
	return errors.New("a recipient is neither age1…, age1pq1… nor ssh-ed25519 …, or is mistyped")
}

// CheckRecipient says what is wrong with a recipient in the config, and what
// would be right; a problem of "" is none.
func CheckRecipient(text string) (problem, remedy string) {
	if _, _, err := recipient(text); err != nil {
		return err.Error(), `the public half of a key that you keep elsewhere, as age-keygen prints it: recipients = ["age1…"]`
	}
	return "", ""
}

// publicIn finds what a comment beside an identity says its public half is.
var publicIn = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?im)^#\s*(?:public key|recipient):\s*(age1[0-9a-z]+)\s*$`)
})

// call runs what may call a plugin. Of one that does not answer it returns when
// the context is done, and the next waits for the first.
func (k *keys) call(ctx context.Context, f func() error) error {
	if k.turn == nil {
		return f()
	}
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return k.silent(ctx)
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-k.turn }()
		done <- f()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return k.silent(ctx)
	}
}

// plugin is the name of the one that is called.
func (k *keys) plugin() string {
	for _, id := range k.ids {
		if p, is := id.(*pluginKey); is {
			return p.name
		}
	}
	return ""
}

// reason says why a file did not open. What age says of it may quote the file.
func (k *keys) reason(err error) error {
	var other *age.NoIdentityMatchError
	var own *providers.StoreError
	switch {
	case errors.Is(err, secret.ErrFull), errors.Is(err, secret.ErrTooLong), errors.Is(err, context.Canceled), errors.As(err, &own):
		return err
	case errors.As(err, &other) && k.main.stanza != "" && !slices.Contains(other.StanzaTypes, k.main.stanza):
		return fmt.Errorf("it is sealed to no %s, the only kind that is opened here", k.main.called)
	case errors.As(err, &other):
		return errors.New("it is sealed to another identity than " + IdentityFile)
	}
	return errors.New("it is damaged, cut short or not an age file")
}
