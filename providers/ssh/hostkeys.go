package ssh

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"secretctl/providers"
)

// proof is how a host proves that it is the one that is meant.
type proof struct {
	check      ssh.HostKeyCallback
	algorithms []string // those of the keys it is known by: it must not show another
}

// hostKeys finds the proof of a host.
type hostKeys func(host) (proof, error)

// errOtherKey is what a check says of a key that is not the host's.
var errOtherKey = errors.New("the host has another key")

// listedKeys reads the option host_keys: lines of a known_hosts file, or keys
// alone, which are those of every host.
func listedKeys(list []string, hosts []host) (hostKeys, error) {
	byAddr := make(map[string][]ssh.PublicKey)
	wrong := func(line, why string) error {
		return &providers.OptionError{Option: "host_keys", Problem: fmt.Sprintf("%q %s", line, why), Remedy: `"ssh-ed25519 AAAA…" or "host ssh-ed25519 AAAA…", as ssh-keyscan prints it`}
	}
	for _, line := range list {
		if key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil && len(options) == 0 && len(rest) == 0 && strings.HasPrefix(strings.TrimSpace(line), key.Type()) {
			for _, h := range hosts {
				byAddr[knownhosts.Normalize(h.addr)] = append(byAddr[knownhosts.Normalize(h.addr)], key)
			}
			continue
		}
		marker, names, key, _, rest, err := ssh.ParseKnownHosts([]byte(line))
		if err != nil || len(rest) != 0 {
			return nil, wrong(line, "is no host key")
		}
		if marker != "" || slices.ContainsFunc(names, func(n string) bool { return strings.ContainsAny(n, "*?!|") }) {
			return nil, wrong(line, "is a line that only a known_hosts file can have")
		}
		for _, n := range names {
			byAddr[knownhosts.Normalize(n)] = append(byAddr[knownhosts.Normalize(n)], key)
		}
	}
	for _, h := range hosts {
		keys := byAddr[knownhosts.Normalize(h.addr)]
		if len(keys) == 0 {
			return nil, &providers.OptionError{Option: "host_keys", Problem: fmt.Sprintf("there is no host key of %q", knownhosts.Normalize(h.addr)), Remedy: scan(h)}
		}
		if len(algorithms(keys)) == 0 {
			return nil, &providers.OptionError{Option: "host_keys", Problem: fmt.Sprintf("the host keys of %q are of kinds that are not safe", h.text), Remedy: scan(h)}
		}
	}
	return func(h host) (proof, error) {
		keys := byAddr[knownhosts.Normalize(h.addr)]
		return proof{func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) }) {
				return nil
			}
			return errOtherKey
		}, algorithms(keys)}, nil
	}, nil
}

// knownHosts reads a known_hosts file whenever it is asked. Keys of a
// certificate authority (@cert-authority) are not used.
func knownHosts(path string) hostKeys {
	return func(h host) (proof, error) {
		options := func(remedy, format string, args ...any) error {
			return &providers.CallError{Outcome: providers.DefinitelyNot, Code: providers.CodeOptions, Problem: fmt.Sprintf(format, args...), Remedy: remedy}
		}
		if err := providers.Trusted("the known_hosts file", path); err != nil {
			return proof{}, err
		}
		check, err := knownhosts.New(path)
		if errors.Is(err, fs.ErrPermission) {
			return proof{}, options("let the broker's user read it, or set host_keys", "the known_hosts file %q cannot be read", path)
		} else if err != nil {
			return proof{}, options("ssh-keygen -l -f "+path+" finds the line", "the known_hosts file %q is not one", path)
		}
		// The callback tells which keys the host has when it is shown one that no host
		// can have.
		nobody, err := ssh.NewPublicKey(make(ed25519.PublicKey, ed25519.PublicKeySize))
		if err != nil {
			return proof{}, err
		}
		var mismatch *knownhosts.KeyError
		if err := check(h.addr, &net.TCPAddr{}, nobody); !errors.As(err, &mismatch) || len(mismatch.Want) == 0 {
			return proof{}, options(scan(h)+" >> "+path, "%q is not in the known_hosts file %q", knownhosts.Normalize(h.addr), path)
		}
		var keys []ssh.PublicKey
		for _, k := range mismatch.Want {
			keys = append(keys, k.Key)
		}
		if len(algorithms(keys)) == 0 {
			return proof{}, options(scan(h)+" >> "+path, "the known_hosts file %q has keys of %q of unsafe kinds alone", path, h.text)
		}
		return proof{check, algorithms(keys)}, nil
	}
}

// scan is what finds a host's keys. What it finds has to be compared.
func scan(h host) string {
	name, port, _ := net.SplitHostPort(h.addr)
	if port != sshPort {
		name = "-p " + port + " " + name
	}
	return "compare with the host's own, then: ssh-keyscan -t ed25519 " + name
}

// algorithms returns those with which a host can prove that it has one of the
// keys.
func algorithms(keys []ssh.PublicKey) (usable []string) {
	for _, a := range ssh.SupportedAlgorithms().HostKeys {
		kind := a
		if a == ssh.KeyAlgoRSASHA256 || a == ssh.KeyAlgoRSASHA512 {
			kind = ssh.KeyAlgoRSA
		}
		if slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return k.Type() == kind }) {
			usable = append(usable, a)
		}
	}
	return usable
}
