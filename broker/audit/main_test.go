package audit_test

import (
	"flag"
	"os"
	"runtime/debug"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

// long reports whether the long versions of the tests are asked for.
func long() bool { return os.Getenv("SECRETCTL_LONG") != "" }

// raced reports whether the race detector is on, under which a signature takes
// ten times as long.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestMain sets the size of the random tests; the command line can change it.
func TestMain(m *testing.M) {
	checks := "200"
	if long() {
		checks = "20000"
	}
	if err := flag.Set("rapid.checks", checks); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// needRoot skips a test that cannot be had without root, unless it must run.
func needRoot(t testing.TB) {
	if os.Getuid() != 0 {
		if os.Getenv("SECRETCTL_TEST_STRICT") != "" {
			t.Fatal("needs root, and SECRETCTL_TEST_STRICT is set")
		}
		t.Skip("needs root")
	}
}
