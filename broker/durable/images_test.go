package durable_test

import (
	"bytes"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
)

// describe says all there is on a disk: `dir/ file=content`, sorted.
func describe(t testing.TB, d durable.Disk) string { return strings.Join(listing(t, d), " ") }

// listing is describe, one by one.
func listing(t testing.TB, d durable.Disk) (out []string) {
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := d.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			if e.IsDir() {
				out = append(out, name+"/")
				walk(name)
				continue
			}
			b, err := durable.ReadFile(d, name)
			require.NoError(t, err)
			out = append(out, name+"="+strings.ReplaceAll(string(b), "\x00", "0"))
		}
	}
	walk(".")
	return out
}

// write writes to a file that is there or not, and syncs nothing.
func write(t testing.TB, d durable.Disk, name string, flag int, text string, at int64) durable.File {
	f, err := d.OpenFile(name, os.O_RDWR|flag, 0o600)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(text), at)
	require.NoError(t, err)
	return f
}

// whole makes a file that is durable.
func whole(t testing.TB, d durable.Disk, name, text string) {
	require.NoError(t, durable.WriteFile(d, name, []byte(text), 0o600))
}

// TestImages is what a power loss can leave, to the last state of it: no more,
// or honest code is blamed, and no less, or careless code is not.
func TestImages(t *testing.T) {
	for what, tt := range map[string]struct {
		durable, then func(d *durable.Mem)
		want          []string
	}{
		"nothing is unsynced": {
			func(d *durable.Mem) { whole(t, d, "a", "old") },
			func(d *durable.Mem) { whole(t, d, "a", "new") },
			[]string{"a=new"},
		},
		"overwritten in place": {
			func(d *durable.Mem) { whole(t, d, "a", "old") },
			func(d *durable.Mem) { write(t, d, "a", 0, "new", 0) },
			[]string{"a=old", "a=nld", "a=ned", "a=new"},
		},
		"appended": {
			func(d *durable.Mem) { whole(t, d, "a", "12") },
			func(d *durable.Mem) { write(t, d, "a", 0, "34", 2) },
			[]string{"a=12", "a=123", "a=1234", "a=1200"},
		},
		"appended twice": {
			func(d *durable.Mem) { whole(t, d, "a", "1") },
			func(d *durable.Mem) { write(t, d, "a", 0, "2", 1); write(t, d, "a", 0, "3", 2) },
			[]string{"a=1", "a=12", "a=123", "a=10", "a=103", "a=120", "a=100"},
		},
		"appended twice, the first torn": {
			func(d *durable.Mem) { whole(t, d, "a", "1") },
			func(d *durable.Mem) { write(t, d, "a", 0, "23", 1); write(t, d, "a", 0, "4", 3) },
			[]string{"a=1", "a=12", "a=123", "a=100", "a=1004", "a=1204", "a=1234", "a=1000", "a=1200", "a=1230"},
		},
		"appended and synced in between": {
			func(d *durable.Mem) {
				whole(t, d, "a", "1")
				require.NoError(t, write(t, d, "a", 0, "2", 1).Sync())
			},
			func(d *durable.Mem) { write(t, d, "a", 0, "3", 2) },
			[]string{"a=12", "a=123", "a=120"},
		},
		"cut": {
			func(d *durable.Mem) { whole(t, d, "a", "long") },
			func(d *durable.Mem) {
				f, err := d.OpenFile("a", os.O_RDWR, 0)
				require.NoError(t, err)
				require.NoError(t, f.Truncate(1))
			},
			[]string{"a=long", "a=l"},
		},
		"cut by opening it": {
			func(d *durable.Mem) { whole(t, d, "a", "old") },
			func(d *durable.Mem) { write(t, d, "a", os.O_CREATE|os.O_TRUNC, "n", 0) },
			[]string{"a=old", "a=", "a=n", "a=nld", "a=0"},
		},
		"its name is not synced": {
			func(*durable.Mem) {},
			func(d *durable.Mem) { require.NoError(t, write(t, d, "a", os.O_CREATE, "text", 0).Sync()) },
			[]string{"", "a=text"},
		},
		"its content is not synced": {
			func(*durable.Mem) {},
			func(d *durable.Mem) { write(t, d, "a", os.O_CREATE, "12", 0); require.NoError(t, d.SyncDir(".")) },
			[]string{"a=", "a=1", "a=12", "a=00"},
		},
		"neither is synced": {
			func(*durable.Mem) {},
			func(d *durable.Mem) { write(t, d, "a", os.O_CREATE, "1", 0) },
			[]string{"", "a=", "a=1", "a=0"},
		},
		"renamed": {
			func(d *durable.Mem) { whole(t, d, "a", "old"); whole(t, d, "b", "new") },
			func(d *durable.Mem) { require.NoError(t, d.Rename("b", "a")) },
			[]string{"a=old b=new", "a=new"},
		},
		"removed": {
			func(d *durable.Mem) { whole(t, d, "a", "old") },
			func(d *durable.Mem) { require.NoError(t, d.Remove("a")) },
			[]string{"a=old", ""},
		},
		"removed and made again": {
			func(d *durable.Mem) { whole(t, d, "a", "old") },
			func(d *durable.Mem) { require.NoError(t, d.Remove("a")); write(t, d, "a", os.O_CREATE, "", 0) },
			[]string{"a=old", "", "a="},
		},
		"names of one directory keep their order": {
			func(*durable.Mem) {},
			func(d *durable.Mem) { write(t, d, "a", os.O_CREATE, "", 0); write(t, d, "b", os.O_CREATE, "", 0) },
			[]string{"", "a=", "a= b="},
		},
		"names of two do not": {
			func(d *durable.Mem) {
				require.NoError(t, durable.MkdirAll(d, "d", 0o700))
				require.NoError(t, durable.MkdirAll(d, "e", 0o700))
			},
			func(d *durable.Mem) { write(t, d, "d/a", os.O_CREATE, "", 0); write(t, d, "e/b", os.O_CREATE, "", 0) },
			[]string{"d/ e/", "d/ d/a= e/", "d/ e/ e/b=", "d/ d/a= e/ e/b="},
		},
		"renamed between two directories": {
			func(d *durable.Mem) { require.NoError(t, durable.MkdirAll(d, "d", 0o700)); whole(t, d, "a", "1") },
			func(d *durable.Mem) { require.NoError(t, d.Rename("a", "d/b")) },
			[]string{"a=1 d/", "d/ d/b=1", "a=1 d/ d/b=1", "d/"},
		},
		"a directory whose own name is not synced": {
			func(*durable.Mem) {},
			func(d *durable.Mem) {
				require.NoError(t, d.Mkdir("d", 0o700))
				whole(t, d, "d/a", "1")
			},
			[]string{"", "d/ d/a=1"},
		},
		"written after its name was gone": {
			func(d *durable.Mem) { whole(t, d, "a", "1") },
			func(d *durable.Mem) {
				f, err := d.OpenFile("a", os.O_RDWR, 0)
				require.NoError(t, err)
				require.NoError(t, d.Remove("a"))
				_, err = f.WriteAt([]byte("2"), 0)
				require.NoError(t, err)
				require.NoError(t, f.Sync())
			},
			[]string{"", "a=2"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			d := durable.NewMem()
			tt.durable(d)
			tt.then(d)
			seen := map[string]bool{}
			for image := range d.Images(600, seeded(1)) {
				seen[describe(t, image)] = true
			}
			require.ElementsMatch(t, tt.want, slices.Collect(maps.Keys(seen)))
		})
	}
}

