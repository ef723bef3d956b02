package main

import (
	"errors"

	"secretctl/broker"
	"secretctl/broker/config"
	"secretctl/providers"
	"secretctl/sock"
)

// The exit codes. They are part of the outward contract.
const (
	exitOK         = 0
	exitError      = 1
	exitUsage      = 2
	exitDenied     = 3
	exitNotFound   = 4 // an owner asked for what is not there
	exitNotRunning = 5
	exitKilled     = 6
	exitOverdue    = 7 // status --check

	// Of run alone, as of env(1). All others are the command's own.
	exitRunFailed = 125
	exitCannotRun = 126
	exitNoCommand = 127
)

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	var usage *usageError
	var answer exitAnswer
	var command commandFailure
	var failed runFailure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &answer):
		return int(answer)
	case errors.As(err, &command):
		return command.code
	case errors.As(err, &failed):
		return exitRunFailed
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, broker.ErrDenied):
		return exitDenied
	case errors.Is(err, broker.ErrNotFound):
		return exitNotFound
	case errors.Is(err, sock.ErrNotRunning):
		return exitNotRunning
	case errors.Is(err, broker.ErrKilled):
		return exitKilled
	case errors.Is(err, errOverdue):
		return exitOverdue
	}
	return exitError
}

// exitAnswer ends a command whose answer on stdout has said everything.
type exitAnswer int

func (exitAnswer) Error() string { return "" }

// usageError is a mistake in how a command was typed. Its text never repeats an
// argument that may be a value.
type usageError struct {
	command string // "" for secretctl itself
	text    string
	hint    string // "": the command's help
}

func (e *usageError) Error() string { return e.text }

// hintedError is an error with what to type next.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

// hinted adds a hint to an error.
func hinted(err error, hint string) error { return &hintedError{err, hint} }

// hintOf returns what to type after an error, "" when there is nothing.
func hintOf(err error) string {
	var usage *usageError
	var own *hintedError
	var told *broker.Error
	var store *providers.StoreError
	switch {
	case errors.As(err, &usage) && usage.hint != "":
		return usage.hint
	case errors.As(err, &usage) && usage.command != "":
		return "secretctl help " + usage.command
	case errors.As(err, &usage):
		return "secretctl help"
	case errors.As(err, &own):
		return own.hint
	case errors.As(err, &told):
		return told.Hint
	case errors.As(err, &store):
		return store.Remedy
	}
	return ""
}

// report is the one place where an error is printed.
func (w *world) report(err error) {
	var wrong config.Errors
	var answer exitAnswer
	switch {
	case err == nil, errors.As(err, &answer):
	case errors.As(err, &wrong):
		for _, e := range wrong {
			w.say("%v", e)
			w.hint(e.Remedy)
		}
	default:
		w.say("%v", err)
		w.hint(hintOf(err))
	}
}
