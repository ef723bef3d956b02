package main

import (
	"os"

	"golang.org/x/term"
)

// terminal returns the file behind a stream when it is a terminal.
func terminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// style is how a piece of text stands out on a terminal: the parameter of an
// SGR sequence. The zero value is none.
type style string

// The styles.
const (
	bold  style = "1"
	faint style = "2"
	red   style = "31"
	green style = "32"
)

// painter adds styles where they can be seen.
type painter bool

// paints returns the painter of a stream: one that does nothing unless it is a
// terminal and the person has not said NO_COLOR.
func (w *world) paints(stream any) painter {
	_, ok := terminal(stream)
	return painter(ok && w.getenv("NO_COLOR") == "" && w.getenv("TERM") != "dumb")
}

func (p painter) paint(s style, text string) string {
	if !p || s == "" || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}
