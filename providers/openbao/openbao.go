// Package openbao is the store that is a server: a KV v2 engine of OpenBao, or
// of HashiCorp Vault.
//
// It guards against a value that goes anywhere but to that server: no redirect
// is followed, no proxy and no VAULT_ or BAO_ setting is taken from the
// environment, and nothing but TLS leaves the machine. It guards as well against
// "cannot be read" being taken for "is not there": of all that is answered with
// 404, only what a KV v2 engine says of a missing key is that.
//
// A value goes from the answer to locked memory, and from there into a request,
// without being a string in between, and both bodies are in locked memory too.
// What we cannot clear are the buffers of net/http and crypto/tls that a body
// goes through, the header with the token, which is a string, the last block that
// was hashed, and whatever the server itself does.
//
// The client is ours, since that of OpenBao makes strings of values, reads the
// environment, follows redirects and repeats requests, and costs a tenth of the
// start of every command.
package openbao

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"secretctl/providers"
)

// The names of the options.
const (
	addressOption   = "address"
	mountOption     = "mount"
	prefixOption    = "prefix"
	namespaceOption = "namespace"
	roleOption      = "role_id"
	secretOption    = "secret_id"
	wrappedOption   = "wrapped"
	tokenOption     = "token"
	tokenFileOption = "token_file"
	caOption        = "ca"
	sharedOption    = providers.SharedOption
)

// Kind is this kind of store.
func Kind() providers.StoreKind {
	return providers.StoreKind{
		Name:    "openbao",
		Summary: "a KV v2 engine of OpenBao or HashiCorp Vault",
		Options: []providers.Option{
			{Name: addressOption, Type: providers.Text, Required: true, Example: `"https://bao.internal:8200"`, Help: "where the server is; http is for this machine alone"},
			{Name: mountOption, Type: providers.Text, Required: true, Example: `"secret"`, Help: "where its KV v2 engine is mounted"},
			{Name: prefixOption, Type: providers.Text, Default: "secretctl", Example: `"secretctl"`, Help: "the folder there that our secrets are in"},
			{Name: namespaceOption, Type: providers.Text, Example: `"team"`, Help: "the namespace of the login and the mount"},
			{Name: roleOption, Type: providers.Own, Example: `"own/bao-role-id"`, Help: "the secret with the role_id of an AppRole"},
			{Name: secretOption, Type: providers.Own, Example: `"own/bao-secret-id"`, Help: "the secret with its secret_id"},
			{Name: wrappedOption, Type: providers.Switch, Example: "true", Help: "that secret holds a wrapping token for the secret_id, which is kept in memory alone: each start of the broker takes another one"},
			{Name: tokenOption, Type: providers.Own, Example: `"own/bao-token"`, Help: "instead of an AppRole, the secret with a token, which is renewed"},
			{Name: tokenFileOption, Type: providers.File, Example: `"/run/bao-agent/token"`, Help: "or the file with a token that somebody else renews, such as bao agent"},
			{Name: caOption, Type: providers.File, Example: `"/etc/ssl/internal.pem"`, Help: "the certificates that vouch for the server, instead of the system's"},
			{Name: sharedOption, Type: providers.Switch, Example: "true", Help: "secretctl on other hosts keeps the same secrets there; without, nobody else may use the folder"},
		},
		// What others change there is seen within this time.
		Fresh: time.Minute,
		Open:  open,
	}
}

func open(s providers.StoreSetup) (providers.Store, error) {
	o := s.Options
	base, err := parseAddress(o.Text(addressOption))
	if err != nil {
		return nil, err
	}
	for _, name := range []string{mountOption, prefixOption, namespaceOption} {
		if o.Text(name) == "" && name == namespaceOption {
			continue
		}
		if !isPath(o.Text(name)) {
			return nil, &providers.OptionError{
				Option: name, Problem: fmt.Sprintf("%q is not a path of letters, digits, -, _ and . without a / at its ends", name), Remedy: name + ` = "secret"`,
			}
		}
	}
	if o.IsSet(caOption) && base.Scheme != "https" {
		return nil, &providers.OptionError{Option: caOption, Problem: fmt.Sprintf("%q is for an address with https", caOption), Remedy: "leave it out"}
	}
	how, err := chooseLogin(s)
	if err != nil {
		return nil, err
	}
	store := newStore(&client{base: base, namespace: o.Text(namespaceOption), ca: o.Text(caOption)}, o.Text(mountOption), o.Text(prefixOption), how)
	if o.Switch(sharedOption) {
		return shared{store}, nil
	}
	return store, nil
}

func parseAddress(address string) (*url.URL, error) {
	base, err := url.Parse(address)
	wrong := func(problem string) error {
		return &providers.OptionError{Option: addressOption, Problem: problem, Remedy: addressOption + ` = "https://bao.internal:8200"`}
	}
	switch {
	case err != nil || base.Hostname() == "":
		return nil, wrong(fmt.Sprintf("%q is not the address of a server", addressOption))
	case base.User != nil || base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return nil, wrong(fmt.Sprintf("%q has a password, a query or a fragment in it; it is an address alone", addressOption))
	case base.Scheme == "http" && !loopback(base.Hostname()):
		return nil, wrong(fmt.Sprintf("%q would send secrets in the clear: http is for this machine alone", addressOption))
	case base.Scheme != "https" && base.Scheme != "http":
		return nil, wrong(fmt.Sprintf("%q must begin with https://", addressOption))
	}
	return base, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// isPath reports whether text is a path that no URL spells otherwise.
func isPath(text string) bool {
	for s := range strings.SplitSeq(text, "/") {
		if s == "" || s == "." || s == ".." || strings.ContainsFunc(s, odd) {
			return false
		}
	}
	return true
}

func odd(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
}

// chooseLogin returns the one way to log in that the options say.
func chooseLogin(s providers.StoreSetup) (login, error) {
	o := s.Options
	wrong := func(option, problem, remedy string) (login, error) {
		return nil, &providers.OptionError{Option: option, Problem: problem, Remedy: remedy}
	}
	role := o.IsSet(roleOption) || o.IsSet(secretOption)
	switch {
	case role && o.IsSet(tokenOption), role && o.IsSet(tokenFileOption), o.IsSet(tokenOption) && o.IsSet(tokenFileOption):
		return wrong("", "it says more than one way to log in", "keep role_id with secret_id, token, or token_file")
	case role && o.Own(roleOption) == "":
		return wrong(secretOption, "secret_id is nothing without role_id", `role_id = "own/bao-role-id"`)
	case role && o.Own(secretOption) == "":
		return wrong(roleOption, "role_id is nothing without secret_id", `secret_id = "own/bao-secret-id"`)
	case o.Switch(wrappedOption) && !role:
		return wrong(wrappedOption, "wrapped is for a secret_id", "leave it out")
	case role:
		return &appRole{own: s.Own, role: o.Own(roleOption), secret: o.Own(secretOption), wrapped: o.Switch(wrappedOption)}, nil
	case o.IsSet(tokenOption):
		return &ownToken{own: s.Own, name: o.Own(tokenOption)}, nil
	case o.IsSet(tokenFileOption):
		return &tokenFile{path: o.Text(tokenFileOption)}, nil
	}
	return wrong("", "it does not say how to log in", `role_id = "own/bao-role-id" with secret_id = "own/bao-secret-id", or token = "own/bao-token"`)
}
