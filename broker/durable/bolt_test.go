package durable_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
)

const (
	page    = 4096
	dbValue = 1500
	dbKeys  = 300
)

// fill makes a database of many pages, some of them of one value alone, and
// returns its file's bytes.
func fill(t *testing.T, d durable.Disk, dir string) []byte {
	db, err := d.OpenDB("db")
	require.NoError(t, err)
	for i := range 3 { // so that there are free pages
		require.NoError(t, db.Update(func(tx durable.Tx) error {
			for k := range dbKeys {
				if err := tx.Put("b", fmt.Appendf(nil, "key-%d", k), bytes.Repeat([]byte{byte(i)}, dbValue)); err != nil {
					return err
				}
			}
			return tx.Put("b", []byte("long"), bytes.Repeat([]byte{byte(i)}, 16*page))
		}))
	}
	require.NoError(t, db.Close())
	b, err := os.ReadFile(filepath.Join(dir, "db"))
	require.NoError(t, err)
	return b
}

// use reads everything in the database and then writes. What is read is what
// was put, or use fails.
func use(t *testing.T, d durable.Disk) error {
	db, err := d.OpenDB("db")
	if err != nil {
		return err
	}
	defer func() { require.NoError(t, db.Close()) }()
	n, sum := 0, byte(0)
	err = db.View(func(tx durable.Tx) error {
		return tx.Scan("b", nil, func(_, v []byte) bool {
			for _, c := range v {
				sum += c
			}
			n++
			return true
		})
	})
	if err != nil {
		require.Equal(t, err, db.Update(func(durable.Tx) error { return nil }), "it stays so")
		return err
	}
	if n != dbKeys+1 {
		return fmt.Errorf("%d entries", n)
	}
	return db.Update(func(tx durable.Tx) error { return tx.Put("b", []byte("one more"), []byte("x")) })
}

// TestDamagedDatabase: a file that somebody cut short or overwrote is an error.
// It never ends the program, is never an absent or empty database, and can be
// replaced by a whole one at once.
func TestDamagedDatabase(t *testing.T) {
	d, dir := home(t)
	whole := fill(t, d, dir)
	file := filepath.Join(dir, "db")
	refused := 0
	try := func(what string, b []byte) {
		require.NoError(t, os.WriteFile(file, b, 0o600))
		if err := use(t, d); err != nil {
			refused++
			require.NotErrorIs(t, err, fs.ErrNotExist, what)
			require.NotErrorIs(t, err, durable.ErrLocked, what)
		}
		require.NoError(t, os.WriteFile(file, whole, 0o600))
		require.NoError(t, use(t, d), "the whole one after: %s", what)
	}
	step := 29
	if long() {
		step = 1
	}
	for n := 1; n < len(whole)/page; n += step {
		try(fmt.Sprintf("cut to %d pages", n), whole[:n*page])
		garbage := bytes.Clone(whole)
		for i := range page {
			garbage[n*page+i] = byte(i*7 + n)
		}
		try(fmt.Sprintf("garbage in page %d", n), garbage)
	}
	for _, n := range []int{1, 100, page - 1, page + 1, 4*page - 1} {
		try(fmt.Sprintf("cut to %d bytes", n), whole[:n])
	}
	try("zeros", make([]byte, len(whole)))
	t.Logf("%d refused", refused)
	require.Greater(t, refused, 10)
}

// TestValueCutOff: a value whose end the file no longer has is damage too, found
// by whoever reads it.
func TestValueCutOff(t *testing.T) {
	d, dir := home(t)
	db, err := d.OpenDB("db")
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx durable.Tx) error {
		return tx.Put("b", []byte("long"), bytes.Repeat([]byte("x"), 16*page))
	}))
	file := filepath.Join(dir, "db")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(file, 4*page))
	err = db.View(func(tx durable.Tx) error {
		_ = bytes.Count(tx.Get("b", []byte("long")), []byte("x"))
		return nil
	})
	require.ErrorContains(t, err, "it ends too early")
	require.Greater(t, info.Size(), int64(16*page))
	require.NoError(t, db.Close())
}

// TestDatabaseIsMadeWhole: what a crash leaves of one being made has another
// name, and does not stand in the way of the next.
func TestDatabaseIsMadeWhole(t *testing.T) {
	d, dir := home(t)
	for _, left := range [][]byte{{}, make([]byte, 4*page), []byte("text")} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "db.tmp"), left, 0o600))
		db, err := d.OpenDB("db")
		require.NoError(t, err)
		require.NoError(t, db.Close())
		require.NoFileExists(t, filepath.Join(dir, "db.tmp"))
		require.NoError(t, d.Remove("db"))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "db.tmp", "full"), 0o700))
	_, err := d.OpenDB("db")
	require.Error(t, err)
	require.NoFileExists(t, filepath.Join(dir, "db"), "it was made in place")
}
