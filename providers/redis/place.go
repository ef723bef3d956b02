package redis

import (
	"bytes"
	"errors"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/connurl"
)

// place is where a value leads and as whom.
type place struct {
	url        *connurl.URL // nil: the value is the password alone
	host, port string       // a host that begins with / is a socket
	tls        bool
	user       string
}

// scheme begins a connection URL.
var scheme = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^rediss?://`) })

// form is what a connection URL looks like.
const form = "rediss://USER:PASSWORD@HOST:PORT/0"

// place reads a value: a connection URL, or a password for the options' address
// and user.
func (r *rotator) place(v secret.Value) (place, error) {
	u, isURL, err := readURL(v)
	switch {
	case err != nil:
		return place{}, err
	case !isURL && r.address == nil:
		return place{}, withRemedy(providers.Not(providers.CodeOptions, "the value is a password alone, and nothing says where the server is"), `address = "rediss://HOST:PORT"`)
	case !isURL:
		at := *r.address
		at.user = either(r.user, "default")
		return at, nil
	case r.user != "" && u.user != "" && u.user != r.user:
		return place{}, withRemedy(providers.Not(providers.CodeOptions, "the connection URL is of the user %q, and the options are of %q", u.user, r.user), "leave user out, or set the right URL")
	}
	u.user = either(either(u.user, r.user), "default")
	return u, nil
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// readURL reads a connection URL, when the value is one.
func readURL(v secret.Value) (at place, isURL bool, err error) {
	var tls bool
	if err := v.Use(func(b []byte) error {
		isURL, tls = scheme().Match(b), bytes.HasPrefix(b, []byte("rediss:"))
		return nil
	}); err != nil || !isURL {
		return place{}, false, err
	}
	u, err := connurl.Parse(v, scheme())
	if errors.Is(err, connurl.ErrForm) {
		return place{}, true, broken("cannot be read")
	} else if err != nil {
		return place{}, true, err
	}
	at = place{url: u, tls: tls, host: u.Rest.Hostname(), port: either(u.Rest.Port(), "6379"), user: u.User}
	switch {
	case !u.Password:
		return at, true, broken("has no password")
	case at.host == "" || strings.Contains(u.Rest.Host, ","):
		return at, true, broken("does not name one host")
	case strings.ContainsAny(at.user, " \x00\r\n"):
		return at, true, broken("names a user with a space")
	}
	return at, true, nil
}

func broken(problem string) *providers.CallError {
	return withRemedy(providers.Not(providers.CodeOptions, "the connection URL %s", problem), form+", with %40, %2F and the like for what is special in a password")
}

// readAddress reads the address option: the path of a socket, a URL without a
// password, or host:port, which is in the clear and so for this machine alone.
func readAddress(text string) (*place, error) {
	wrong := func(problem string) error {
		return &providers.OptionError{Option: "address", Problem: problem, Remedy: `address = "rediss://HOST:PORT", with redis:// and plaintext = true for a server without TLS`}
	}
	if strings.HasPrefix(text, "/") {
		return &place{host: text}, nil
	}
	name, rest, ok := strings.Cut(text, "://")
	if !ok {
		host, port, err := net.SplitHostPort(text)
		switch {
		case err != nil || host == "" || port == "":
			return nil, wrong("the address is neither host:port nor a URL")
		case !connurl.Local(host):
			return nil, wrong("the address does not say whether the server, which is not on this machine, speaks TLS")
		}
		return &place{host: host, port: port}, nil
	}
	u, err := url.Parse("x://" + rest)
	switch {
	case err != nil || name != "redis" && name != "rediss":
		return nil, wrong("the address is neither host:port nor a URL")
	case u.User != nil:
		return nil, wrong("the address has a user in it; a password belongs into the secret")
	case u.Hostname() == "" || strings.Trim(u.Path, "/0123456789") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, wrong("the address is not a host and port alone")
	}
	return &place{host: u.Hostname(), port: either(u.Port(), "6379"), tls: name == "rediss"}, nil
}

// server is where the server is, for a person.
func (at place) server() string { return connurl.At(at.host, at.port) }

// account is what a user's passwords are of.
func (at place) account() string { return at.server() + "/" + at.user }

// password takes the password out of the value that the place was read from. It
// is the value itself when that is a password alone.
func (at place) password(v secret.Value) (secret.Value, error) {
	if at.url == nil {
		return v, nil
	}
	p, err := at.url.Secret(v)
	if errors.Is(err, connurl.ErrForm) {
		return p, broken("has a % in its password that two digits do not follow")
	}
	return p, err
}
