package durabletest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
)

var dbTests = map[string]func(*tester){
	"db entries":     dbEntries,
	"db empty":       dbEmpty,
	"db buckets":     dbBuckets,
	"db atomic":      dbAtomic,
	"db panic":       dbPanic,
	"db own bytes":   dbOwnBytes,
	"db reads own":   dbReadsOwn,
	"db view":        dbView,
	"db scan":        dbScan,
	"db no key":      dbNoKey,
	"db reopened":    dbReopened,
	"db renamed":     dbRenamed,
	"db in use":      dbInUse,
	"db closed":      dbClosed,
	"db one writer":  dbOneWriter,
	"db no database": dbNoDatabase,
	"db in place":    dbInPlace,
}

var errUndone = errors.New("undone")

// openDB opens a database, which must work. It is closed with the test.
func (t *tester) openDB(name string) durable.DB {
	t.Helper()
	db, err := t.disk.OpenDB(name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// set commits entries of one bucket, key after key with its value.
func (t *tester) set(db durable.DB, bucket string, entries ...string) {
	t.Helper()
	require.NoError(t, db.Update(func(tx durable.Tx) error {
		for i := 0; i < len(entries); i += 2 {
			if err := tx.Put(bucket, []byte(entries[i]), []byte(entries[i+1])); err != nil {
				return err
			}
		}
		return nil
	}))
}

// scan returns the entries from a key on, at most limit.
func (t *tester) scan(db durable.DB, bucket, from string, limit int) (out []string) {
	t.Helper()
	require.NoError(t, db.View(func(tx durable.Tx) error {
		return tx.Scan(bucket, []byte(from), func(k, v []byte) bool {
			out = append(out, string(k), string(v))
			return len(out) < 2*limit
		})
	}))
	return out
}

func (t *tester) requireEntries(db durable.DB, bucket string, want ...string) {
	t.Helper()
	require.Equal(t, want, t.scan(db, bucket, "", 1000))
}

func dbEntries(t *tester) {
	db := t.openDB("db")
	t.set(db, "b", "k", "1", "l", "2")
	t.set(db, "b", "k", "3")
	require.NoError(t, db.View(func(tx durable.Tx) error {
		require.Equal(t, "3", string(tx.Get("b", []byte("k"))))
		require.Nil(t, tx.Get("b", []byte("m")))
		require.Nil(t, tx.Get("c", []byte("k")))
		return nil
	}))
	require.NoError(t, db.Update(func(tx durable.Tx) error {
		return errors.Join(tx.Delete("b", []byte("k")), tx.Delete("b", []byte("m")), tx.Delete("c", []byte("k")))
	}))
	t.requireEntries(db, "b", "l", "2")
}

// dbEmpty: an empty value is there.
func dbEmpty(t *tester) {
	db := t.openDB("db")
	check := func(tx durable.Tx) error {
		for _, k := range []string{"empty", "nil"} {
			b := tx.Get("b", []byte(k))
			require.NotNil(t, b, k)
			require.Empty(t, b, k)
		}
		return nil
	}
	require.NoError(t, db.Update(func(tx durable.Tx) error {
		return errors.Join(tx.Put("b", []byte("empty"), []byte{}), tx.Put("b", []byte("nil"), nil), check(tx))
	}))
	require.NoError(t, db.View(check))
	t.requireEntries(db, "b", "empty", "", "nil", "")
}

func dbBuckets(t *tester) {
	db := t.openDB("db")
	t.set(db, "b", "k", "1")
	t.set(db, "c", "k", "2")
	require.NoError(t, db.Update(func(tx durable.Tx) error { return tx.Delete("b", []byte("k")) }))
	t.requireEntries(db, "b")
	t.requireEntries(db, "c", "k", "2")
}

// dbAtomic: of a transaction that fails nothing happens.
func dbAtomic(t *tester) {
	db := t.openDB("db")
	t.set(db, "b", "k", "1", "l", "2")
	require.Equal(t, errUndone, db.Update(func(tx durable.Tx) error {
		require.NoError(t, tx.Put("b", []byte("k"), []byte("3")))
		require.NoError(t, tx.Delete("b", []byte("l")))
		require.NoError(t, tx.Put("new", []byte("k"), []byte("4")))
		return errUndone
	}))
	require.Equal(t, errUndone, db.View(func(durable.Tx) error { return errUndone }))
	t.requireEntries(db, "b", "k", "1", "l", "2")
	t.requireEntries(db, "new")
	t.set(db, "b", "k", "5")
	t.requireEntries(db, "b", "k", "5", "l", "2")
}

// dbPanic: nor of one that panics, and the panic is the caller's own.
func dbPanic(t *tester) {
	db := t.openDB("db")
	t.set(db, "b", "k", "1")
	require.PanicsWithValue(t, "mine", func() {
		_ = db.Update(func(tx durable.Tx) error {
			require.NoError(t, tx.Put("b", []byte("k"), []byte("2")))
			panic("mine")
		})
	})
	require.PanicsWithValue(t, "mine", func() {
		_ = db.View(func(tx durable.Tx) error {
			return tx.Scan("b", nil, func(_, _ []byte) bool { panic("mine") })
		})
	})
	t.requireEntries(db, "b", "k", "1")
	t.set(db, "b", "k", "3")
	t.requireEntries(db, "b", "k", "3")
}

// dbOwnBytes: what was put is not what the caller goes on using.
func dbOwnBytes(t *tester) {
	db := t.openDB("db")
	require.NoError(t, db.Update(func(tx durable.Tx) error {
		k, v := []byte("k"), []byte("value")
		require.NoError(t, tx.Put("b", k, v))
		clear(k)
		clear(v)
		require.Equal(t, "value", string(tx.Get("b", []byte("k"))))
		return nil
	}))
	t.requireEntries(db, "b", "k", "value")
}

// dbReadsOwn: a transaction sees what it has done.
func dbReadsOwn(t *tester) {
	db := t.openDB("db")
	t.set(db, "b", "a", "1", "b", "2")
	require.NoError(t, db.Update(func(tx durable.Tx) error {
		require.NoError(t, tx.Put("b", []byte("c"), []byte("3")))
		require.NoError(t, tx.Delete("b", []byte("a")))
		require.Nil(t, tx.Get("b", []byte("a")))
		var keys string
		require.NoError(t, tx.Scan("b", nil, func(k, _ []byte) bool { keys += string(k); return true }))
		require.Equal(t, "bc", keys)
		return nil
	}))
}

func dbView(t *tester) {
	db := t.openDB("db")
	t.set(db, "b", "k", "1")
	require.NoError(t, db.View(func(tx durable.Tx) error {
		require.Error(t, tx.Put("b", []byte("k"), []byte("2")))
		require.Error(t, tx.Put("new", []byte("k"), []byte("2")))
		require.Error(t, tx.Delete("b", []byte("k")))
		require.Error(t, tx.Delete("new", []byte("k")))
		return nil
	}))
	t.requireEntries(db, "b", "k", "1")
}

func dbScan(t *tester) {
	db := t.openDB("db")
	t.requireEntries(db, "b")
	t.set(db, "b", "b", "2", "a/b", "1", "a", "0", "\xff", "4", "b\x00", "3")
	t.requireEntries(db, "b", "a", "0", "a/b", "1", "b", "2", "b\x00", "3", "\xff", "4")
	require.Equal(t, []string{"a/b", "1", "b", "2"}, t.scan(db, "b", "a!", 2))
	require.Equal(t, []string{"b", "2"}, t.scan(db, "b", "b", 1))
	require.Empty(t, t.scan(db, "b", "\xff\x00", 9))

	var want []string
	require.NoError(t, db.Update(func(tx durable.Tx) error {
		for i := range 500 { // several pages of a real one
			k := fmt.Sprintf("%03d", i)
			want = append(want, k, "v"+k)
			if err := tx.Put("many", []byte(k), []byte("v"+k)); err != nil {
				return err
			}
		}
		return nil
	}))
	t.requireEntries(db, "many", want...)
}

func dbNoKey(t *tester) {
	db := t.openDB("db")
	require.NoError(t, db.Update(func(tx durable.Tx) error {
		require.Error(t, tx.Put("b", nil, []byte("1")))
		require.Error(t, tx.Put("", []byte("k"), []byte("1")))
		return nil
	}))
}

func dbReopened(t *tester) {
	db := t.openDB("db")
	t.set(db, "b", "k", "1")
	require.NoError(t, db.Close())
	t.requireEntries(t.openDB("db"), "b", "k", "1")
}

// dbRenamed: the database is its file, under whatever name.
func dbRenamed(t *tester) {
	t.mkdir("d")
	db := t.openDB("d/new")
	t.set(db, "b", "k", "1")
	require.NoError(t, db.Close())
	old := t.openDB("d/db")
	t.set(old, "b", "k", "0")
	require.NoError(t, old.Close())
	require.NoError(t, t.disk.Rename("d/new", "d/db"))
	require.Equal(t, []string{"db"}, t.names("d"))
	db = t.openDB("d/db")
	t.requireEntries(db, "b", "k", "1")
	require.NoError(t, db.Close())

	require.NoError(t, t.disk.Remove("d/db"))
	t.requireEntries(t.openDB("d/db"), "b")
}

func dbInUse(t *tester) {
	db := t.openDB("db")
	t.set(db, "b", "k", "1")
	_, err := t.disk.OpenDB("db")
	require.ErrorIs(t, err, durable.ErrLocked)
	t.set(db, "b", "k", "2")
	require.NoError(t, db.Close())
	t.requireEntries(t.openDB("db"), "b", "k", "2")
}

func dbClosed(t *tester) {
	db := t.openDB("db")
	require.NoError(t, db.Close())
	nothing := func(durable.Tx) error { t.Error("a transaction of a closed database"); return nil }
	require.Error(t, db.View(nothing))
	require.Error(t, db.Update(nothing))
	require.NoError(t, db.Close(), "once more")
	db = t.openDB("db")
	require.Error(t, func() error { _, err := t.disk.OpenDB("db"); return err }(), "closing twice has let go of it once")
	require.NoError(t, db.Close())
}

// dbOneWriter: of two transactions that write, one sees what the other did.
func dbOneWriter(t *tester) {
	const writers, each = 4, 10
	db := t.openDB("db")
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				err := db.Update(func(tx durable.Tx) error {
					n := uint64(0)
					if b := tx.Get("b", []byte("n")); b != nil {
						n = binary.BigEndian.Uint64(b)
					}
					for range 100 {
						runtime.Gosched() // to another that should not be here
					}
					return tx.Put("b", []byte("n"), binary.BigEndian.AppendUint64(nil, n+1))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	t.requireEntries(db, "b", "n", string(binary.BigEndian.AppendUint64(nil, writers*each)))
}

// dbNoDatabase: a file that is something else is an error, and stays as it is.
func dbNoDatabase(t *tester) {
	t.put("file", "text")
	t.mkdir("d")
	for _, name := range []string{"file", "d", "."} {
		_, err := t.disk.OpenDB(name)
		requireUnreadable(t, err, name)
		require.NotErrorIs(t, err, durable.ErrLocked, name)
	}
	t.requireText("text", "file")
	require.Equal(t, []string{"d", "file"}, t.names("."))
}

func dbInPlace(t *tester) {
	t.mkdir("d")
	t.openDB("d/db")
	require.Equal(t, []string{"db"}, t.names("d"))
	info, err := t.disk.Stat("d/db")
	require.NoError(t, err)
	require.Equal(t, "-rw-------", info.Mode().String())
}
