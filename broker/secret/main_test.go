package secret_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the processes the tests start: see children.
func TestMain(m *testing.M) {
	if name := os.Getenv(childVar); name != "" {
		children[name]()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// needRoot is for tests that need a second uid.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "needs root: a second uid")
	}
}

// missing skips the test, or fails it where nothing may be missing.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SECRETCTL_TEST_STRICT") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}
