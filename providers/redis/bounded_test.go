package redis

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// given is a connection that brings a text.
type given struct {
	net.Conn
	io.Reader
}

func (g given) Read(p []byte) (int, error) { return g.Reader.Read(p) }
func (given) Close() error                 { return nil }

func TestBounded(t *testing.T) {
	for text, fits := range map[string]bool{
		"+OK\r\n":                            true,
		"$12\r\n$99999999999\r\n+OK\r\n":     true,
		"*2\r\n$1\r\na\r\n$-1\r\n*-1\r\n":    true,
		"$200000000000\r\n":                  false,
		"$1048577\r\n":                       false,
		"*200000000000\r\n":                  false,
		"$99999999999999999999999999\r\n":    false,
		"-ERR " + strings.Repeat("x", 2<<20): false,
		"$1048576\r\n" + strings.Repeat("$", 1<<20) + "\r\n$1\r\na\r\n": true,
	} {
		for name, in := range map[string]io.Reader{"whole": strings.NewReader(text), "by bytes": iotest.OneByteReader(strings.NewReader(text))} {
			got, err := io.ReadAll(&bounded{Conn: given{Reader: in}})
			if fits {
				require.NoError(t, err, "%.40q %s", text, name)
				require.Equal(t, text, string(got))
			} else {
				require.ErrorIs(t, err, errReply, "%.40q %s", text, name)
			}
		}
	}
}

// TestHostileReply: a server that announces more than there is memory is one that
// does not answer.
func TestHostileReply(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("$200000000000\r\n"))
		}
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.ReadAll(&bounded{Conn: conn})
	require.ErrorIs(t, err, errReply)
}
