package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"secretctl/broker/secret/canary"
)

// Scripts have their values minted, and keep them in files that are delivery
// channels by their names: everything else that a script leaves, its log too, is
// searched for them.

// channel returns the path of a delivery channel.
func channel(ts *testscript.TestScript, name string) string {
	if !strings.HasSuffix(name, canary.Channel) {
		ts.Fatalf("%s is for a value, so its name must end in %s", name, canary.Channel)
	}
	return ts.MkAbs(name)
}

// cmdMint makes files that hold a value each, and a newline: mint FILE….
func cmdMint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: mint FILE…")
	}
	for _, name := range args {
		path := channel(ts, name)
		value := canary.Of(ts.Name() + " " + filepath.Base(path))
		ts.Check(os.WriteFile(path, []byte(value+"\n"), 0o600))
	}
}

// cmdInto runs a command that must succeed, with its stdout in a file and not in
// the log: into FILE CMD ARGS….
func cmdInto(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: into FILE CMD ARGS…")
	}
	ts.Check(ts.Exec("sh", append([]string{"-c", `exec "$@" >"$0"`, channel(ts, args[0])}, args[1:]...)...))
}

// cmdGives runs a command that must succeed and whose stdout must be what is in a
// file: gives FILE CMD ARGS….
func cmdGives(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: gives FILE CMD ARGS…")
	}
	const given = "given" + canary.Channel
	cmdInto(ts, false, append([]string{given}, args[1:]...))
	if ts.ReadFile(given) != ts.ReadFile(args[0]) {
		ts.Fatalf("%s prints something else than what is in %s", args[1], args[0])
	}
}
