package shape

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// strong are the words that make a name that ends in one the name of a secret.
var strong = []string{
	"password", "passwd", "passphrase", "passcode", "pwd", "pass", "pw", "secret", "secrets", "token", "credential", "credentials",
	"apikey", "accesskey", "secretkey", "privatekey", "authtoken", "accesstoken", "apitoken", "appsecret", "clientsecret", "masterkey", "pat",
}

// qualified are the words that make "key" the name of a secret, when they stand
// before it.
var qualified = []string{
	"api", "access", "secret", "private", "priv", "encryption", "encrypt", "signing", "sign", "auth", "master", "account", "admin", "service",
	"storage", "shared", "session", "cookie", "app", "application", "jwt", "hmac", "license", "deploy", "write", "read", "role",
	"subscription",
}

// harmless are the words that may stand behind the one that decides.
var harmless = []string{
	"prod", "production", "dev", "development", "stage", "staging", "live", "test", "old", "new", "current", "previous", "prev",
	"base", "value", "val", "primary", "secondary", "backup", "main", "default", "root", "admin", "ro", "rw", "string", "data",
}

// open are the words before the one that decides that make it no secret: public
// keys, and tokens for the next page of an answer.
var open = []string{"public", "pub", "no", "next", "page", "continuation", "cursor", "sync"}

// passwords are the strong words for what people choose themselves.
var passwords = []string{"password", "passwd", "passphrase", "passcode", "pwd", "pass", "pw"}

// secretName reports whether a variable of this name holds a secret, and
// whether it is one that people choose themselves.
func secretName(name string) (chosen, ok bool) {
	parts := split(name)
	for len(parts) > 1 {
		last := parts[len(parts)-1]
		if !slices.Contains(harmless, last) && strings.Trim(last, "0123456789") != "" {
			break
		}
		parts = parts[:len(parts)-1]
	}
	if len(parts) == 0 {
		return false, false
	}
	last := strings.TrimRight(parts[len(parts)-1], "0123456789")
	before := parts[:len(parts)-1]
	if slices.ContainsFunc(before, func(w string) bool { return slices.Contains(open, w) }) {
		return false, false
	}
	switch {
	case slices.Contains(strong, last):
		return slices.Contains(passwords, last), true
	case last == "key" || last == "keys":
		return false, slices.ContainsFunc(before, func(w string) bool { return slices.Contains(qualified, w) })
	case len(before) == 0:
		// All in one word: dbpassword, MYSQLPASSWORD.
		for _, w := range []string{"password", "passwd", "secret", "token", "apikey"} {
			if strings.HasSuffix(last, w) {
				return slices.Contains(passwords, w), true
			}
		}
	}
	return false, false
}

// split returns the words of a name, in small letters: at what is no letter or
// digit, and where a capital begins.
func split(name string) (parts []string) {
	begin := 0
	add := func(end int) {
		if end > begin {
			parts = append(parts, strings.ToLower(name[begin:end]))
		}
		begin = end
	}
	for i := range len(name) {
		switch c := name[i]; {
		case !isAlnum(c):
			add(i)
			begin = i + 1
		case isUpper(c) && i > begin && (!isUpper(name[i-1]) || i+1 < len(name) && isLetter(name[i+1]) && !isUpper(name[i+1])):
			add(i)
		}
	}
	add(len(name))
	return parts
}

// LooksSecret reports whether the value of KEY=value is one that should not lie
// about in a file, and which rule says so: the ID of one of [Rules],
// "secret-name" where the key says so, or "high-entropy" where only the value
// does. What stands for a value ("changeme", "${X}", "secret://…") is none.
func LooksSecret(key string, value []byte) (rule string, ok bool) {
	value = bytes.TrimSpace(value)
	if len(value) == 0 || reference(value) {
		return "", false
	}
	for _, m := range Find(nil, value) {
		return m.Rule.ID, true
	}
	if placeholder(value) {
		return "", false
	}
	if chosen, named := secretName(key); named {
		// A password may be any word, but not that one.
		_, called := secretName(string(value))
		if plain(value) && !chosen || len(value) < 4 || called && len(value) < 20 || location(value) || boolean(value) {
			return "", false
		}
		return "secret-name", true
	}
	if !weak(value) && dense(value) && !harmlessName(key) {
		return "high-entropy", true
	}
	return "", false
}

// NamesSecret reports whether a key is the name of a secret, whatever its value.
func NamesSecret(key string) bool { _, named := secretName(key); return named }

// reference reports whether a value only says where the value is.
func reference(b []byte) bool {
	s := string(b)
	for _, begin := range []string{"secret://", "op://", "vault:", "ref+", "$", "{{"} {
		if strings.HasPrefix(s, begin) {
			return true
		}
	}
	return strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") || strings.HasPrefix(s, "%") && strings.HasSuffix(s, "%")
}

// plain reports whether a value is a number or one word: no key.
func plain(b []byte) bool {
	return len(bytes.Trim(b, "0123456789.,_-")) == 0 || len(b) < 12 && len(bytes.Trim(bytes.ToLower(b), "abcdefghijklmnopqrstuvwxyz-_")) == 0
}

