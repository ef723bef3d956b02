package age_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/age"
)

// newHooked returns a store on a disk in memory whose changes the hook sees from
// when it is set.
func newHooked(t *testing.T) (*age.Store, *durable.Hook) {
	t.Helper()
	hook := &durable.Hook{Disk: durable.NewMem(), Before: func(durable.Op) durable.Verdict { return durable.Verdict{} }}
	_, err := age.Init(hook, start, age.Wanted{})
	require.NoError(t, err)
	return age.New(hook, "vault"), hook
}

// A Put that fails leaves the whole version or none, and none where the value
// was not there to be renamed into place.
func TestPutFails(t *testing.T) {
	v, err := secret.New([]byte(canary.New(t, "horse")))
	require.NoError(t, err)
	defer v.Clear()
	broken := errors.New("input/output error")
	for n := 0; ; n++ {
		s, hook := newHooked(t)
		var last durable.OpKind
		at := -1
		hook.Before = func(op durable.Op) durable.Verdict {
			if at++; at == n {
				last = op.Kind
				return durable.Verdict{Err: broken}
			}
			return durable.Verdict{}
		}
		sum, err := s.Put(t.Context(), "a/b", 1, v)
		if at < n {
			require.NoError(t, err)
			require.Greater(t, n, 8, "making three folders and a file is at least that")
			return
		}
		require.ErrorIs(t, err, broken, n)
		require.True(t, sum.IsZero())
		got, err := s.Get(t.Context(), "a/b", 1, providers.Sum{})
		if err == nil {
			require.Equal(t, durable.OpSyncDir, last)
			require.True(t, got.Equal(v))
			got.Clear()
			continue
		}
		require.ErrorIs(t, err, providers.ErrAbsent, n)
		_, err = s.Put(t.Context(), "a/b", 1, v)
		require.NoError(t, err, "it can be tried again after operation %d", n)
	}
}

// A Delete that fails says so, and can be tried again.
func TestDeleteFails(t *testing.T) {
	v, err := secret.New([]byte(canary.New(t, "horse")))
	require.NoError(t, err)
	defer v.Clear()
	broken := errors.New("input/output error")
	for _, kind := range []durable.OpKind{durable.OpRemove, durable.OpSyncDir} {
		s, hook := newHooked(t)
		_, err = s.Put(t.Context(), "a", 1, v)
		require.NoError(t, err)
		hook.Before = func(op durable.Op) durable.Verdict {
			if op.Kind == kind {
				return durable.Verdict{Err: broken}
			}
			return durable.Verdict{}
		}
		require.ErrorIs(t, s.Delete(t.Context(), "a", 1), broken, kind)
		hook.Before = func(durable.Op) durable.Verdict { return durable.Verdict{} }
		require.NoError(t, s.Delete(t.Context(), "a", 1))
		_, err = s.Sum(t.Context(), "a", 1)
		require.ErrorIs(t, err, providers.ErrAbsent)
	}
}

// pausing is a disk that does something before it makes a file.
type pausing struct {
	durable.Disk
	before func()
}

func (p *pausing) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if flag&os.O_CREATE != 0 && p.before != nil {
		before := p.before
		p.before = nil
		before()
	}
	return p.Disk.OpenFile(name, flag, perm)
}

// A folder stays while a version is on its way into it, though the last one that
// was there is deleted.
func TestFolderStays(t *testing.T) {
	v, err := secret.New([]byte(canary.New(t, "horse")))
	require.NoError(t, err)
	defer v.Clear()
	disk := &pausing{Disk: durable.NewMem()}
	_, err = age.Init(disk, start, age.Wanted{})
	require.NoError(t, err)
	s := age.New(disk, "vault")
	_, err = s.Put(t.Context(), "a/b", 1, v)
	require.NoError(t, err)
	disk.before = func() { require.NoError(t, s.Delete(t.Context(), "a/b", 1)) }
	_, err = s.Put(t.Context(), "a/b", 2, v)
	require.NoError(t, err)
	require.NoError(t, s.Delete(t.Context(), "a/b", 2))
	_, err = disk.Stat("vault/a")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// What is deleted while it is being listed is passed over.
func TestListWhileDeleting(t *testing.T) {
	s, _ := newHooked(t)
	for _, n := range []secret.Name{"a", "b/c", "b/d"} {
		v, err := secret.New([]byte(canary.New(t, "horse")))
		require.NoError(t, err)
		_, err = s.Put(t.Context(), n, 1, v)
		require.NoError(t, err)
		_, err = s.Put(t.Context(), n, 2, v)
		require.NoError(t, err)
		v.Clear()
	}
	var seen []secret.Name
	require.NoError(t, s.List(t.Context(), func(n secret.Name, version uint64, _ providers.Sum) error {
		seen = append(seen, n)
		for _, n := range []secret.Name{"a", "b/c", "b/d"} {
			for v := uint64(1); v <= 2; v++ {
				require.NoError(t, s.Delete(t.Context(), n, v))
			}
		}
		return nil
	}))
	require.Equal(t, []secret.Name{"a"}, seen)
}
