package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/gomodule/redigo/redis"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/connurl"
)

// session is a login. It is of one goroutine, and ends with the context it was
// made with.
type session struct {
	conn redis.Conn
	stop func() bool
	at   place
}

// login connects and logs in.
func (r *rotator) login(ctx context.Context, at place, v secret.Value) (*session, error) {
	conn, err := r.dial(ctx, at)
	if err != nil {
		return nil, err
	}
	// The library's own deadlines are not used: it resets any that is set.
	s := &session{redis.NewConn(&bounded{Conn: conn}, 0, 0), context.AfterFunc(ctx, func() { conn.Close() }), at}
	if err := s.auth(v); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) close() {
	s.stop()
	_ = s.conn.Close()
}

// tlsOf is how a server proves that it is the right one.
func (r *rotator) tlsOf(at place) (*tls.Config, error) {
	config := &tls.Config{ServerName: at.host, MinVersion: tls.VersionTLS12}
	if r.ca == "" {
		return config, nil
	}
	if err := providers.Trusted("tls_ca", r.ca); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(r.ca)
	config.RootCAs = x509.NewCertPool()
	if err != nil || !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, withRemedy(providers.Not(providers.CodeOptions, "there are no certificates to be read in %s", r.ca), "tls_ca = the file of who signed the server's certificate")
	}
	return config, nil
}

// dial connects.
func (r *rotator) dial(ctx context.Context, at place) (net.Conn, error) {
	if !at.tls && !r.plaintext && !connurl.Local(at.host) {
		return nil, withRemedy(providers.Not(providers.CodeOptions, "%s is not on this machine, and would be sent the password in the clear", at.server()),
			"rediss:// in place of redis://, or plaintext = true where nobody else can listen")
	}
	config, err := r.tlsOf(at)
	if err != nil {
		return nil, err
	}
	network, address := "tcp", at.server()
	if strings.HasPrefix(at.host, "/") {
		network = "unix"
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return nil, providers.Not(providers.CodeUnavailable, "nothing listens at %s", at.server())
	case errors.As(err, &dns) && dns.IsNotFound:
		return nil, providers.Not(providers.CodeUnavailable, "the host %q is not found", at.host)
	case err != nil:
		return nil, providers.Maybe(providers.CodeUnavailable, "%s does not answer", at.server())
	case !at.tls:
		return conn, nil
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, withRemedy(providers.Maybe(providers.CodeUnavailable, "%s does not speak TLS with us", at.server()), "look at the server's certificate and at tls_ca; redis:// for a server without TLS")
	}
	return secure, nil
}

// auth logs in. The library's buffer has the password in it until it is
// overwritten or collected.
func (s *session) auth(v secret.Value) error {
	password, err := s.at.password(v)
	if err != nil {
		return err
	}
	if s.at.url != nil {
		defer password.Clear()
	}
	var plain []byte
	if err := password.Use(func(b []byte) error { plain = append(plain, b...); return nil }); err != nil {
		return err
	}
	defer clear(plain)
	_, err = s.conn.Do("AUTH", s.at.user, plain)
	var said redis.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &said):
		return providers.Maybe(providers.CodeUnavailable, "%s does not answer", s.at.server())
	case word(said) == "WRONGPASS":
		return providers.Not(providers.CodeInvalid, "%s refuses the password of the user %q", s.at.server(), s.at.user)
	case word(said) == "DENIED":
		return withRemedy(providers.Not(providers.CodeUnavailable, "%s lets nobody in from here (protected mode)", s.at.server()), "bind the server to an address, or give the default user a password")
	case strings.HasPrefix(string(said), "ERR wrong number of arguments"):
		return providers.Not(providers.CodeUnsupported, "%s has no users: it is older than Redis 6", s.at.server())
	}
	return providers.Maybe(providers.CodeUnavailable, "%s is not open for logins", s.at.server())
}

// word is the first word of an error, which is a code; the rest is a text that
// may quote what was sent.
func word(said redis.Error) string {
	w, _, _ := strings.Cut(string(said), " ")
	return w
}

// ask asks something that changes nothing.
func (s *session) ask(args ...any) (any, error) {
	answer, err := s.conn.Do(args[0].(string), args[1:]...)
	var said redis.Error
	switch {
	case err == nil:
		return answer, nil
	case !errors.As(err, &said):
		return nil, providers.Maybe(providers.CodeUnavailable, "%s did not answer", s.at.server())
	}
	return nil, s.failed(said)
}

// change asks for a change.
func (s *session) change(args ...any) error {
	_, err := s.ask(args...)
	return err
}

// failed says what an answer means that is an error: the server did not do it.
func (s *session) failed(said redis.Error) error {
	switch word(said) {
	case "NOPERM":
		return withRemedy(providers.Not(providers.CodeDenied, "the user %q may not do this at %s", s.at.user, s.at.server()), "ACL SETUSER "+s.at.user+" "+rights)
	case "NOAUTH":
		return providers.Not(providers.CodeDenied, "%s ended the login of the user %q", s.at.server(), s.at.user)
	}
	return providers.Not(providers.CodeUnavailable, "%s refused the command", s.at.server())
}