func boolean(b []byte) bool {
	switch strings.ToLower(string(b)) {
	case "true", "false", "yes", "no", "on", "off", "none", "null", "nil", "undefined", "enabled", "disabled", "required", "optional":
		return true
	}
	return false
}

// location reports whether a value is a path or a URL.
func location(b []byte) bool {
	s := string(b)
	return strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") || strings.HasPrefix(s, "~/") || strings.Contains(s, "://") ||
		strings.HasPrefix(s, "/") && strings.Count(s, "/") > 1 && Entropy(b) < 4.5 || len(s) > 2 && s[1] == ':' && s[2] == '\\'
}

// dense reports whether a value is a key by its looks alone.
func dense(b []byte) bool {
	if len(b) < 20 || location(b) || !mixed(b) {
		return false
	}
	hex := true
	for _, c := range b {
		if !isAlnum(c) && !strings.ContainsRune("+/=_-.~", rune(c)) {
			return false
		}
		hex = hex && isHex(c)
	}
	if hex {
		return len(b) >= 32 && Entropy(b) >= 3
	}
	return upper(b) && Entropy(b) >= 4 && jumpy(b)
}

// harmlessName reports whether a name is that of something which looks like a
// key and is none.
func harmlessName(key string) bool {
	for _, part := range split(key) {
		switch part {
		case "id", "uuid", "guid", "hash", "sha", "sha1", "sha256", "sha512", "md5", "digest", "checksum", "commit", "revision", "rev", "version", "tag",
			"image", "public", "pub", "fingerprint", "path", "file", "dir", "url", "uri", "host", "etag", "cert", "certificate", "integrity":
			return true
		}
	}
	return false
}

// jumpy reports whether b changes between small letters, capitals, digits and
// signs more often than words and names do. Hexadecimal digits do it seldom
// enough by chance, and are no words.
func jumpy(b []byte) bool {
	if len(b) >= 16 && while(b, 0, isHex) == len(b) && mixed(b) {
		return true
	}
	runs, last := 0, 0
	for i, c := range b {
		kind := 4
		switch {
		case c == '_' || c == '-' || c == '.':
			kind = 0
		case isUpper(c):
			kind = 2
		case isLetter(c):
			kind = 1
		case isDigit(c):
			kind = 3
		}
		// The capital that begins a word belongs to it.
		if kind != 0 && kind != last && !(kind == 1 && last == 2 && (i < 2 || !isUpper(b[i-2]))) {
			runs++
		}
		last = kind
	}
	return len(b) < runs*3
}

// decoration is what people put around a word to make it a password.
const decoration = "0123456789!@#$%^&*()-_=+.,;:?/ "

// disguise are the letters that people hide behind digits and signs.
var disguise = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "@", "a", "$", "s", "!", "i")

// maxWeak is how much of a value is looked at for words, in bytes.
const maxWeak = 96

// weak reports whether a value is one of those that only tests and
// documentation have: nothing but their words, decorated or in disguise.
// Whether it goes on in that way is not asked.
func weak(b []byte) bool {
	b = b[:min(len(b), maxWeak)]
	s := strings.ToLower(string(b))
	return ordinaryWords(strings.Trim(s, decoration)) || ordinaryWords(strings.Trim(disguise.Replace(s), decoration))
}

func ordinaryWords(s string) bool {
	known := ordinary()
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r < 'a' || 'z' < r }) {
		if !known[w] && !slices.Contains(strong, w) {
			return false
		}
	}
	return true
}

// ordinary are words that tests use for passwords.
var ordinary = sync.OnceValue(func() map[string]bool {
	return set(
		"a", "an", "the", "my", "your", "our", "some", "this", "that", "is", "it", "of", "for", "in", "to", "and", "or", "not", "very",
		"super", "top", "real", "really",
		"user", "username", "admin", "administrator", "root", "guest", "test", "testing", "tester", "foo", "bar", "baz", "qux",
		"foobar", "hello", "world", "abc", "abcd", "abcdef", "xyz", "qwerty", "asdf", "asdfgh",
		"value", "string", "text", "data", "default", "invalid", "valid", "wrong", "bad", "good", "new", "old", "key", "api", "auth",
		"access", "private", "client", "db", "database", "server", "service",
		"letmein", "welcome", "monkey", "dragon", "opensesame", "sesame", "hunter", "hunter2", "insecure", "unsafe", "none", "null",
		"undefined", "empty", "local", "localhost", "dev", "prod", "staging",
		"mysecret", "mypassword", "mytoken", "mykey", "secretkey", "supersecret", "topsecret", "verysecret", "testpass", "testpassword",
		"testtoken", "testkey", "testsecret", "userpass", "rootpass", "adminpass",
		"postgres", "postgresql", "mysql", "redis", "mongo", "mongodb", "rabbitmq", "amqp", "minio", "minioadmin", "docker", "elastic",
		"grafana", "vault", "github", "gitlab", "google", "aws", "azure", "openai", "anthropic",
		"first", "second", "third", "one", "two", "three", "long", "short", "random", "generated", "bearer", "basic", "jwt", "id",
		"session", "cookie", "csrf", "refresh", "request", "response", "header",
	)
})

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}
