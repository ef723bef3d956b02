package age_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/age"
	"secretctl/providers/storetest"
)

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// newHome returns a real home with an identity, and its directory.
func newHome(t *testing.T) (durable.Disk, string) {
	t.Helper()
	dir := canary.Dir(t)
	disk, err := durable.OpenHome(dir)
	require.NoError(t, err)
	_, err = age.Init(disk, start)
	require.NoError(t, err)
	return disk, dir
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) providers.Store {
		disk, _ := newHome(t)
		return age.New(disk, "vault")
	})
}

func TestContractInMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) providers.Store {
		disk := durable.NewMem()
		_, err := age.Init(disk, start)
		require.NoError(t, err)
		return age.New(disk, "vault")
	})
}
