package age_test

import (
	"io/fs"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret/canary"
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
	_, err = age.Init(disk, start, age.Wanted{})
	require.NoError(t, err)
	return disk, dir
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		disk, _ := newHome(t)
		return breakable(disk)
	})
}

func TestContractInMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		disk := durable.NewMem()
		_, err := age.Init(disk, start, age.Wanted{})
		require.NoError(t, err)
		return breakable(disk)
	})
}

// failing is a disk that fails whatever it is asked while it is broken.
type failing struct {
	durable.Disk
	broken atomic.Bool
}

func (d *failing) err() error {
	if d.broken.Load() {
		return syscall.EIO
	}
	return nil
}

func (d *failing) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.Disk.OpenFile(name, flag, perm)
}

func (d *failing) Stat(name string) (fs.FileInfo, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.Disk.Stat(name)
}

func (d *failing) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.Disk.ReadDir(name)
}

func (d *failing) Remove(name string) error {
	if err := d.err(); err != nil {
		return err
	}
	return d.Disk.Remove(name)
}

// breakable is a store on a disk that can fail. It asks for its identity when it
// is first used.
func breakable(disk durable.Disk) storetest.Subject {
	d := &failing{Disk: disk}
	return storetest.Subject{
		Store: age.New(d, "vault"),
		Break: func() func() { d.broken.Store(true); return func() { d.broken.Store(false) } },
	}
}
