// Command canaries runs a command, such as go test, and searches all that it
// wrote for the secrets of the tests: canaries [-keep] CMD ARGS…
//
// It exits with the command's code, or with 1 where a secret was found outside of
// the declared delivery channels, or nothing was there to search.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"secretctl/broker/secret/canary"
)

func main() {
	keep := flag.Bool("keep", false, "leave what was searched where it is")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: canaries [-keep] CMD ARGS…")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends it at once
	os.Exit(canary.Watch(ctx, flag.Args(), *keep, os.Stdout, os.Stderr))
}
