package ssh

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"secretctl/providers"
)

// conn is a login that has succeeded, with the key that was shown and no other
// means. It must be closed.
type conn struct {
	client *ssh.Client
	host   host
	stop   func() bool // no longer ends with the context
}

func (c *conn) Close() {
	c.stop()
	c.client.Close()
	_ = c.client.Wait() // its goroutines are done
}

// login logs in with one key. The context also ends what is done with the
// connection later. Nothing was done where it fails: the errors are all
// DefinitelyNot, CodeInvalid where the host refuses the key and CodeUnavailable
// where it says nothing of it.
func (r *rotator) login(ctx context.Context, h host, k ssh.Signer) (*conn, error) {
	proof, err := r.keys(h)
	if err != nil {
		return nil, err
	}
	tcp, err := (&net.Dialer{}).DialContext(ctx, "tcp", h.addr)
	if err != nil {
		return nil, unreachable(ctx, h, "cannot be reached")
	}
	// Closing is the one thing that ends a handshake or a session in any phase.
	stop := context.AfterFunc(ctx, func() { tcp.Close() })

	supported := ssh.SupportedAlgorithms()
	var wrongKey, asked, offered, partly bool
	inner, channels, requests, err := ssh.NewClientConn(tcp, h.addr, &ssh.ClientConfig{
		Config: ssh.Config{
			KeyExchanges: supported.KeyExchanges,
			Ciphers:      supported.Ciphers,
			MACs:         slices.DeleteFunc(supported.MACs, func(m string) bool { return m == ssh.HMACSHA1 }),
		},
		User:              h.user,
		HostKeyAlgorithms: proof.algorithms,
		HostKeyCallback: func(name string, remote net.Addr, key ssh.PublicKey) error {
			err := proof.check(name, remote, key)
			wrongKey = err != nil
			return err
		},
		Auth: []ssh.AuthMethod{ssh.PublicKeys(k)},
		// Called before the key is tried, and again when it was not enough; never where
		// the host lets in whoever asks.
		AuthCallback: func(a *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
			asked = true
			offered = slices.Contains(a.TriedMethods, "publickey")
			partly = slices.Contains(a.PartialSuccessMethods, "publickey")
			return nil, nil
		},
	})
	if err == nil && asked {
		return &conn{ssh.NewClient(inner, channels, requests), h, stop}, nil
	}
	stop()
	tcp.Close()
	var none *ssh.AlgorithmNegotiationError
	switch {
	case err == nil:
		return nil, providers.Not(providers.CodeOptions, "%s lets everybody in who knows the user's name: no key of it proves anything", h.text)
	case ctx.Err() != nil:
		return nil, unreachable(ctx, h, "")
	case wrongKey:
		return nil, otherKey(h)
	case errors.As(err, &none) && none.What == "host key":
		return nil, otherKey(h)
	case errors.As(err, &none):
		return nil, providers.Not(providers.CodeOptions, "%s knows none of the algorithms that are still safe", h.text)
	case partly:
		return nil, providers.Not(providers.CodeUnsupported, "%s asks for more than a key", h.text)
	case offered && refused(err):
		return nil, providers.Not(providers.CodeInvalid, "%s refuses the key %s", h.text, ssh.FingerprintSHA256(k.PublicKey()))
	case refused(err):
		return nil, providers.Not(providers.CodeUnsupported, "%s takes no keys", h.text)
	}
	return nil, unreachable(ctx, h, "ended the connection before it said whether the key is accepted")
}

// refused reports whether the host answered no to all that was tried. The
// library has no type for that, and counts a connection that was cut as tried.
func refused(err error) bool {
	inner := errors.Unwrap(err)
	return inner != nil && strings.HasPrefix(inner.Error(), "ssh: unable to authenticate")
}

func otherKey(h host) error {
	return &providers.CallError{
		Outcome: providers.DefinitelyNot, Code: providers.CodeOptions,
		Problem: h.text + " has another host key than the one that is known: it may be another machine",
		Remedy:  scan(h),
	}
}

// unreachable is a host that said nothing about the key.
func unreachable(ctx context.Context, h host, why string) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		why = "did not answer in time"
	case ctx.Err() != nil:
		why = "was not waited for"
	}
	return providers.Not(providers.CodeUnavailable, "%s %s", h.text, why)
}
