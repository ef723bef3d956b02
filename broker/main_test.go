package broker_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also is the main of the processes that tests start under other uids:
// the test binary with the name of an act in its environment.
func TestMain(m *testing.M) {
	if name := os.Getenv(actVariable); name != "" {
		os.Exit(perform(name, os.Args[1:]))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if dir := stageDir.Load(); dir != nil {
			_ = os.RemoveAll(*dir)
		}
		os.Exit(code)
	}))
}
