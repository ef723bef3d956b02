package mask

import (
	"bytes"
	"errors"
	"strings"
	"sync"
)

// Why a value is not masked. Neither says more about it.
var (
	// ErrShort is of a value of fewer than 8 bytes, the space around it not
	// counted.
	ErrShort = errors.New("it is shorter than 8 characters")
	// ErrPlain is of a value that ordinary output has in it, so that masking it
	// would hide what is no secret: fewer than 5 different characters, characters
	// that follow one another evenly, a number of fewer than 12 digits, or a word
	// that configurations and programs use.
	ErrPlain = errors.New("it is too plain to be told from ordinary output")
)

const (
	minDifferent = 5
	minDigits    = 12 // dates have 8, times in seconds 10
)

// words are values that are no secret wherever they stand.
var words = sync.OnceValue(func() []string {
	return strings.Fields(`
	password passw0rd passwort password1 password123 changeme changeit letmein1 qwertyui qwertyuiop
	disabled required optional anonymous undefined username administrator superuser
	production development staging testing localhost localdomain 127.0.0.1 0.0.0.0:0 example.com
	postgres postgresql mongodb rabbitmq database default_ placeholder redacted [redacted] ********
	your-key your_key your-token your_token your-api-key your_api_key insert-here notasecret
`)
})

// worth returns why a value, or a line of one, is not masked; nil when it is.
func worth(value []byte) error {
	v := bytes.TrimSpace(value)
	if len(v) < gateLen {
		return ErrShort
	}
	var met [256]bool
	different, digits := 0, 0
	even := true
	for i, c := range v {
		if !met[c] {
			met[c] = true
			different++
		}
		if c >= '0' && c <= '9' {
			digits++
		}
		if i > 1 && c-v[i-1] != v[1]-v[0] {
			even = false
		}
	}
	if different < minDifferent || even || digits == len(v) && digits < minDigits {
		return ErrPlain
	}
	for _, w := range words() {
		if len(v) == len(w) && bytes.EqualFold(v, []byte(w)) {
			return ErrPlain
		}
	}
	return nil
}
