// Package canary mints the secrets of the tests, and finds them where none may
// be.
//
// It guards against a value that gets out where no test thought of looking: in a
// log, an error, a file that a crash left, an argument of a process. Every value
// that a test gives away is minted here, so all values of a run have a marker in
// common, and [Watch] ends a run by searching all that it wrote for that marker,
// however it is spelled.
package canary

import (
	"crypto/sha256"
	"os"
	"testing"
)

// Variable is the environment variable with the seed of a run, which the watcher
// sets. The marker follows from the seed, so the environment does not hold it.
const Variable = "SECRETCTL_CANARY"

// Channel is how the name of a file ends that is a delivery channel: the one
// kind of place where a value may be.
const Channel = ".canary"

// Len is the length of every canary, in bytes.
const Len = len("sk-") + 3*partLen + len("--")

// partLen is the length of each of a canary's three parts, in bytes. Twelve
// letters and digits are met by chance once in 10^18 places, whatever their
// case.
const partLen = 12

// New mints a value for the test. The same name gives the same value.
func New(t testing.TB, name string) string { return Of(t.Name() + " " + name) }

// Of is New for a process that a test has started, which needs [Environ].
func Of(name string) string {
	m := marker(seed())
	// The marker is at both ends, so that most of a value that was cut is enough.
	return "sk-" + m + "-" + spell("canary "+name) + "-" + m
}

// Environ is what such a process needs in its environment.
func Environ() string { return Variable + "=" + os.Getenv(Variable) }

func seed() string { return os.Getenv(Variable) }

func watched() bool { return seed() != "" }

// marker is what the canaries of one run have in common.
func marker(seed string) string { return spell("marker " + seed) }

// spell returns letters and digits that follow from a text. They are all that
// no encoding escapes unless it escapes everything, and that both alphabets of
// base64 encode alike.
func spell(text string) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256([]byte(text))
	out := make([]byte, partLen)
	for i := range out {
		from := alphabet
		switch i { // both cases occur, so that folding can be told
		case 0:
			from = alphabet[10:36]
		case 1:
			from = alphabet[36:]
		}
		out[i] = from[int(sum[i])%len(from)]
	}
	return string(out)
}
