package main

import (
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// brokerKey is where a script keeps its broker.
type brokerKey struct{}

func brokerOf(ts *testscript.TestScript) *brokerProcess {
	return ts.Value(brokerKey{}).(*brokerProcess)
}

// cmdServe starts the broker and returns when it says that it is ready:
// serve ARGS…. What it says is appended to $LOG.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	var env []string
	for _, key := range []string{"SECRETCTL_HOME", "PATH", "HOME", "GORACE", "GOCOVERDIR", "DBUS_SESSION_BUS_ADDRESS", "CREDENTIALS_DIRECTORY"} {
		env = append(env, key+"="+ts.Getenv(key))
	}
	ts.Check(brokerOf(ts).start(ts.Getenv("LOG"), env, args...))
}

// cmdEnd ends the broker with a SIGTERM, or another signal: end [SIGNAL]. All
// but a SIGKILL must end it cleanly.
func cmdEnd(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(brokerOf(ts).stop(unix.SignalNum("SIG" + append(args, "TERM")[0])))
}

// cmdSignal sends a signal to the broker, or to the background commands: signal
// NAME [background].
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	sig := unix.SignalNum("SIG" + args[0])
	if len(args) == 1 {
		ts.Check(brokerOf(ts).cmd.Process.Signal(sig))
		return
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(sig))
	}
}
