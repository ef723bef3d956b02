package child

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the main of the keepers that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == KeeperArg {
		os.Exit(Keep())
	}
	goleak.VerifyTestMain(m)
}