// TestImagesOrder: first nothing, then everything, so that small limits see both.
func TestImagesOrder(t *testing.T) {
	d := durable.NewMem()
	whole(t, d, "a", "old")
	write(t, d, "a", 0, "new", 0)
	write(t, d, "b", os.O_CREATE, "b", 0)
	var got []string
	for image := range d.Images(6, seeded(1)) {
		got = append(got, describe(t, image))
	}
	require.Equal(t, []string{"a=old", "a=new b=b", "a=new b="}, got[:3])
	require.Len(t, got, 6)
	for limit, want := range map[int]int{-1: 0, 0: 0, 1: 1, 2: 2, 3: 3, 1000: 1000} {
		n := 0
		for range d.Images(limit, seeded(1)) {
			n++
		}
		require.Equal(t, want, n, "limit %d", limit)
	}
	for range d.Images(1000, seeded(1)) {
		break
	}
}

// TestImagesLostSectors: a write that did not reach the disk whole may leave
// any of its sectors behind, in whatever order.
func TestImagesLostSectors(t *testing.T) {
	d := durable.NewMem()
	old := strings.Repeat("o", 512)
	whole(t, d, "a", old+old)
	write(t, d, "a", 0, strings.Repeat("n", 4*512), 0)
	seen := map[string]bool{}
	for image := range d.Images(2000, seeded(1)) {
		b, err := durable.ReadFile(image, "a")
		require.NoError(t, err)
		if len(b) == 4*512 {
			seen[string([]byte{b[0], b[511], b[512], b[1023], b[1024], b[1535], b[1536], b[2047]})] = true
		}
	}
	var want []string
	for i := range 16 {
		kinds := []byte("nnnnnnnn")
		for s, lost := range []byte("oo\x00\x00") {
			if i>>s&1 == 1 {
				kinds[2*s], kinds[2*s+1] = lost, lost
			}
		}
		want = append(want, string(kinds))
	}
	require.Subset(t, slices.Collect(maps.Keys(seen)), want)
}

