package ledger_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/ledger"
)

// raw changes the database beneath the ledger.
func raw(t testing.TB, d durable.Disk, bucket, key, value string) {
	t.Helper()
	db, err := d.OpenDB(ledger.Name)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx durable.Tx) error { return tx.Put(bucket, []byte(key), []byte(value)) }))
	require.NoError(t, db.Close())
}

// blind is a disk on which no name can be looked up.
type blind struct{ durable.Disk }

func (blind) Stat(string) (fs.FileInfo, error) { return nil, syscall.EIO }

// TestOpen: what is not there, or was never finished, is absent; what cannot be
// read or understood is not, and nothing is made in its place.
func TestOpen(t *testing.T) {
	for what, tt := range map[string]struct {
		make   func(t *testing.T, d *durable.Mem) durable.Disk
		absent bool
		says   string
	}{
		"no file": {func(_ *testing.T, d *durable.Mem) durable.Disk { return d }, true, "there is no ledger"},
		"never finished": {func(t *testing.T, d *durable.Mem) durable.Disk {
			db, err := d.OpenDB(ledger.Name)
			require.NoError(t, err)
			require.NoError(t, db.Close())
			return d
		}, true, "there is no ledger"},
		"of a newer version": {func(t *testing.T, d *durable.Mem) durable.Disk { raw(t, d, "meta", "format", "2"); return d },
			false, `opening the ledger: format "2" is not known to this version`},
		"of no version": {func(t *testing.T, d *durable.Mem) durable.Disk { raw(t, d, "meta", "format", "1\n"); return d },
			false, `opening the ledger: format "1\n" is not known to this version`},
		"another file": {func(t *testing.T, d *durable.Mem) durable.Disk {
			require.NoError(t, durable.WriteFile(d, ledger.Name, []byte("text"), 0o600))
			return d
		}, false, "opening the ledger: "},
		"a directory": {func(t *testing.T, d *durable.Mem) durable.Disk {
			require.NoError(t, d.Mkdir(ledger.Name, 0o700))
			return d
		}, false, "opening the ledger: "},
		"in use": {func(t *testing.T, d *durable.Mem) durable.Disk {
			_, err := d.OpenDB(ledger.Name)
			require.NoError(t, err)
			return d
		}, false, "opening the ledger: "},
		"a disk that fails": {func(t *testing.T, d *durable.Mem) durable.Disk {
			require.NoError(t, ledger.Create(d, ledger.Name))
			return blind{d}
		}, false, "opening the ledger: input/output error"},
	} {
		t.Run(what, func(t *testing.T) {
			d := tt.make(t, durable.NewMem())
			before, err := d.ReadDir(".")
			require.NoError(t, err)
			l, err := ledger.Open(d)
			require.ErrorContains(t, err, tt.says)
			require.Nil(t, l)
			require.Equal(t, tt.absent, errors.Is(err, ledger.ErrAbsent))
			after, err := d.ReadDir(".")
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

// TestOpenLetsGo: a ledger that was refused is not kept open.
func TestOpenLetsGo(t *testing.T) {
	d := durable.NewMem()
	require.NoError(t, ledger.Create(d, ledger.Name))
	raw(t, d, "meta", "format", "2")
	for range 2 {
		_, err := ledger.Open(d)
		require.ErrorContains(t, err, `format "2"`)
	}
	raw(t, d, "meta", "format", "1")
	opened(t, d)
}

// TestCreate: one that is there is not emptied.
func TestCreate(t *testing.T) {
	l, d := made(t)
	put(t, l, entry("a", 1))
	require.NoError(t, l.Close())
	require.NoError(t, ledger.Create(d, ledger.Name))
	require.Len(t, secrets(t, opened(t, d), ""), 1)
	require.ErrorContains(t, ledger.Create(d, "nowhere/"+ledger.Name), "creating the ledger")
}

// TestDamagedEntry: an entry that is no entry is an error that names it, for
// whoever reads it or would write over it; it is not absent, and does not hide
// the others.
func TestDamagedEntry(t *testing.T) {
	d := durable.NewMem()
	require.NoError(t, ledger.Create(d, ledger.Name))
	l := opened(t, d)
	put(t, l, entry("a", 1), entry("b", 1), entry("c", 1))
	require.NoError(t, l.Close())
	raw(t, d, "secrets", "b", `{"current":`)
	l = opened(t, d)
	_, got := l.Get("b")
	_, current := l.Current("b")
	_, changed := l.Changes(0)
	e := entry("b", 2)
	for what, err := range map[string]error{
		"get": got, "current": current, "changes": changed, "put": l.Put(&e),
		"each": l.Each("", func(*ledger.Entry) bool { return true }),
	} {
		require.ErrorContains(t, err, `ledger's entry of "b"`, what)
		require.NotErrorIs(t, err, ledger.ErrNoEntry, what)
	}
	require.Len(t, secrets(t, l, "c"), 1)
	n, err := l.Current("a")
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

// TestDamagedFile: a real ledger that was cut short or overwritten is an error,
// not absent and not the end of the program, and can be rebuilt.
func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	d, err := durable.OpenHome(dir)
	require.NoError(t, err)
	require.NoError(t, ledger.Create(d, ledger.Name))
	l := opened(t, d)
	for i := range 40 {
		put(t, l, entry("a", uint64(i+1)), entry("b", uint64(i+1)))
	}
	require.NoError(t, l.Close())
	file := filepath.Join(dir, ledger.Name)
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	refused := 0
	for cut := 1; cut < len(whole); cut += 2048 {
		require.NoError(t, os.WriteFile(file, whole[:cut], 0o600))
		l, err := ledger.Open(d)
		if err == nil {
			err = errors.Join(l.Each("", func(*ledger.Entry) bool { return true }), l.Close())
		}
		if err != nil {
			refused++
			require.NotErrorIs(t, err, ledger.ErrAbsent, "cut at %d", cut)
			require.NotErrorIs(t, err, ledger.ErrNoEntry, "cut at %d", cut)
		}
	}
	require.Greater(t, refused, 4)
	require.NoError(t, os.WriteFile(file, whole[:len(whole)/2], 0o600))
	e := entry("a", 7)
	require.NoError(t, ledger.Rebuild(d, []*ledger.Entry{&e}, nil))
	require.Equal(t, []ledger.Entry{e}, secrets(t, opened(t, d), ""))
}
