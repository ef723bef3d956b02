package child

import (
	"os"
	"os/signal"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// TestMain is also the main of the processes that the tests start.
func TestMain(m *testing.M) {
	if code, ok := Part(os.Args); ok {
		os.Exit(code)
	}
	// Under nohup, or in the background of a shell without job control, what the
	// tests start would ignore these, as it should.
	for _, s := range []os.Signal{unix.SIGHUP, unix.SIGINT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/signal.loop"), goleak.IgnoreTopFunction("os/signal.signal_recv"))
}
