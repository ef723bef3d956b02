package mask_test

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"secretctl/broker/mask"
	"secretctl/broker/secret/canary"
)

// screen is what a person sees.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// watching runs a test of what is seen when, in a bubble of its own. The Writer
// it is given is closed by it.
func watching(t *testing.T, secrets []known, opts mask.Options, test func(t *testing.T, w *mask.Writer, s *screen)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := new(screen)
		test(t, mask.NewWriter(s, newSet(t, secrets), opts), s)
	})
}

func write(t *testing.T, w *mask.Writer, text string) {
	t.Helper()
	n, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.Equal(t, len(text), n)
}

// pass lets time go by, and what is due happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestPrompt: what could begin anything is held back for 50 ms, not longer.
func TestPrompt(t *testing.T) {
	secrets := []known{{"a", canary.New(t, "a")}}
	for _, shapes := range []bool{false, true} {
		watching(t, secrets, mask.Options{Shapes: shapes}, func(t *testing.T, w *mask.Writer, s *screen) {
			write(t, w, "Password for joel: ")
			pass(49 * time.Millisecond)
			require.NotContains(t, s.String(), "joel: ")
			pass(time.Millisecond)
			require.Equal(t, "Password for joel: ", s.String())
			require.NoError(t, w.Close())
			require.Equal(t, "Password for joel: ", s.String())
		})
	}
	watching(t, secrets, mask.Options{Delay: time.Second}, func(t *testing.T, w *mask.Writer, s *screen) {
		write(t, w, "> ")
		pass(999 * time.Millisecond)
		require.Empty(t, s.String())
		pass(time.Millisecond)
		require.Equal(t, "> ", s.String())
		require.NoError(t, w.Close())
	})
}

// TestTrickle: a value whose bytes come with pauses that are longer than the delay
// is known from its eighth byte on; with shorter ones none of it is seen.
func TestTrickle(t *testing.T) {
	value := canary.New(t, "value")
	for pause, want := range map[time.Duration]string{
		49 * time.Millisecond: "x [secretctl:a] y",
		51 * time.Millisecond: "x " + value[:7] + "[secretctl:a] y",
		time.Hour:             "x " + value[:7] + "[secretctl:a] y",
	} {
		watching(t, []known{{"a", value}}, mask.Options{}, func(t *testing.T, w *mask.Writer, s *screen) {
			for _, c := range "x " + value + " y" {
				write(t, w, string(c))
				pass(pause)
			}
			require.NoError(t, w.Close())
			require.Equal(t, want, s.String())
		})
	}
}

// TestHeld: what agrees with the beginning of a value is held back until it is
// told, however long that takes.
func TestHeld(t *testing.T) {
	value := canary.New(t, "value")
	watching(t, []known{{"a", value}}, mask.Options{}, func(t *testing.T, w *mask.Writer, s *screen) {
		write(t, w, "key="+value[:len(value)-1])
		pass(time.Hour)
		require.Equal(t, "key=", s.String())
		write(t, w, "?")
		pass(50 * time.Millisecond)
		require.Equal(t, "key="+value[:len(value)-1]+"?", s.String())
		write(t, w, value[:8])
		pass(time.Hour)
		require.Equal(t, "key="+value[:len(value)-1]+"?", s.String())
		require.NoError(t, w.Close())
		require.Equal(t, "key="+value[:len(value)-1]+"?"+value[:8], s.String())
	})
}

// TestFloorTells: a space, or the end of the line, tells at once that a value
// without one is not there, though it begins as the text does.
func TestFloorTells(t *testing.T) {
	url := "https://hooks.example/" + canary.New(t, "url")
	words := "correct horse " + canary.New(t, "words")
	watching(t, []known{{"url", url}, {"words", words}}, mask.Options{}, func(t *testing.T, w *mask.Writer, s *screen) {
		write(t, w, "open https://login.example and type the code: ")
		pass(50 * time.Millisecond)
		require.Equal(t, "open https://login.example and type the code: ", s.String())
		write(t, w, "\ncorrect horse\n$ ")
		pass(50 * time.Millisecond)
		require.True(t, strings.HasSuffix(s.String(), "\ncorrect horse\n$ "), s.String())
		write(t, w, "correct horse ")
		pass(time.Hour)
		require.True(t, strings.HasSuffix(s.String(), "\n$ "), s.String())
		require.NoError(t, w.Close())
	})
}

// TestHeadTells: after 64 bytes it is told that a long value is not there.
func TestHeadTells(t *testing.T) {
	value := pem(t)
	watching(t, []known{{"pem", value}}, mask.Options{}, func(t *testing.T, w *mask.Writer, s *screen) {
		other := "-----BEGIN CERTIFICATE-----\n" + strings.Repeat("M", 64) + "\n"
		write(t, w, other[:60])
		pass(time.Hour)
		require.Empty(t, s.String())
		write(t, w, other[60:])
		pass(50 * time.Millisecond)
		require.Equal(t, other, s.String())
		require.NoError(t, w.Close())
	})
}

