package shape

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"strings"
)

// maxRun is the longest run of bytes of a kind that is followed, so that a text
// made to be slow is not very: it is asked about at every place.
const maxRun = 6 << 10

// while returns where the bytes of a kind from a place on end.
func while(b []byte, i int, kind func(byte) bool) int {
	for last := min(len(b), i+maxRun); i < last && kind(b[i]); i++ {
	}
	return i
}

// back returns where the bytes of a kind before a place begin.
func back(b []byte, i int, kind func(byte) bool) int {
	for last := max(0, i-maxRun); i > last && kind(b[i-1]); i-- {
	}
	return i
}

func isURLSafe(c byte) bool { return isWord(c) || c == '-' }

func isBase64(c byte) bool { return isAlnum(c) || c == '+' || c == '/' }

// telegram is asked at the ":AA" of a bot's id and key.
func telegram(b []byte, at int) (start, end int, ok bool) {
	start, end = back(b, at, isDigit), while(b, at+1, isURLSafe)
	return start, end, at-start >= 8 && at-start <= 10 && end-at-1 == 35 && begins(b, start)
}

// mailchimp is asked at the "-us" of a data centre, behind a key.
func mailchimp(b []byte, at int) (start, end int, ok bool) {
	start, end = back(b, at, isHex), while(b, at+3, isDigit)
	return start, end, at-start == 32 && end-at <= 5 && begins(b, start) && ends(b, end)
}

// azure is asked at the "8Q~" that stands behind three characters.
func azure(b []byte, at int) (start, end int, ok bool) {
	kind := func(c byte) bool { return isURLSafe(c) || c == '.' || c == '~' }
	if start = at - 3; start < 0 || start > 0 && kind(b[start-1]) {
		return 0, 0, false
	}
	end = while(b, start, kind)
	return start, end, end-start >= 37 && end-start <= 40
}

// terraform is asked at the middle of a token.
func terraform(b []byte, at int) (start, end int, ok bool) {
	start, end = back(b, at, isAlnum), while(b, at+len(".atlasv1."), isURLSafe)
	return start, end, at-start == 14 && end-at >= 60 && end-at <= 90
}

// beside is how far from an access key id its secret may stand, in bytes.
const beside = 160

// awsSecret is asked at an access key id, for the secret that stands behind it.
func awsSecret(b []byte, at int) (start, end int, ok bool) {
	id := while(b, at, isAlnum)
	if id-at != 20 || !begins(b, at) {
		return 0, 0, false
	}
	for i := id; i < min(len(b), id+beside); {
		if !isBase64(b[i]) {
			i++
			continue
		}
		n := while(b, i, isBase64)
		if n-i == 40 && (n == len(b) || b[n] != '=') {
			return i, n, true
		}
		i = n
	}
	return 0, 0, false
}

// jwt is asked at what may be the base64 of {".
func jwt(b []byte, at int) (start, end int, ok bool) {
	if at > 0 && isURLSafe(b[at-1]) && !begins(b, at) {
		return 0, 0, false
	}
	head := while(b, at, isURLSafe)
	if head-at < 12 || head >= len(b) || b[head] != '.' {
		return 0, 0, false
	}
	claims := while(b, head+1, isURLSafe)
	if claims >= len(b) || b[claims] != '.' {
		return 0, 0, false
	}
	end = while(b, claims+1, isURLSafe)
	if end < len(b) && b[end] == '.' { // encrypted: five parts
		end = while(b, end+1, isURLSafe)
		if end < len(b) && b[end] == '.' {
			end = while(b, end+1, isURLSafe)
		}
	} else if !bytes.HasPrefix(b[head+1:], []byte("eyJ")) && !bytes.HasPrefix(b[head+1:], []byte("ew")) {
		return 0, 0, false
	}
	var header [90]byte
	n, _ := base64.RawURLEncoding.Decode(header[:], b[at:min(head, at+len(header)/3*4)])
	return at, end, end-claims > 20 && bytes.Contains(header[:n], []byte(`"alg"`))
}

// maxPEM is the longest block that is looked at, in bytes: a key of 16,384 bits
// with its lines escaped is shorter.
const maxPEM = 24 << 10

