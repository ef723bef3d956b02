package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/durable"
)

// smallDisk is a home on a real file system that can be full.
type smallDisk struct {
	durable.Disk
	t    *testing.T
	home string
}

func newSmallDisk(t *testing.T, kib int) *smallDisk {
	needRoot(t)
	home := t.TempDir()
	require.NoError(t, syscall.Mount("tmpfs", home, "tmpfs", 0, fmt.Sprintf("size=%dk", kib)))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(home, syscall.MNT_DETACH)) })
	d, err := durable.OpenHome(home)
	require.NoError(t, err)
	return &smallDisk{d, t, home}
}

// fill leaves no page.
func (d *smallDisk) fill() {
	f, err := os.Create(filepath.Join(d.home, "filler"))
	require.NoError(d.t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.ErrorIs(d.t, err, syscall.ENOSPC)
	require.NoError(d.t, f.Close())
}

func (d *smallDisk) free() { require.NoError(d.t, os.Remove(filepath.Join(d.home, "filler"))) }

// grow makes the file system larger.
func (d *smallDisk) grow(kib int) {
	require.NoError(d.t, syscall.Mount("tmpfs", d.home, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%dk", kib)))
}

// TestDiskFull fills a real file system before records are appended, and with
// them, and makes room again: what is refused is unavailable, nothing that was
// acknowledged is lost, and the log goes on by itself.
func TestDiskFull(t *testing.T) {
	for _, kib := range []int{64, 256, 1024} {
		for _, segment := range []int64{4 << 10, 0} {
			t.Run(fmt.Sprintf("%d KiB, segments of %d", kib, segment), func(t *testing.T) {
				d := newSmallDisk(t, kib)
				clk := clock.NewFake(start)
				require.NoError(t, audit.Create(d, dir, clk))
				w := openWorld(t, d, clk, segment)
				acked, deferred := 0, 0
				next := func() error {
					err := w.log.Append(plain(acked + 1))
					if err == nil {
						acked++
					}
					return err
				}
				refuses := func() {
					var err error
					for err == nil {
						err = next()
					}
					require.ErrorIs(t, err, audit.ErrUnavailable)
					require.ErrorIs(t, err, syscall.ENOSPC)
					require.ErrorIs(t, w.log.Head().Err, syscall.ENOSPC)
					w.log.Defer(expiry())
					deferred++
					require.ErrorIs(t, next(), audit.ErrUnavailable)
					require.NoError(t, openable(d, clk), "a start on a full disk")
				}
				goesOn := func() {
					require.NoError(t, next())
					require.NoError(t, w.log.Head().Err)
					require.EqualValues(t, acked+deferred, w.fold.N)
				}
				for range 3 {
					d.fill()
					refuses()
					d.free()
					goesOn()
				}
				refuses() // the log itself fills it
				d.grow(kib + 256)
				goesOn()
				w.close(t)
				require.Len(t, leases(t, d), acked)
				again := w.reopen(t, 0)
				require.Equal(t, w.fold.Snapshot(), again.fold.Snapshot())
				again.close(t)
				verified(t, d)
			})
		}
	}
}
