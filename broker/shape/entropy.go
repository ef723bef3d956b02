package shape

import (
	"bytes"
	"hash/crc32"
	"math"
	"strings"
	"sync"
)

// Entropy returns how many bits a byte of b carries when all that is known of b
// is how often each byte occurs in it: 0 for a run of one byte, at most
// log2(len(b)), so that short texts never have much.
func Entropy(b []byte) float64 {
	var count [256]int
	for _, c := range b {
		count[c]++
	}
	sum := 0.0
	for _, n := range count {
		if n > 1 {
			sum += float64(n) * math.Log2(float64(n))
		}
	}
	if len(b) == 0 {
		return 0
	}
	return math.Log2(float64(len(b))) - sum/float64(len(b))
}

// all is a check that is all of them.
func all(checks ...func([]byte) bool) func([]byte) bool {
	return func(b []byte) bool {
		for _, check := range checks {
			if !check(b) {
				return false
			}
		}
		return true
	}
}

// random is the check for what nobody has written by hand.
func random(entropy float64) func([]byte) bool {
	return func(b []byte) bool { return Entropy(b) >= entropy && !placeholder(b) }
}

// digits is the check for a digit.
func digits(b []byte) bool { return bytes.ContainsAny(b, "0123456789") }

// mixed is the check for letters and digits.
func mixed(b []byte) bool {
	return digits(b) && bytes.ContainsFunc(b, func(r rune) bool { return r < 0x80 && isLetter(byte(r)) })
}

// upper is the check for small letters and capitals.
func upper(b []byte) bool {
	return bytes.ContainsFunc(b, func(r rune) bool { return 'A' <= r && r <= 'Z' }) &&
		bytes.ContainsFunc(b, func(r rune) bool { return 'a' <= r && r <= 'z' })
}

// summed is the check for the tokens of GitHub and npm: the last six characters
// are the CRC-32 of the thirty before, in base 62. One with the right sum is
// what it seems to be; one without may be cut or mistyped and yet betray, so it
// has to look like thirty-six characters that nobody chose.
func summed(b []byte) bool {
	_, rest, _ := bytes.Cut(b, []byte("_"))
	if len(rest) == 36 && base62(crc32.ChecksumIEEE(rest[:30])) == string(rest[30:]) {
		return true
	}
	return mixed(rest) && upper(rest) && random(4)(rest)
}

// base62 writes a number in six digits.
func base62(n uint32) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var out [6]byte
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = digits[n%62]
		n /= 62
	}
	return string(out[:])
}

// awsID is the check for the id of an AWS key. One in thirty has no digit, but
// neither have words that begin like the rarer ones.
func awsID(b []byte) bool { return random(2.8)(b) && (bytes.HasPrefix(b, []byte("AKIA")) || digits(b)) }

// words are what people write where a secret would stand.
var words = []string{
	"example", "placeholder", "changeme", "change-me", "change_me", "changeit", "replaceme", "replace-me", "replace_me", "replace_with",
	"your-", "your_", "yourkey", "yoursecret", "yourtoken", "yourpass", "insert-", "insert_", "dummy", "redacted", "sample",
	"fake", "notreal", "not-real", "not_real", "secret://", "xxxx", "****", "....", "----", "____", "${", "{{", "}}", "$(", "#{",
	"%(", "%s", "%v", "%d", "<your", "...",
}

// written are the words as people write them: a key that no case is told apart in
// has them by chance.
var written = sync.OnceValue(func() (all []string) {
	for _, w := range words {
		all = append(all, w)
		if u := strings.ToUpper(w); u != w {
			all = append(all, u, u[:1]+w[1:])
		}
	}
	return all
})

// placeholder reports whether b is what people write where a secret would stand,
// or a reference to one.
func placeholder(b []byte) bool {
	for _, w := range written() {
		if bytes.Contains(b, []byte(w)) {
			return true
		}
	}
	return patterned(b)
}

// patterned reports whether b is one byte again and again, or has six times the
// same byte in it, or eight bytes that count up or down.
func patterned(b []byte) bool {
	if len(b) > 0 && bytes.Count(b, b[:1]) == len(b) {
		return true
	}
	same, up, down := 1, 1, 1
	for i := 1; i < len(b); i++ {
		step := int(b[i]) - int(b[i-1])
		same, up, down = longer(same, step == 0), longer(up, step == 1), longer(down, step == -1)
		if same >= 6 || up >= 8 || down >= 8 {
			return true
		}
	}
	return false
}

func longer(n int, goesOn bool) int {
	if goesOn {
		return n + 1
	}
	return 1
}
