package lease_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain sets the size of the random tests; the command line can change it.
func TestMain(m *testing.M) {
	checks := "500"
	if os.Getenv("SECRETCTL_LONG") != "" {
		checks = "20000"
	}
	for name, value := range map[string]string{"rapid.checks": checks, "rapid.steps": "50"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}
