// Package connurl reads connection URLs that have a password in them, such as
// postgres://user:password@host:5432/name.
//
// It guards the password: it stays in locked memory while the rest of the URL
// is read, and another takes its place without a byte around it changing.
package connurl

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"secretctl/broker/secret"
)

// ErrForm is returned for what is no URL of the scheme. It says no more, since
// what it is not may be a password.
var ErrForm = errors.New("not a connection URL")

// URL is a connection URL without its password.
type URL struct {
	User     string   // unescaped; "" when it names none
	Password bool     // it has one
	Rest     *url.URL // without user and password, of the scheme "x"

	// The user is from the first byte, and the password from the second to the third.
	name, secret, end int
}

// Parse reads a URL that begins as the pattern says.
func Parse(v secret.Value, scheme *regexp.Regexp) (u *URL, err error) {
	u = new(URL)
	err = v.Use(func(b []byte) error {
		begin := scheme.FindIndex(b)
		if begin == nil || begin[0] != 0 {
			return ErrForm
		}
		authority := b[begin[1]:]
		if i := bytes.IndexAny(authority, "/?#"); i >= 0 {
			authority = authority[:i]
		}
		u.name, u.secret, u.end = begin[1], begin[1], begin[1]
		rest := begin[1]
		if n := bytes.LastIndexByte(authority, '@'); n >= 0 {
			name, password, _ := bytes.Cut(authority[:n], []byte(":"))
			u.end, rest = begin[1]+n, begin[1]+n+1
			u.secret, u.Password = u.end-len(password), len(password) > 0
			if u.User, err = url.PathUnescape(string(name)); err != nil {
				return ErrForm
			}
		}
		if u.Rest, err = url.Parse("x://" + string(b[rest:])); err != nil || u.Rest.User != nil || u.Rest.Fragment != "" {
			return ErrForm
		}
		return nil
	})
	return u, err
}

// With makes the URL with another user and password, and all else byte for byte
// as it is in v, which u was read from. The password is of letters and digits.
func (u *URL) With(v secret.Value, user string, password secret.Value) (secret.Value, error) {
	name := url.User(user).String()
	var parts [][]byte
	defer func() {
		for _, p := range parts {
			clear(p)
		}
	}()
	for _, part := range []func([]byte) []byte{
		func(b []byte) []byte {
			if user == u.User && u.Password {
				return b[:u.secret]
			}
			return append(append(bytes.Clone(b[:u.name]), name...), ':')
		},
		nil,
		func(b []byte) []byte { return b[u.end:] },
	} {
		of := v
		if part == nil {
			of, part = password, func(b []byte) []byte { return b }
		}
		if err := of.Use(func(b []byte) error { parts = append(parts, bytes.Clone(part(b))); return nil }); err != nil {
			return secret.Value{}, err
		}
	}
	return secret.New(bytes.Join(parts, nil))
}

// Secret takes the password out of v, which u was read from.
func (u *URL) Secret(v secret.Value) (secret.Value, error) {
	var plain []byte
	if err := v.Use(func(b []byte) (err error) {
		plain, err = unescape(b[u.secret:u.end])
		return err
	}); err != nil {
		return secret.Value{}, err
	}
	return secret.New(plain)
}

// unescape is [url.PathUnescape] without strings, for what can be cleared.
func unescape(b []byte) ([]byte, error) {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '%' {
			out = append(out, b[i])
			continue
		}
		var c [1]byte
		if _, err := hex.Decode(c[:], b[i+1:min(i+3, len(b))]); err != nil || i+2 >= len(b) {
			clear(out)
			return nil, ErrForm
		}
		out = append(out, c[0])
		i += 2
	}
	return out, nil
}

// Local reports whether what is sent to a host, or to a socket's path, stays on
// this machine.
func Local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.HasPrefix(host, "/") || host == "localhost" || err == nil && ip.IsLoopback()
}

// At is a host and port, or a socket's path, for a person.
func At(host, port string) string {
	if strings.HasPrefix(host, "/") {
		return host
	}
	return net.JoinHostPort(host, port)
}
