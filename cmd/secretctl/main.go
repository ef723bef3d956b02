// Command secretctl is the broker and everything a person types to it.
//
// A file is a command. What they share is below them: world.go is what a
// command may touch, exit.go how it ends, dial.go which socket it speaks to,
// home.go which directory it works on, and table.go, show.go and ages.go how
// people see answers.
//
// It guards against a value that is typed where others can read it: no flag,
// argument or environment variable takes one, a value goes from stdin or a
// prompt without echo straight into locked memory and from there to the
// socket, and it is never part of a message. What comes from outside is shown
// without anything that a terminal would obey.
package main

import (
	"context"
	"os"

	"secretctl/broker/clock"
	"secretctl/cmd/secretctl/child"
)

func main() {
	if code, ok := child.Part(os.Args); ok {
		os.Exit(code)
	}
	os.Exit(run(&world{
		args: os.Args[1:], env: os.LookupEnv, clock: clock.System(),
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
	}))
}

// run does what the arguments say and returns the exit code.
func run(w *world) int {
	root := rootCommand(w)
	root.SetArgs(w.args)
	err := root.ExecuteContext(context.Background())
	w.report(err)
	return exitCode(err)
}
