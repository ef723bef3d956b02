package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// diskCall is what import asked of the kernel about a directory.
type diskCall struct {
	what string // create, write, sync, exchange, remove or syncdir
	a, b string // names
}

// diskCalls are a line of strace each. Of what is written nothing is in them.
var diskCalls = []struct {
	re   *regexp.Regexp
	what string
}{
	{regexp.MustCompile(`openat\(\d+<[^>]*>, "([^"]+)", [A-Z_|]*O_CREAT[A-Z_|]*, \d+\)\s+= \d`), "create"},
	{regexp.MustCompile(`(?:write|pwrite64)\(\d+<[^>]*/([^/>]+)>, .*\)\s+= \d`), "write"},
	{regexp.MustCompile(`fsync\(\d+<[^>]*/([^/>]+)>\)\s+= 0`), "sync"},
	{regexp.MustCompile(`renameat2\(\d+<[^>]*>, "([^"]+)", \d+<[^>]*>, "([^"]+)", RENAME_EXCHANGE\)\s+= 0`), "exchange"},
	{regexp.MustCompile(`unlinkat\(\d+<[^>]*>, "([^"]+)", 0\)\s+= 0`), "remove"},
}

// traced runs a command under strace and returns what it asked about a directory,
// in order.
func (i *importedInto) traced(args ...string) (all []diskCall) {
	log := filepath.Join(i.t.TempDir(), "trace")
	cmd := i.command(args...)
	cmd.Args = append([]string{"strace", "-f", "-y", "-s", "0", "-e", "trace=openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,link,linkat,unlink,unlinkat",
		"-o", log, cmd.Path}, args...)
	var err error
	cmd.Path, err = exec.LookPath("strace")
	require.NoError(i.t, err)
	out, err := cmd.CombinedOutput()
	require.NoError(i.t, err, "%s", out)
	text, err := os.ReadFile(log)
	require.NoError(i.t, err)
	dir, base := filepath.Dir(i.file), filepath.Base(i.file)
	begun := make(map[string]string) // :: thread → what it has not ended
	for line := range strings.Lines(string(text)) {
		thread, line, _ := strings.Cut(line, " ")
		if head, ok := strings.CutSuffix(strings.TrimRight(line, "\n"), "<unfinished ...>"); ok {
			begun[thread] = strings.TrimRight(head, " ")
			continue
		}
		if _, rest, ok := strings.Cut(line, "resumed>"); ok {
			line = begun[thread] + rest
		}
		if !strings.Contains(line, base) && !strings.Contains(line, "fsync(") || !strings.Contains(line, dir) {
			continue
		}
		known := strings.Contains(line, "O_RDONLY")
		for _, c := range diskCalls {
			if m := c.re.FindStringSubmatch(line); m != nil {
				made := diskCall{c.what, m[1], ""}
				if len(m) > 2 {
					made.b = m[2]
				}
				if c.what == "sync" && m[1] == filepath.Base(dir) {
					made = diskCall{what: "syncdir"}
				}
				all, known = append(all, made), true
				break
			}
		}
		require.True(i.t, known, "a call that the test does not know: %s", line)
	}
	return all
}

// The contents of a name after a loss of power.
const (
	contentOld   = "old"
	contentNew   = "new"
	contentTorn  = "torn" // of the new file before it was synced
	contentEmpty = "no"
)

// losses returns what a name may lead to after a loss of power during or after
// these calls. As in package durable's model the directory is at some point of
// its unsynced changes, and what was written to a file and not synced is anything.
func losses(name string, made []diskCall) map[string]bool {
	durable := map[string]string{name: contentOld} // :: name → file
	synced := map[string]bool{contentOld: true}
	var open []diskCall // changes of names since the last sync
	for _, c := range made {
		switch c.what {
		case "write":
			synced[contentNew] = false
		case "sync":
			synced[contentNew] = true
		case "syncdir":
			for _, o := range open {
				o.change(durable)
			}
			open = nil
		default:
			open = append(open, c)
		}
	}
	found := make(map[string]bool)
	for happened := range len(open) + 1 {
		names := maps.Clone(durable)
		for _, o := range open[:happened] {
			o.change(names)
		}
		switch file := names[name]; {
		case file == "":
			found[contentEmpty] = true
		case !synced[file]:
			found[contentTorn] = true
		default:
			found[file] = true
		}
	}
	return found
}

func (c diskCall) change(names map[string]string) {
	switch c.what {
	case "create":
		names[c.a] = contentNew
	case "exchange":
		names[c.a], names[c.b] = names[c.b], names[c.a]
	case "remove":
		delete(names, c.a)
	}
}

// worst returns what a name may lead to at any moment, and at the end.
func worst(name string, made []diskCall) (ever, last map[string]bool) {
	ever = make(map[string]bool)
	for n := range len(made) + 1 {
		last = losses(name, made[:n])
		maps.Copy(ever, last)
	}
	return ever, last
}

// without returns the calls but for the nth of a kind, counted from 0.
func without(made []diskCall, what string, nth int) []diskCall {
	for i, c := range made {
		if c.what == what {
			if nth == 0 {
				return slices.Delete(slices.Clone(made), i, i+1)
			}
			nth--
		}
	}
	panic("there is no such call")
}

// TestImportSurvivesPowerLoss: whenever the power goes while a file is rewritten,
// it is as it was or as it is to be, and once import has ended it is as it is to
// be. The calls are those that the program makes; what a disk keeps of them is
// modelled. That the vault has every value before the first of them is what
// TestImportDies shows, and that it keeps them the crash tests of package broker.
func TestImportSurvivesPowerLoss(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("SECRETCTL_TEST_STRICT") != "" {
			t.Fatal("this test needs strace")
		}
		t.Skip("needs strace")
	}
	i := newImport(t, canary.Dir(t))
	name := filepath.Base(i.file)
	whole, done := map[string]bool{contentOld: true, contentNew: true}, map[string]bool{contentNew: true}
	for _, args := range [][]string{{"import", i.file}, {"import", "--undo", i.file}} {
		made := i.traced(args...)
		t.Log(made)
		ever, last := worst(name, made)
		require.Equal(t, whole, ever, args)
		require.Equal(t, done, last, args)

		// The model tells of each sync that is missing.
		ever, _ = worst(name, without(made, "sync", 0))
		require.True(t, ever[contentTorn])
		_, last = worst(name, without(without(made, "syncdir", 1), "syncdir", 0))
		require.True(t, last[contentOld])
	}
}