// TestShorterIsShown: a value that may go on as a longer one is masked after the
// delay, and what follows is masked when it is the longer one.
func TestShorterIsShown(t *testing.T) {
	value := canary.New(t, "value")
	secrets := []known{{"short", value[:20]}, {"long", value}}
	for rest, want := range map[string]string{
		value[20:]:         "[secretctl:short][secretctl:long]",
		value[20:30]:       "[secretctl:short]" + value[20:30],
		value[20:30] + "?": "[secretctl:short]" + value[20:30] + "?",
	} {
		watching(t, secrets, mask.Options{}, func(t *testing.T, w *mask.Writer, s *screen) {
			write(t, w, value[:20])
			pass(49 * time.Millisecond)
			require.Empty(t, s.String())
			pass(time.Millisecond)
			require.Equal(t, "[secretctl:short]", s.String())
			write(t, w, rest[:5])
			pass(time.Hour)
			require.Equal(t, "[secretctl:short]", s.String())
			write(t, w, rest[5:])
			require.NoError(t, w.Close())
			require.Equal(t, want, s.String())
		})
	}
	// Another form of the same value is no other name.
	watching(t, []known{{"a", value + "  "}}, mask.Options{}, func(t *testing.T, w *mask.Writer, s *screen) {
		write(t, w, value)
		pass(time.Hour)
		write(t, w, "  ")
		require.NoError(t, w.Close())
		require.Equal(t, "[secretctl:a]", s.String())
	})
}

func TestClose(t *testing.T) {
	watching(t, nil, mask.Options{}, func(t *testing.T, w *mask.Writer, s *screen) {
		require.NoError(t, w.Close())
		require.ErrorIs(t, w.Close(), fs.ErrClosed)
		_, err := w.Write([]byte("x"))
		require.ErrorIs(t, err, fs.ErrClosed)
		require.Empty(t, s.String())
	})
	watching(t, []known{{"a", canary.New(t, "a")}}, mask.Options{}, func(t *testing.T, w *mask.Writer, s *screen) {
		write(t, w, "tail")
		require.NoError(t, w.Close())
		require.Equal(t, "tail", s.String())
		w.Idle() // one that was waiting for the lock
		require.False(t, w.Waiting())
		pass(time.Hour)
		require.Equal(t, "tail", s.String())
	})
}

// broken fails after some writes.
type broken int

var errBroken = errors.New("broken")

func (b *broken) Write(p []byte) (int, error) {
	if *b--; *b < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

// TestBroken: the error of the stream that is written to stays, also when it
// came up while nobody wrote.
func TestBroken(t *testing.T) {
	secrets := []known{{"a", canary.New(t, "a")}}
	line := strings.Repeat("x", 100)
	synctest.Test(t, func(t *testing.T) {
		dst := broken(1)
		w := mask.NewWriter(&dst, newSet(t, secrets), mask.Options{})
		write(t, w, line)
		n, err := w.Write([]byte(line))
		require.ErrorIs(t, err, errBroken)
		require.Zero(t, n)
		_, err = w.Write([]byte(line))
		require.ErrorIs(t, err, errBroken)
		require.ErrorIs(t, w.Close(), errBroken)
	})
	synctest.Test(t, func(t *testing.T) {
		dst := broken(1)
		w := mask.NewWriter(&dst, newSet(t, secrets), mask.Options{})
		write(t, w, line)
		pass(time.Second)
		_, err := w.Write([]byte(line))
		require.ErrorIs(t, err, errBroken)
		require.ErrorIs(t, w.Close(), errBroken)
	})
}

// TestConcurrent: many write to one Writer, a line at a time, and many Writers
// share a Set, while delays run out.
func TestConcurrent(t *testing.T) {
	secrets := related(t)
	set, o := newSet(t, secrets), newOracle(secrets)
	line := "some " + secrets[2].value + " text\n"
	want := string(o.mask([]byte(line)))
	var wg sync.WaitGroup
	for range 4 {
		s := new(screen)
		w := mask.NewWriter(s, set, mask.Options{Delay: time.Microsecond})
		var writers sync.WaitGroup
		for range 4 {
			writers.Go(func() {
				for range 200 {
					_, err := w.Write([]byte(line))
					assert.NoError(t, err)
				}
			})
		}
		wg.Go(func() {
			writers.Wait()
			assert.NoError(t, w.Close())
			assert.Equal(t, strings.Repeat(want, 800), s.String())
		})
	}
	wg.Wait()
}