// pem is asked at the first line of what may be a private key. One whose end is
// missing goes as far as it looks like one.
func pem(b []byte, at int) (start, end int, ok bool) {
	line := b[at+len("-----BEGIN ") : min(len(b), at+80)]
	n := bytes.Index(line, []byte("-----"))
	if n < 0 {
		return 0, 0, false
	}
	label := line[:n]
	if !bytes.HasSuffix(label, []byte("PRIVATE KEY")) && !bytes.Equal(label, []byte("PGP PRIVATE KEY BLOCK")) {
		return 0, 0, false
	}
	for _, c := range label {
		if !isUpper(c) && !isDigit(c) && c != ' ' {
			return 0, 0, false
		}
	}
	body := at + len("-----BEGIN ") + n + len("-----")
	rest := b[body:min(len(b), body+maxPEM)]
	last := append(append([]byte("-----END "), label...), "-----"...)
	if k := bytes.Index(rest, last); k >= 0 {
		n, _ := key(rest[:k])
		return at, body + k + len(last), n >= minKey && !encrypted(label, rest[:k])
	}
	n, end = key(rest)
	return at, body + end, n >= minKey && !encrypted(label, rest)
}

// minKey is how much base64 a key has at least, in bytes.
const minKey = 40

// key counts what may be the base64 of a key, which ends where it does not go
// on: lines of at least sixteen characters, the last of which may be shorter,
// with anything that escapes or quotes lines between them. Documentation has an
// ellipsis.
func key(b []byte) (n, end int) {
	between := 0
	for i := 0; i < len(b); {
		if !isBase64(b[i]) && b[i] != '=' {
			if between++; between > 80 || bytes.HasPrefix(b[i:], []byte("...")) {
				break
			}
			i++
			continue
		}
		from := i
		i = while(b, i, func(c byte) bool { return isBase64(c) || c == '=' })
		if i-from >= 16 && Entropy(b[from:i]) > 2 {
			n, end, between = n+i-from, i, 0
		} else {
			between += i - from
		}
	}
	return n, end
}

// encrypted reports whether a private key is of no use without its passphrase.
func encrypted(label, body []byte) bool {
	if bytes.HasPrefix(label, []byte("ENCRYPTED ")) || bytes.Contains(body[:min(len(body), 64)], []byte("4,ENCRYPTED")) {
		return true
	}
	// OpenSSH names the cipher behind its magic; this is the base64 of "none".
	const magic, none = "b3BlbnNzaC1rZXktdjEAAAAA", "BG5vbmU"
	_, cipher, ok := bytes.Cut(body[:min(len(body), 128)], []byte(magic))
	return ok && !bytes.HasPrefix(cipher, []byte(none))
}

// bearer is asked at the scheme of an Authorization header.
func bearer(b []byte, at int) (start, end int, ok bool) {
	if !begins(b, at) {
		return 0, 0, false
	}
	start = at + bytes.IndexByte(b[at:], ' ') + 1
	end = while(b, start, func(c byte) bool { return isURLSafe(c) || c == '.' || c == '~' || c == '+' || c == '/' })
	end = while(b, end, func(c byte) bool { return c == '=' })
	v := b[start:end]
	return start, end, len(v) >= 16 && len(v) <= 4096 && mixed(v) && jumpy(v) && random(3.3)(v) && !weak(v)
}

// basic is asked at the scheme of an Authorization header: what stands behind it
// is the base64 of a user, a colon and a password.
func basic(b []byte, at int) (start, end int, ok bool) {
	if !begins(b, at) {
		return 0, 0, false
	}
	start = at + len("Basic ")
	end = while(b, while(b, start, isBase64), func(c byte) bool { return c == '=' })
	return start, end, pair(b[start:end])
}

