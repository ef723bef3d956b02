package age_test

import (
	"encoding/binary"
	"fmt"
	"iter"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// mapping is a part of a process's memory that it can write to. What the race
// detector reserves is larger than any that could hold a value.
var mapping = regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) rw`)

const largestMapping = 64 << 20

// memory yields what a process has in memory, contiguous pages at a time. What is
// yielded is good until the next.
func memory(t *testing.T, pid int) iter.Seq[[]byte] {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	require.NoError(t, err)
	return func(yield func([]byte) bool) {
		mem := open(t, pid, "mem")
		defer mem.Close()
		pagemap := open(t, pid, "pagemap")
		defer pagemap.Close()
		var part []byte
		for _, m := range mapping.FindAllSubmatch(maps, -1) {
			from, to := hex(t, m[1]), hex(t, m[2])
			if to-from > largestMapping {
				continue
			}
			for _, run := range inUse(t, pagemap, from, to) {
				part = append(part[:0], make([]byte, run[1]-run[0])...)
				n, _ := mem.ReadAt(part, run[0])
				if !yield(part[:n]) {
					return
				}
			}
		}
	}
}

func open(t *testing.T, pid int, file string) *os.File {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/%s", pid, file))
	require.NoError(t, err)
	return f
}

func hex(t *testing.T, b []byte) int64 {
	t.Helper()
	n, err := strconv.ParseInt(string(b), 16, 64)
	require.NoError(t, err)
	return n
}

// inUse returns the runs of pages between two addresses that are in memory or
// swapped out.
func inUse(t *testing.T, pagemap *os.File, from, to int64) (runs [][2]int64) {
	t.Helper()
	page := int64(os.Getpagesize())
	entries := make([]byte, (to-from)/page*8)
	n, _ := pagemap.ReadAt(entries, from/page*8)
	require.Equal(t, len(entries), n, "reading the pagemap")
	for at := from; at < to; at += page {
		if binary.NativeEndian.Uint64(entries[(at-from)/page*8:])>>62 == 0 {
			continue
		}
		if last := len(runs) - 1; last >= 0 && runs[last][1] == at {
			runs[last][1] += page
		} else {
			runs = append(runs, [2]int64{at, at + page})
		}
	}
	return runs
}
