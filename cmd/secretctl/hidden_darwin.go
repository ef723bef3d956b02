package main

import "golang.org/x/sys/unix"

const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETAF // what was typed before the prompt is no answer to it
)

// maxLine is the longest line a terminal takes, in bytes: MAX_CANON without the
// newline.
const maxLine = 1023