// TestImagesOfLongWrite: with no room for every torn length, half of the images
// are for some of them, about the borders, and the rest for other losses.
func TestImagesOfLongWrite(t *testing.T) {
	const size = 10_000
	for _, limit := range []int{14, 100, 5000} {
		d := durable.NewMem()
		whole(t, d, "a", "")
		write(t, d, "a", 0, strings.Repeat("x", size), 0)
		cuts, holes := map[int]bool{}, 0
		n := 0
		for image := range d.Images(limit, seeded(3)) {
			n++
			b, err := durable.ReadFile(image, "a")
			require.NoError(t, err)
			if bytes.IndexByte(b, 0) >= 0 {
				holes++
			}
			cuts[len(b)] = true
		}
		require.Equal(t, limit, n)
		require.Positive(t, holes, "limit %d", limit)
		for _, at := range []int{0, 1, 511, 512, 513, size - 1, size} {
			require.True(t, cuts[at], "limit %d: cut at %d", limit, at)
		}
		require.Greater(t, len(cuts), limit/3)
	}
}

// TestImagesEveryCut: with room for it, every torn length is there.
func TestImagesEveryCut(t *testing.T) {
	const size = 4096
	d := durable.NewMem()
	whole(t, d, "a", "")
	write(t, d, "a", 0, strings.Repeat("x", size), 0)
	cuts := map[int]bool{}
	for image := range d.Images(size+2, seeded(1)) {
		b, err := durable.ReadFile(image, "a")
		require.NoError(t, err)
		require.NotContains(t, string(b), "\x00")
		cuts[len(b)] = true
	}
	require.Len(t, cuts, size+1)
}

// TestImagesAreIndependent: what happens on one disk happens on no other.
func TestImagesAreIndependent(t *testing.T) {
	d := durable.NewMem()
	require.NoError(t, durable.MkdirAll(d, "d", 0o700))
	whole(t, d, "d/clean", "clean")
	whole(t, d, "dirty", "old")
	write(t, d, "dirty", 0, "new", 0)
	images := append([]*durable.Mem{d}, slices.Collect(d.Images(40, seeded(1)))...)
	var before []string
	for _, disk := range images {
		before = append(before, describe(t, disk))
	}
	for i, disk := range images {
		write(t, disk, "d/clean", 0, "CHANGED", 0)
		write(t, disk, "dirty", 0, "CHANGED", 1)
		whole(t, disk, "d/made", "")
		require.NoError(t, disk.Remove("d/clean"))
		for j := i + 1; j < len(images); j++ {
			require.Equal(t, before[j], describe(t, images[j]), "disk %d, after changes of disk %d", j, i)
		}
	}
}

