package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for what must happen.
const patience = time.Minute

// poll looks until what must happen has happened, and reports whether it did.
func poll(happened func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !happened(); <-tick.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// cmdExits runs a command that must end with this code: exits CODE CMD ARGS….
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE CMD ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("running %s: %v", args[1], err)
	}
	if got != want {
		ts.Fatalf("it exits with %d, not %d; stderr:\n%s", got, want, ts.ReadFile("stderr"))
	}
}

// cmdUntil runs a command again and again until its stdout matches: until
// REGEXP CMD ARGS….
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP CMD ARGS…")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	showed := poll(func() bool {
		return ts.Exec(args[1], args[2:]...) == nil && re.MatchString(ts.ReadFile("stdout"))
	})
	if !showed {
		ts.Fatalf("%q never showed in the output of %v:\n%s%s", args[0], args[1:], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// cmdKeys checks which keys the JSON object in a file has, or the first of the
// array in it: keys FILE KEY….
func cmdKeys(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: keys FILE KEY…")
	}
	text := []byte(ts.ReadFile(args[0]))
	var list []json.RawMessage
	if json.Unmarshal(text, &list) == nil && len(list) > 0 {
		text = list[0]
	}
	keys, err := keysOf(text)
	ts.Check(err)
	if !slices.Equal(keys, args[1:]) {
		ts.Fatalf("the keys are\n%s\nand not\n%s", strings.Join(keys, " "), strings.Join(args[1:], " "))
	}
}

// keysOf returns the keys of the first object in a text, in their order.
func keysOf(text []byte) (keys []string, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is no JSON object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		keys = append(keys, key.(string))
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// cmdFill makes a file of so many bytes "x": fill FILE SIZE.
func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Repeat([]byte("x"), size), 0o600))
}

// cmdFlip changes one bit in the middle of a file: flip FILE.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	text, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	text[len(text)/2] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}

// cmdCheckpoint takes the latest checkpoint out of a segment of the log, as an
// anchor command would have been given it: checkpoint SEGMENT FILE.
func cmdCheckpoint(ts *testscript.TestScript, neg bool, args []string) {
	latest := ""
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var l struct{ Checkpoint string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Checkpoint != "" {
			latest = l.Checkpoint
		}
	}
	if latest == "" {
		ts.Fatalf("there is no checkpoint in %s", filepath.Base(args[0]))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(latest), 0o600))
}
