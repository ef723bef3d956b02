// Command secretctl-onepassword runs 1Password's code for the broker, which starts
// it and speaks to it over a socket, descriptor 3. It lies beside secretctl.
//
// It is a program of its own since what it links doubles a program, and every
// start of secretctl would pay for that.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"secretctl/providers/onepassword/source"
)

func main() {
	version := "devel"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	if err := source.Serve(source.SDK(version)); err != nil {
		fmt.Fprintln(os.Stderr, "secretctl-onepassword:", err)
		os.Exit(1)
	}
}
