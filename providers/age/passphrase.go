package age

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"
	"filippo.io/age/armor"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// A file with an identity may be an age file with a passphrase. What is sealed
// to the passphrase is the identity alone: a passphrase takes a second to try, by
// design, which would be too long for each version.

// asker gives the passphrase of a file. It is called again, with the number of
// tries before, where that was the wrong one. The caller clears it.
type asker func(file string, tries int) (secret.Value, error)

// asker is the one of the options. What it gave for one file it tries with the
// next: while a vault is sealed anew there are two. done forgets it.
func (o *Options) asker() (ask asker, done func()) {
	if o.Passphrase == nil {
		return func(file string, _ int) (secret.Value, error) {
			return secret.Value{}, &providers.StoreError{Kind: providers.ErrLocked,
				Problem: fmt.Sprintf("opening vault: %s has a passphrase, and nobody can be asked for it", file),
				Remedy:  "secretctl serve on a terminal, or secretctl serve --passphrase-from credential:NAME"}
		}, func() {}
	}
	var last secret.Value
	tried := false // last, with the file that is asked for
	return func(file string, tries int) (secret.Value, error) {
		if tries == 0 {
			tried = !last.IsZero()
		}
		if tried && tries == 0 {
			return copied(last)
		}
		if tried {
			tries--
		}
		v, err := o.Passphrase(file, tries)
		if err != nil {
			return v, err
		}
		last.Clear()
		last = v
		return copied(last)
	}, func() { last.Clear() }
}

func copied(v secret.Value) (out secret.Value, err error) {
	err = v.Use(func(b []byte) error {
		out, err = secret.Fill(len(b), func(to []byte) error { copy(to, b); return nil })
		return err
	})
	return out, err
}

var (
	armored   = []byte(armor.Header)
	unarmored = []byte("age-encryption.org/")
)

// encrypted reports whether the text is an age file.
func encrypted(text []byte) bool {
	return bytes.HasPrefix(text, armored) || bytes.HasPrefix(text, unarmored)
}

// decrypt returns the identity that is in a file with a passphrase. The caller
// clears it.
func decrypt(file string, text []byte, ask asker) ([]byte, error) {
	for tries := 0; ; tries++ {
		v, err := ask(file, tries)
		if err != nil {
			return nil, err
		}
		plain, err := decryptWith(text, v)
		v.Clear()
		switch {
		case err == nil:
			return plain, nil
		case errors.Is(err, age.ErrIncorrectIdentity):
			continue
		}
		return nil, fmt.Errorf("opening vault: %s is damaged, or is an age file without a passphrase", file)
	}
}

// decryptWith tries a passphrase. The age package takes it as a string, which
// cannot be cleared.
func decryptWith(text []byte, passphrase secret.Value) (plain []byte, err error) {
	var id *age.ScryptIdentity
	err = passphrase.Use(func(b []byte) (err error) {
		id, err = age.NewScryptIdentity(string(b))
		return err
	})
	if err != nil {
		return nil, age.ErrIncorrectIdentity // it is empty
	}
	var in io.Reader = bytes.NewReader(text)
	if bytes.HasPrefix(text, armored) {
		in = armor.NewReader(in)
	}
	r, err := age.Decrypt(in, id)
	if other := (*age.NoIdentityMatchError)(nil); errors.As(err, &other) && !slices.Contains(other.StanzaTypes, "scrypt") {
		return nil, errors.New("it has no passphrase") // so that none is the right one
	} else if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, maxIdentity))
}

// testOnlyWorkFactor, when not 0, is how much work a passphrase takes, as a
// power of two.
var testOnlyWorkFactor int

// encrypt returns the text of an identity as a file with a passphrase, in armor,
// since people copy it.
func encrypt(text []byte, passphrase secret.Value) ([]byte, error) {
	var to *age.ScryptRecipient
	err := passphrase.Use(func(b []byte) (err error) {
		to, err = age.NewScryptRecipient(string(b))
		return err
	})
	if err != nil {
		return nil, errors.New("an empty passphrase protects nothing")
	}
	if testOnlyWorkFactor != 0 {
		to.SetWorkFactor(testOnlyWorkFactor)
	}
	var out bytes.Buffer
	a := armor.NewWriter(&out)
	w, err := age.Encrypt(a, to)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