// TestImagesAreUsedByNoOne: no one has an image, nor a database in it, nor
// writes to one with the other.
func TestImagesAreUsedByNoOne(t *testing.T) {
	d := durable.NewMem()
	_, err := d.Lock()
	require.NoError(t, err)
	db, err := d.OpenDB("db")
	require.NoError(t, err)
	put := func(db durable.DB, v string) {
		require.NoError(t, db.Update(func(tx durable.Tx) error { return tx.Put("b", []byte("k"), []byte(v)) }))
	}
	put(db, "1")
	for image := range d.Images(1, nil) {
		_, err := image.Lock()
		require.NoError(t, err)
		copied, err := image.OpenDB("db")
		require.NoError(t, err)
		put(copied, "2")
	}
	require.NoError(t, db.View(func(tx durable.Tx) error {
		require.Equal(t, "1", string(tx.Get("b", []byte("k"))))
		return nil
	}))
}

// TestImageIsSettled: everything in an image counts as synced.
func TestImageIsSettled(t *testing.T) {
	d := durable.NewMem()
	require.NoError(t, d.Mkdir("d", 0o700))
	write(t, d, "d/a", os.O_CREATE, "text", 0)
	for image := range d.Images(50, seeded(1)) {
		want := describe(t, image)
		n := 0
		for second := range image.Images(50, seeded(1)) {
			require.Equal(t, want, describe(t, second))
			n++
		}
		require.Equal(t, 1, n)
	}
}

// TestImagesOfDatabase: a commit is durable when it returns; the name is one
// like any other.
func TestImagesOfDatabase(t *testing.T) {
	d := durable.NewMem()
	commit := func(name, v string) {
		db, err := d.OpenDB(name)
		require.NoError(t, err)
		require.NoError(t, db.Update(func(tx durable.Tx) error { return tx.Put("b", []byte("k"), []byte(v)) }))
		require.NoError(t, db.Close())
	}
	get := func(image *durable.Mem, name string) (v string) {
		db, err := image.OpenDB(name)
		require.NoError(t, err)
		require.NoError(t, db.View(func(tx durable.Tx) error { v = string(tx.Get("b", []byte("k"))); return nil }))
		return v
	}
	commit("db", "old")
	commit("db.new", "new")
	for image := range d.Images(20, seeded(1)) {
		require.Equal(t, "old", get(image, "db"))
		require.Equal(t, "new", get(image, "db.new"))
	}
	require.NoError(t, d.Rename("db.new", "db"))
	seen := map[string]int{}
	for image := range d.Images(20, seeded(1)) {
		seen[get(image, "db")]++
	}
	require.Len(t, seen, 2)
	require.NoError(t, d.SyncDir("."))
	for image := range d.Images(20, seeded(1)) {
		require.Equal(t, "new", get(image, "db"))
	}
}

// BenchmarkImages is what one image of a small home costs.
func BenchmarkImages(b *testing.B) {
	d := durable.NewMem()
	for _, dir := range []string{"vault/a/b", "vault/c", "audit", "run"} {
		require.NoError(b, durable.MkdirAll(d, dir, 0o700))
	}
	for _, name := range []string{"secretctl.toml", "identity.txt", "halt", "vault/a/b/@1.age", "vault/c/@1.age", "audit/key", "audit/leases.snap", "audit/00000001.jsonl"} {
		whole(b, d, name, strings.Repeat("x", 4096))
	}
	write(b, d, "audit/00000001.jsonl", 0, strings.Repeat("y", 400), 4096)
	rnd := seeded(1)
	for b.Loop() {
		n := 0
		for range d.Images(1000, rnd) {
			n++
		}
		if n != 1000 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "images/s")
}
