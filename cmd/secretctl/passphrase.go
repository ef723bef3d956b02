package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// asker gives the passphrase of a file with an identity; tries is how often it
// was wrong before.
type asker func(file string, tries int) (secret.Value, error)

// maxTries is how often a person may type a passphrase.
const maxTries = 3

const passphraseFromHelp = "where the passphrase of the identity comes from: fd:N, or credential:NAME (else the terminal)"

// passphraseFrom returns who gives the passphrase, as the flag says it.
func (w *world) passphraseFrom(c *cobra.Command, flag string) (asker, error) {
	kind, name, _ := strings.Cut(flag, ":")
	var open func() (io.ReadCloser, error)
	switch n, err := strconv.ParseUint(name, 10, 16); {
	case flag == "":
		return w.askAtTerminal, nil
	case kind == "fd" && err == nil && n == 0:
		open = func() (io.ReadCloser, error) { return io.NopCloser(w.stdin), nil }
	case kind == "fd" && err == nil:
		open = func() (io.ReadCloser, error) { return os.NewFile(uintptr(n), "fd "+name), nil }
	case kind == "credential" && name != "" && filepath.Base(name) == name:
		open = func() (io.ReadCloser, error) { return w.credential(name) }
	default:
		return nil, usage(c, "--passphrase-from takes fd:N, the number of an open file, or credential:NAME, one of systemd's")
	}
	return func(file string, tries int) (secret.Value, error) {
		if tries > 0 {
			return secret.Value{}, hinted(fmt.Errorf("opening vault: %s does not open with the passphrase from %s", file, flag), "look at what is there: one line, the passphrase")
		}
		in, err := open()
		if err != nil {
			return secret.Value{}, err
		}
		defer in.Close()
		v, err := secret.Read(in, broker.MaxValue)
		if err != nil {
			return secret.Value{}, fmt.Errorf("reading the passphrase from %s: %w", flag, err)
		}
		return withoutNewline(v)
	}, nil
}

// credential opens one that systemd gave this process.
func (w *world) credential(name string) (io.ReadCloser, error) {
	dir := w.getenv("CREDENTIALS_DIRECTORY")
	if !filepath.IsAbs(dir) {
		return nil, hinted(errors.New("this process was given no credentials"), fmt.Sprintf("LoadCredentialEncrypted=%s:/etc/credstore.encrypted/%s in the unit", name, name))
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("reading the credential %s: %w", name, err)
	}
	return f, nil
}

// askAtTerminal asks a person. Where there is no terminal nobody can be asked.
func (w *world) askAtTerminal(file string, tries int) (secret.Value, error) {
	tty, ok := terminal(w.stdin)
	switch {
	case !ok:
		return secret.Value{}, &providers.StoreError{Kind: providers.ErrLocked,
			Problem: fmt.Sprintf("opening vault: %s has a passphrase, and there is no terminal to ask for it at", file),
			Remedy:  "start it on a terminal, or with --passphrase-from fd:N or credential:NAME"}
	case tries >= maxTries:
		return secret.Value{}, fmt.Errorf("opening vault: %s does not open with that passphrase", file)
	case tries > 0:
		w.say("that is not the passphrase of %s", file)
	}
	return w.promptHidden(tty, fmt.Sprintf("passphrase of %s: ", file))
}

// newPassphrase asks for one that is to be: twice on a terminal, else it is what
// stdin has. The caller clears it.
func (w *world) newPassphrase(c *cobra.Command) (v secret.Value, err error) {
	if tty, ok := terminal(w.stdin); ok {
		v, err = w.promptTwice(tty, "new passphrase: ")
	} else if v, err = secret.Read(w.stdin, broker.MaxValue); err == nil {
		v, err = withoutNewline(v)
	}
	if err == nil && v.Len() == 0 {
		v.Clear()
		return secret.Value{}, usage(c, "an empty passphrase protects nothing")
	}
	return v, err
}
