package main

import "golang.org/x/sys/unix"

const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETSF // what was typed before the prompt is no answer to it
)

// maxLine is the longest line a terminal takes, in bytes: N_TTY_BUF_SIZE
// without the newline. What is typed beyond it is lost without a word.
const maxLine = 4095
