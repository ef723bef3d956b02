package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"secretctl/broker"
	"secretctl/broker/secret"
)

// promptTwice asks for a value on a terminal that shows nothing of it, and
// again, since nobody saw what they typed.
func (w *world) promptTwice(tty *os.File, question string) (secret.Value, error) {
	first, err := w.promptHidden(tty, question)
	if err != nil {
		return secret.Value{}, err
	}
	again, err := w.promptHidden(tty, "once more: ")
	if err != nil {
		first.Clear()
		return secret.Value{}, err
	}
	defer again.Clear()
	if !first.Equal(again) {
		first.Clear()
		return secret.Value{}, errors.New("the two values are not the same: nothing was set")
	}
	return first, nil
}

// promptHidden asks for one line.
func (w *world) promptHidden(tty *os.File, question string) (value secret.Value, err error) {
	err = hidden(tty, func() error {
		fmt.Fprint(w.stderr, question)
		value, err = secret.Read(&line{tty: tty}, broker.MaxValue)
		fmt.Fprintln(w.stderr)
		return err
	})
	switch {
	case err != nil:
		value.Clear()
		return secret.Value{}, fmt.Errorf("reading the value: %w", err)
	case value.Len() >= maxLine:
		value.Clear()
		return secret.Value{}, hinted(fmt.Errorf("a terminal takes at most %d characters a line", maxLine), "secretctl set NAME < FILE")
	}
	return value, nil
}

// line reads one line of a terminal and ends before its newline.
type line struct {
	tty  *os.File
	done bool
}

func (l *line) Read(p []byte) (int, error) {
	if l.done {
		return 0, io.EOF
	}
	// A terminal gives at most a line at a time.
	n, err := l.tty.Read(p)
	if n > 0 && p[n-1] == '\n' {
		l.done, n, err = true, n-1, nil
		p[n] = 0
	}
	return n, err
}

// confirm asks before something that cannot be undone. Where nobody can be
// asked it must have been said before.
func (w *world) confirm(said bool, question string) error {
	if said {
		return nil
	}
	tty, ok := terminal(w.stdin)
	if !ok {
		return &usageError{text: "this cannot be undone, and there is no terminal to ask at", hint: "say --yes"}
	}
	fmt.Fprintf(w.stderr, "%s [y/N] ", shown(question))
	var answer [64]byte
	n, err := tty.Read(answer[:])
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(string(answer[:n]))) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}
