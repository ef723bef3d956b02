package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
)

// shelf is a vault that keeps names, and knows whether the values came whole.
type shelf struct {
	want  string
	names []string
	err   error
}

func (s *shelf) Import(_ context.Context, entries []broker.ImportEntry, dryRun bool) (results []broker.ImportResult, err error) {
	for _, e := range entries {
		whole := e.Value.Use(func(b []byte) error {
			if string(b) != s.want {
				return errors.New("it is another value")
			}
			return nil
		})
		if !dryRun {
			s.names = append(s.names, string(e.Name))
		}
		action := "created"
		if strings.HasSuffix(string(e.Name), "/there") {
			action = "updated"
		}
		results = append(results, broker.ImportResult{Name: e.Name, Action: action, Version: 1})
		err = errors.Join(err, whole)
	}
	return results, errors.Join(err, s.err)
}

// served runs the parent's side until the child's side hangs up.
func served(t *testing.T, vault importer, dryRun bool, child func(conn net.Conn)) error {
	ours, theirs := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- serveImports(t.Context(), ours, vault, "claw", dryRun) }()
	child(theirs)
	require.NoError(t, theirs.Close())
	err := <-done
	require.NoError(t, ours.Close())
	return err
}

func TestImportsThroughTheParent(t *testing.T) {
	vault := &shelf{want: canary.New(t, "value")}
	entry := func(name string) broker.ImportEntry {
		value, err := secret.New([]byte(vault.want))
		require.NoError(t, err)
		t.Cleanup(value.Clear)
		return broker.ImportEntry{Name: secret.Name(name), Env: "KEY", Value: value}
	}
	require.NoError(t, served(t, vault, false, func(conn net.Conn) {
		for range 2 { // it asks more than once
			results, err := parent{conn}.Import(t.Context(), []broker.ImportEntry{entry("claw/a"), entry("claw/b")}, false)
			require.NoError(t, err)
			require.Equal(t, []broker.ImportResult{{Name: "claw/a", Action: "created", Version: 1}, {Name: "claw/b", Action: "created", Version: 1}}, results)
		}
	}))
	require.Equal(t, []string{"claw/a", "claw/b", "claw/a", "claw/b"}, vault.names)

	// What is there is not replaced, nor what is with it stored.
	vault.names = nil
	require.NoError(t, served(t, vault, false, func(conn net.Conn) {
		_, err := parent{conn}.Import(t.Context(), []broker.ImportEntry{entry("claw/a"), entry("claw/there")}, false)
		require.ErrorContains(t, err, "claw/there is there already")
	}))
	require.Empty(t, vault.names)

	// A dry run is one whatever the child says.
	require.NoError(t, served(t, vault, true, func(conn net.Conn) {
		_, err := parent{conn}.Import(t.Context(), []broker.ImportEntry{entry("claw/a")}, false)
		require.NoError(t, err)
	}))
	require.Empty(t, vault.names)

	vault.err = hinted(errors.New("the vault is full"), "make room")
	require.NoError(t, served(t, vault, false, func(conn net.Conn) {
		_, err := parent{conn}.Import(t.Context(), []broker.ImportEntry{entry("claw/a")}, true)
		require.EqualError(t, err, "the vault is full")
		require.Equal(t, "make room", hintOf(err))
	}))
}

// TestImportsAreConfined: whatever the agent's side says, nothing is stored but
// under the prefix, and no more than there is room for.
func TestImportsAreConfined(t *testing.T) {
	for name, rows := range map[string][]importedRow{
		"elsewhere":         {{Name: "claw/a", Size: 1}, {Name: "github/token", Size: 1}},
		"the broker's own":  {{Name: "own/openai-admin", Size: 1}},
		"beside the prefix": {{Name: "clawed/a", Size: 1}},
		"no name":           {{Name: "claw/../own/x", Size: 1}},
		"too large":         {{Name: "claw/a", Size: broker.MaxValue + 1}},
		"negative":          {{Name: "claw/a", Size: -1}},
		"too much":          {{Name: "claw/a", Size: broker.MaxValue}, {Name: "claw/b", Size: broker.MaxValue}, {Name: "claw/c", Size: 1}},
		"too many":          make([]importedRow, maxImportEntries+1),
	} {
		vault := &shelf{want: "x"}
		err := served(t, vault, false, func(conn net.Conn) {
			require.NoError(t, send(conn, importRequest{Entries: rows}, nil), name)
			go func() { // the values, as far as they are taken
				for chunk := make([]byte, 64<<10); ; {
					if _, err := conn.Write(chunk); err != nil {
						return
					}
				}
			}()
			var reply importReply
			_, err := receive(conn, &reply)
			require.NoError(t, err, name)
			require.NotEmpty(t, reply.Error, name)
		})
		require.NoError(t, err, name)
		require.Empty(t, vault.names, name)
	}
	for name, frame := range map[string][]byte{
		"a frame too long": binary.BigEndian.AppendUint32(nil, maxEnvelope+1),
		"no JSON":          append(binary.BigEndian.AppendUint32(nil, 1), '{'),
	} {
		vault := &shelf{}
		require.NoError(t, served(t, vault, false, func(conn net.Conn) {
			_, err := conn.Write(frame)
			require.NoError(t, err)
			var reply importReply
			_, err = receive(conn, &reply)
			require.NoError(t, err, name)
			require.NotEmpty(t, reply.Error, name)
		}), name)
		require.Empty(t, vault.names)
	}
}

// TestPlainLines: a child of the agent's user cannot speak to root's terminal.
func TestPlainLines(t *testing.T) {
	var to written
	p := &plainLines{to: &to}
	for _, part := range []string{"one\ntw", "o\x1b]0;x\a\n", "left"} {
		n, err := p.Write([]byte(part))
		require.NoError(t, err)
		require.Equal(t, len(part), n)
	}
	p.end()
	p.end()
	require.Regexp(t, `\Aone\ntwo\S+0;x\S+\nleft\n\z`, string(to))
	require.NotContains(t, string(to), "\x1b")
}

// written is all that was written.
type written []byte

func (w *written) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	return len(b), nil
}
