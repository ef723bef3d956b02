package sock_test

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"secretctl/sock"
)

// BenchmarkAccept is a connection let in with the full check of its peer,
// against one that is only accepted. x-plain is the ratio.
func BenchmarkAccept(b *testing.B) {
	dir := shortDir(b)
	plain, err := net.Listen("unix", filepath.Join(dir, "plain"))
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	self, err := sock.PinExecutable("/bin/sh") // not what runs: the check is the same
	if err != nil {
		b.Fatal(err)
	}
	checked := listenAt(b, filepath.Join(dir, "s"), sock.ListenOptions{Admit: func(p *sock.Peer) error {
		_ = p.Runs([]sock.Pin{self})
		return p.Alive()
	}})
	var spent [2]time.Duration
	for b.Loop() {
		for i, l := range []net.Listener{plain, checked} {
			start := time.Now()
			client, err := net.Dial("unix", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			c, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			_, _ = c.Close(), client.Close()
			spent[i] += time.Since(start)
		}
	}
	report(b, spent)
}

// BenchmarkRead is a read whose sender is checked, against one that is not.
func BenchmarkRead(b *testing.B) {
	dir := shortDir(b)
	plain, err := net.Listen("unix", filepath.Join(dir, "plain"))
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	checked := listenAt(b, filepath.Join(dir, "s"), sock.ListenOptions{})
	var clients, servers [2]net.Conn
	for i, l := range []net.Listener{plain, checked} {
		clients[i] = dial(b, l.Addr().String())
		if servers[i], err = l.Accept(); err != nil {
			b.Fatal(err)
		}
		defer servers[i].Close()
	}
	request, buf := make([]byte, 200), make([]byte, 4096)
	var spent [2]time.Duration
	b.ReportAllocs()
	for b.Loop() {
		for i := range servers {
			if _, err := clients[i].Write(request); err != nil {
				b.Fatal(err)
			}
			start := time.Now()
			if _, err := servers[i].Read(buf); err != nil {
				b.Fatal(err)
			}
			spent[i] += time.Since(start)
		}
	}
	report(b, spent)
}

func report(b *testing.B, spent [2]time.Duration) {
	n := float64(b.N)
	b.ReportMetric(float64(spent[0])/n, "ns/plain")
	b.ReportMetric(float64(spent[1])/n, "ns/checked")
	b.ReportMetric(float64(spent[1])/float64(spent[0]), "x-plain")
}
