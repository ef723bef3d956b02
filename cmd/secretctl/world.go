package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"secretctl/broker/clock"
)

// world is everything outside that a command touches, but for the home and the
// sockets.
type world struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(key string) (value string, ok bool)
	clock          clock.Clock
}

// getenv returns a variable of the environment, "" when it is not set.
func (w *world) getenv(key string) string {
	value, _ := w.env(key)
	return value
}

// say tells the person something that is not the answer.
func (w *world) say(format string, args ...any) {
	fmt.Fprintf(w.stderr, "secretctl: %s\n", shown(fmt.Sprintf(format, args...)))
}

// sayer says whatever is written to it.
type sayer struct{ w *world }

func (s sayer) Write(p []byte) (int, error) {
	s.w.say("%s", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// hint tells the person what to type next.
func (w *world) hint(text string) {
	if text != "" {
		w.say("hint: %s", text)
	}
}

// printf prints a part of the answer. What comes from outside is passed through
// [shown] by the caller.
func (w *world) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(w.stdout, format, args...)
	return err
}

// printJSON prints an answer that holds no value.
func (w *world) printJSON(v any) error {
	e := json.NewEncoder(w.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// since returns how long ago a time was.
func (w *world) since(t time.Time) time.Duration { return w.clock.Now().Wall.Sub(t) }