// pair reports whether b is the base64 of a user, a colon and a password that
// was made to be one.
func pair(b []byte) bool {
	if len(b) < 12 || len(b) > 4096 {
		return false
	}
	b = bytes.TrimRight(b, "=")
	plain := make([]byte, base64.RawStdEncoding.DecodedLen(len(b)))
	defer clear(plain)
	if _, err := base64.RawStdEncoding.Decode(plain, b); err != nil {
		return false
	}
	for _, c := range plain {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	_, password, ok := bytes.Cut(plain, []byte(":"))
	return ok && secretEnough(password)
}

// secretEnough reports whether a password that stands where only passwords do
// is none that tests and documentation have.
func secretEnough(v []byte) bool {
	if len(v) < 6 || reference(v) || placeholder(v) || weak(v) {
		return false
	}
	if bytes.IndexByte(v, '%') >= 0 { // escaped, in a URL
		plain, err := url.PathUnescape(string(v))
		return err == nil && !strings.Contains(plain, "%") && secretEnough([]byte(plain))
	}
	return mixed(v) && Entropy(v) >= 2.5 || len(v) >= 12 && jumpy(v) && Entropy(v) >= 3.2
}

// registryAuth is asked at the name of a field: "auth": "…" or _auth=….
func registryAuth(b []byte, at int) (start, end int, ok bool) {
	i := at + len(`"auth"`)
	if b[at] == '_' {
		i = at + len("_auth")
	}
	i = blank(b, i)
	if i >= len(b) || b[i] != ':' && b[i] != '=' {
		return 0, 0, false
	}
	start = blank(b, i+1)
	if start < len(b) && b[start] == '"' {
		start++
	}
	end = while(b, while(b, start, isBase64), func(c byte) bool { return c == '=' })
	return start, end, pair(b[start:end])
}

// kubeconfigKey is asked at the name of a field: the base64 of a PEM block.
func kubeconfigKey(b []byte, at int) (start, end int, ok bool) {
	start = at + len("client-key-data")
	start = while(b, start, func(c byte) bool { return c == '"' || c == ':' || c == ' ' })
	end = while(b, start, isBase64)
	return start, while(b, end, func(c byte) bool { return c == '=' }), end-start >= 60
}

// maxAuthority is the longest user and password of a URL, in bytes.
const maxAuthority = 512

// urlPassword is asked at the "://" of a URL.
func urlPassword(b []byte, at int) (start, end int, ok bool) {
	if at == 0 || !isLetter(b[at-1]) && !isDigit(b[at-1]) {
		return 0, 0, false
	}
	from := at + len("://")
	rest := b[from:min(len(b), from+maxAuthority)]
	colon, host := -1, -1
	for i, c := range rest {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\'' || c == '`' || c == '<' || c == '>' || c == '\\' {
			break
		}
		if c == ':' && colon < 0 {
			colon = i
		}
		// A password with a "/" or "?" in it that should have been escaped is met
		// only in clients that are as lax; one with "@" ends at the last.
		if c == '/' || c == '?' || c == '#' {
			break
		}
		if c == '@' && colon >= 0 {
			host = i
		}
	}
	if host < 0 || host+1 >= len(rest) || !isAlnum(rest[host+1]) && rest[host+1] != '[' {
		return 0, 0, false
	}
	start, end = from+colon+1, from+host
	v := b[start:end]
	if bytes.ContainsAny(v, "{}()[]|") || bytes.Contains(v, []byte("%s")) || bytes.Contains(v, []byte("%v")) {
		return 0, 0, false
	}
	return start, end, secretEnough(v)
}

// netrc is asked at "machine", and finds the password that follows the host and
// the login.
func netrc(b []byte, at int) (start, end int, ok bool) {
	if at > 0 && !isSpace(b[at-1]) {
		return 0, 0, false
	}
	rest := b[at:min(len(b), at+512)]
	next := 0
	word := func() string {
		next = while(rest, next, isSpace)
		from := next
		next = while(rest, next, func(c byte) bool { return !isSpace(c) })
		return string(rest[from:next])
	}
	for range 4 {
		switch key, value := word(), word(); key {
		case "machine", "login", "account":
		case "password":
			return at + next - len(value), at + next, secretEnough([]byte(value)) && !strings.ContainsAny(value, "(){}")
		default:
			return 0, 0, false
		}
	}
	return 0, 0, false
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// commandUser is asked at a command that takes -u USER:PASSWORD or --user.
func commandUser(b []byte, at int) (start, end int, ok bool) {
	if !begins(b, at) {
		return 0, 0, false
	}
	line := b[at:min(len(b), at+1024)]
	if n := bytes.IndexByte(line, '\n'); n >= 0 {
		line = line[:n]
	}
	for _, flag := range []string{" -u ", " --user ", " --user=", " -u", " --proxy-user "} {
		n := bytes.Index(line, []byte(flag))
		if n < 0 {
			continue
		}
		i := n + len(flag)
		quote := byte(' ')
		if i < len(line) && (line[i] == '"' || line[i] == '\'') {
			quote = line[i]
			i++
		}
		arg := line[i:]
		if k := bytes.IndexByte(arg, quote); k >= 0 {
			arg = arg[:k]
		}
		colon := bytes.IndexByte(arg, ':')
		if colon > 0 && secretEnough(arg[colon+1:]) {
			return at + i + colon + 1, at + i + len(arg), true
		}
	}
	return 0, 0, false
}
