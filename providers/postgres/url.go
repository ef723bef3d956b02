package postgres

import (
	"errors"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/connurl"
)

// place is where a connection URL leads and as whom: all of it but the
// password.
type place struct {
	*connurl.URL
	host, port, database string
	query                url.Values // what the URL says of TLS is in it
}

// scheme begins a connection URL. Some libraries have the driver's name in it.
var scheme = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^postgres(ql)?(\+[a-z0-9_]+)?://`) })

// form is what a connection URL looks like.
const form = "postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full"

// elsewhere are settings that a query could have to say who logs in, or where.
var elsewhere = []string{"user", "password", "dbname", "passfile", "service", "servicefile", "hostaddr"}

// parse reads a connection URL. No error has any of its text.
func parse(v secret.Value) (place, error) {
	u, err := connurl.Parse(v, scheme())
	switch {
	case errors.Is(err, connurl.ErrForm):
		return place{}, broken("is not one", form+", with %40, %2F and the like for what is special in a password")
	case err != nil:
		return place{}, err
	}
	at := place{URL: u, host: u.Rest.Hostname(), port: u.Rest.Port(), database: strings.TrimPrefix(u.Rest.Path, "/")}
	if at.query, err = url.ParseQuery(u.Rest.RawQuery); err != nil {
		return at, broken("has a query that cannot be read", form)
	}
	if h := at.query.Get("host"); h != "" {
		at.host = h
	}
	if p := at.query.Get("port"); p != "" {
		at.port = p
	}
	if at.port == "" {
		at.port = "5432"
	}
	return at, at.complete()
}

// complete sees that the URL says all that a login needs, and says it once.
func (at place) complete() error {
	for _, name := range elsewhere {
		if at.query.Has(name) {
			return broken("says "+name+" in its query", "say it where it belongs: "+form)
		}
	}
	root := at.query.Get("sslrootcert")
	switch {
	case at.User == "":
		return broken("names no user", form)
	case !at.Password:
		return broken("has no password", form)
	case at.host == "":
		return broken("names no host", form)
	case strings.Contains(at.Rest.Host+at.host+at.port, ","):
		return broken("names more than one host", "name the one that roles are changed on")
	case at.database == "":
		return broken("names no database", form)
	case strings.ContainsRune(at.User+at.host+at.port+at.database, 0):
		return broken("has a zero byte", form)
	case root != "" && root != "system" && !filepath.IsAbs(root):
		return broken("has an sslrootcert that is not an absolute path", "sslrootcert=/path/to/ca.pem")
	}
	return nil
}

func broken(problem, remedy string) *providers.CallError {
	return withRemedy(providers.Not(providers.CodeOptions, "the connection URL %s", problem), remedy)
}

// account is what both roles' credentials are of.
func (at place) account() string { return at.server() + "/" + at.database }

// server is where the server is, for a person.
func (at place) server() string { return connurl.At(at.host, at.port) }

// password takes the password out of the URL that the place was read from.
func (at place) password(v secret.Value) (secret.Value, error) {
	p, err := at.Secret(v)
	if errors.Is(err, connurl.ErrForm) {
		return p, broken("has a % in its password that two digits do not follow", form+", with %25 for it")
	}
	return p, err
}
