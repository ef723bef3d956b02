package ledger_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
)

const keptName = ledger.Name + ".old"

var errCrashed = errors.New("crashed")

// hooked returns a disk whose operations fail from the k-th on, or only the
// k-th, and says whether one has.
func hooked(d durable.Disk, k int, once bool) (hook *durable.Hook, failed *bool) {
	failed = new(bool)
	return &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
		if op.N == k || op.N > k && !once {
			*failed = true
			return durable.Verdict{Err: errCrashed}
		}
		return durable.Verdict{}
	}}, failed
}

// versions returns name → current version of what the ledger says.
func versions(t testing.TB, d durable.Disk) (map[secret.Name]uint64, error) {
	l, err := ledger.Open(d)
	if err != nil {
		return nil, err
	}
	out := map[secret.Name]uint64{}
	for _, e := range secrets(t, l, "") {
		out[e.Name] = e.Current
	}
	n, err := l.Count()
	require.NoError(t, err)
	require.Len(t, out, n)
	return out, l.Close()
}

// entries returns two secrets at a version.
func entries(version uint64) []*ledger.Entry {
	a, b := entry("a", version), entry("b", version)
	return []*ledger.Entry{&a, &b}
}

var (
	old   = map[secret.Name]uint64{"a": 1, "b": 1}
	fresh = map[secret.Name]uint64{"a": 2, "b": 2}
)

// holding returns a disk with the old ledger.
func holding(t testing.TB) *durable.Mem {
	d := durable.NewMem()
	require.NoError(t, ledger.Create(d, ledger.Name))
	l := opened(t, d)
	require.NoError(t, l.Put(entries(1)...))
	require.NoError(t, l.Close())
	return d
}

// kept checks what the ledger put aside says, under the ledger's name.
func kept(t testing.TB, d *durable.Mem, want map[secret.Name]uint64) {
	t.Helper()
	require.NoError(t, d.Rename(keptName, ledger.Name))
	got, err := versions(t, d)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// TestRebuild: the new ledger is there, and the one before beside it; a second
// time too, and where there was none or one that cannot be read.
func TestRebuild(t *testing.T) {
	d := holding(t)
	require.NoError(t, ledger.Rebuild(d, entries(2), nil))
	got, err := versions(t, d)
	require.NoError(t, err)
	require.Equal(t, fresh, got)
	require.NoError(t, ledger.Rebuild(d, entries(3), nil))
	kept(t, d, fresh)

	d = durable.NewMem()
	require.NoError(t, ledger.Rebuild(d, entries(2), nil))
	_, err = d.Stat(keptName)
	require.Error(t, err, "there was none to keep")
	got, err = versions(t, d)
	require.NoError(t, err)
	require.Equal(t, fresh, got)

	d = durable.NewMem()
	require.NoError(t, durable.WriteFile(d, ledger.Name, []byte("text"), 0o600))
	require.NoError(t, durable.WriteFile(d, ledger.Name+".new", []byte("text"), 0o600))
	require.NoError(t, ledger.Rebuild(d, nil, nil))
	got, err = versions(t, d)
	require.NoError(t, err)
	require.Empty(t, got)
	b, err := durable.ReadFile(d, keptName)
	require.NoError(t, err)
	require.Equal(t, "text", string(b))
}

// TestRebuildCrash crashes at every operation: there is the old ledger, or the
// new one, whole, or none for the moment between and the old one beside; and
// the same can be done again.
func TestRebuildCrash(t *testing.T) {
	images, none := 0, 0
	for k := 0; ; k++ {
		d := holding(t)
		hook, crashed := hooked(d, k, false)
		err := ledger.Rebuild(hook, entries(2), nil)
		require.Equal(t, *crashed, err != nil)
		for image := range d.Images(50, seeded(uint64(k))) {
			images++
			got, err := versions(t, image)
			switch {
			case !*crashed:
				require.NoError(t, err)
				require.Equal(t, fresh, got, "it was acknowledged")
			case errors.Is(err, ledger.ErrAbsent):
				none++
				_, err := image.Stat(keptName)
				require.NoError(t, err, "operation %d", k)
			default:
				require.NoError(t, err, "operation %d", k)
				require.Contains(t, []map[secret.Name]uint64{old, fresh}, got, "operation %d", k)
			}
			require.NoError(t, ledger.Rebuild(image, entries(2), nil))
			again, err := versions(t, image)
			require.NoError(t, err)
			require.Equal(t, fresh, again)
		}
		if !*crashed {
			require.Equal(t, 7, k, "remove, create, two commits, two renames, one sync")
			break
		}
	}
	require.Positive(t, none)
	t.Logf("%d images, %d between the two", images, none)
}

// TestRebuildFault fails each operation alone: the error says so and the old
// ledger is not lost.
func TestRebuildFault(t *testing.T) {
	for k := 0; ; k++ {
		d := holding(t)
		hook, failed := hooked(d, k, true)
		err := ledger.Rebuild(hook, entries(2), nil)
		if !*failed {
			require.NoError(t, err)
			break
		}
		require.ErrorIs(t, err, errCrashed)
		if got, err := versions(t, d); err == nil {
			require.Contains(t, []map[secret.Name]uint64{old, fresh}, got)
		} else {
			require.ErrorIs(t, err, ledger.ErrAbsent)
			kept(t, d, old)
		}
	}
}

// TestCreateCrash: a ledger that was not finished is absent, and can be made.
func TestCreateCrash(t *testing.T) {
	for k := 0; ; k++ {
		d := durable.NewMem()
		hook, crashed := hooked(d, k, false)
		err := ledger.Create(hook, ledger.Name)
		require.Equal(t, *crashed, err != nil)
		for image := range d.Images(50, seeded(uint64(k))) {
			got, err := versions(t, image)
			if *crashed {
				require.ErrorIs(t, err, ledger.ErrAbsent)
				require.NoError(t, ledger.Create(image, ledger.Name))
				got, err = versions(t, image)
			}
			require.NoError(t, err)
			require.Empty(t, got)
		}
		if !*crashed {
			require.Equal(t, 2, k)
			break
		}
	}
}

// TestLyingRename is the control: on a disk that forgets the directory's sync a
// rebuild that was acknowledged is lost.
func TestLyingRename(t *testing.T) {
	d := holding(t)
	require.NoError(t, ledger.Rebuild(&durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
		return durable.Verdict{Skip: op.Kind == durable.OpSyncDir}
	}}, entries(2), nil))
	lost := 0
	for image := range d.Images(50, seeded(1)) {
		if got, err := versions(t, image); err != nil || got["a"] != 2 {
			lost++
		}
	}
	require.Positive(t, lost)
}

// TestBefore: what was known is found wherever a crash in Rebuild left it.
func TestBefore(t *testing.T) {
	_, err := ledger.Before(durable.NewMem())
	require.ErrorIs(t, err, ledger.ErrAbsent)
	moved := false
	for k := 1; ; k++ {
		d := holding(t)
		hook, failed := hooked(d, k, false)
		err := ledger.Rebuild(hook, entries(2), nil)
		if _, absent := ledger.Open(d); errors.Is(absent, ledger.ErrAbsent) {
			moved = true
			l, err := ledger.Before(d)
			require.NoError(t, err)
			require.Len(t, secrets(t, l, ""), 2)
			require.NoError(t, l.Close())
		}
		if err == nil && !*failed {
			break
		}
	}
	require.True(t, moved, "no crash fell between the renames")
}
