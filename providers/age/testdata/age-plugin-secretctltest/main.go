// Age-plugin-secretctltest is a plugin of age for tests. What its identities hold
// is a native one, after a word that says how it behaves.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

func main() {
	p, err := plugin.New("secretctltest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	key := func(data []byte) (*age.X25519Identity, error) {
		how, text, _ := strings.Cut(string(data), ":")
		switch how {
		case "asking":
			if _, err := p.RequestValue("the PIN", true); err != nil {
				return nil, errors.New("no PIN")
			}
		case "telling":
			if err := p.DisplayMessage("touch me"); err != nil {
				return nil, err
			}
		case "silent":
			if f, err := os.Open(os.Getenv("AGE_TEST_HOLD")); err == nil { // a fifo: until somebody opens and closes it
				_, _ = f.Read(make([]byte, 1))
				f.Close()
			}
		}
		return age.ParseX25519Identity(text)
	}
	p.HandleIdentity(func(data []byte) (age.Identity, error) { return key(data) })
	p.HandleIdentityAsRecipient(func(data []byte) (age.Recipient, error) {
		id, err := key(data)
		if err != nil {
			return nil, err
		}
		return id.Recipient(), nil
	})
	os.Exit(p.Main())
}
