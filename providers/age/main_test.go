package age_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// childVar is in the environment of the process that TestNoCopiesAreLeft looks
// into.
const childVar = "AGE_TEST_CHILD"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "age-plugin-"+pluginName {
		os.Exit(bePlugin())
	}
	if os.Getenv(childVar) != "" {
		passThrough()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// missing skips the test, or fails it where nothing may be missing.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SECRETCTL_TEST_STRICT") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}
