package canary_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the processes that a watcher watches: see acts.
func TestMain(m *testing.M) {
	if name := os.Getenv(actVariable); name != "" {
		acts[name]()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
