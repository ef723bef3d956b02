package durable_test

import (
	"math/rand/v2"
	"os"
	"testing"

	"go.uber.org/goleak"

	"secretctl/broker/durable"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// long reports whether the long versions of the tests are asked for.
func long() bool { return os.Getenv("SECRETCTL_LONG") != "" }

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// home returns a real disk, and its directory.
func home(t testing.TB) (durable.Disk, string) {
	dir := t.TempDir()
	d, err := durable.OpenHome(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d, dir
}
