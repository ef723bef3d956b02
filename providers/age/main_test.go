package age_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childVar is in the environment of the process that TestNoCopiesAreLeft looks
// into.
const childVar = "AGE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		passThrough()
		os.Exit(0)
	}
	var err error
	if pluginDir, err = os.MkdirTemp("", "plugin"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(pluginDir)
		os.Exit(code)
	}))
}

// missing skips the test, or fails it where nothing may be missing.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SECRETCTL_TEST_STRICT") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}
