package sock_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// actVariable names, in the environment of a process that a test starts, what
// the process is to do instead of running tests.
const actVariable = "SOCK_TEST_ACT"

// TestMain is also the main of the processes the tests start: see acts.
func TestMain(m *testing.M) {
	if name := os.Getenv(actVariable); name != "" {
		os.Exit(perform(name, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// needRoot is for tests that need a second uid.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "needs root: a second uid")
	}
}

// missing skips the test, or fails it where nothing may be missing.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("SECRETCTL_TEST_STRICT") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}
