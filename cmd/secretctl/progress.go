package main

import "fmt"

// manyFiles is from how many on there is a progress line.
const manyFiles = 10

// progress is a line on a terminal that says how far something has come. Where
// nobody would see it, or it would be gone before, there is none.
type progress struct {
	w        *world
	of, done int
	what     string
	shown    bool
}

func (w *world) progress(of int, what string) *progress {
	_, ok := terminal(w.stderr)
	return &progress{w: w, of: of, what: what, shown: ok && of >= manyFiles}
}

// step says that one more is done.
func (p *progress) step() {
	if p.done++; p.shown {
		fmt.Fprintf(p.w.stderr, "\r\x1b[Ksecretctl: %d of %d %s", p.done, p.of, p.what)
	}
}

// end removes the line.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w.stderr, "\r\x1b[K")
	}
}
