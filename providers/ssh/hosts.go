package ssh

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"secretctl/providers"
)

// host is a login on a host.
type host struct {
	text string // as the config has it, for messages
	user string
	addr string // host:port
}

const sshPort = "22"

var (
	hostName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?$`) })
	userName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[^\s\x00-\x1f\x7f-]\S*$`) })
)

// parseHosts reads user@host[:port], with IPv6 addresses in brackets.
func parseHosts(list []string) ([]host, error) {
	if len(list) == 0 {
		return nil, &providers.OptionError{Option: "hosts", Problem: `"hosts" names no host`, Remedy: hostsExample}
	}
	var all []host
	seen := make(map[host]bool)
	for _, text := range list {
		h, ok := parseHost(text)
		if !ok {
			return nil, &providers.OptionError{Option: "hosts", Problem: fmt.Sprintf("%q is no login on a host", text), Remedy: `"user@host", "user@host:port" or "user@[IPv6 address]:port"`}
		}
		if seen[h.login()] {
			return nil, &providers.OptionError{Option: "hosts", Problem: fmt.Sprintf("%q is there twice", text), Remedy: "name each login once"}
		}
		seen[h.login()] = true
		all = append(all, h)
	}
	return all, nil
}

// login is the host however it is written.
func (h host) login() host { return host{user: h.user, addr: strings.ToLower(h.addr)} }

// without returns those of the hosts that others lack, each once.
func without(hosts, others []host) (out []string) {
	for _, h := range hosts {
		is := func(o host) bool { return o.login() == h.login() }
		if !slices.ContainsFunc(others, is) {
			out, others = append(out, h.text), append(slices.Clip(others), h)
		}
	}
	return out
}

// hostsOf are the hosts that a credential is installed on, as far as its Facts
// have them.
func hostsOf(cred *providers.Credential) (all []host) {
	if cred == nil {
		return nil
	}
	for _, text := range strings.Fields(cred.Facts[factHosts]) {
		if h, ok := parseHost(text); ok {
			all = append(all, h)
		}
	}
	return all
}

func parseHost(text string) (host, bool) {
	at := strings.LastIndexByte(text, '@')
	if at < 0 || !userName().MatchString(text[:at]) {
		return host{}, false
	}
	name, port := text[at+1:], sshPort
	if in, after, ok := strings.Cut(strings.TrimPrefix(name, "["), "]"); ok && strings.HasPrefix(name, "[") {
		ip, err := netip.ParseAddr(in)
		if err != nil || !ip.Is6() {
			return host{}, false
		}
		name = in
		if after != "" {
			if port, ok = strings.CutPrefix(after, ":"); !ok {
				return host{}, false
			}
		}
	} else {
		if before, after, ok := strings.Cut(name, ":"); ok {
			name, port = before, after
		}
		if !hostName().MatchString(name) {
			return host{}, false
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return host{}, false
	}
	return host{text, text[:at], net.JoinHostPort(name, port)}, true
}
