package canary

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// errUnseeded is the error of a run whose tests give away values of their own.
var errUnseeded = errors.New("no delivery channel holds a canary: the values were not minted in this run")

// findings is what was searched, and found.
type findings struct {
	mu        sync.Mutex
	finder    *Finder
	bytes     int64
	files     int
	processes int
	channels  int
	used      int // channels with a canary in them
	leaks     map[place]leak
}

type place struct{ where, form string }

type leak struct {
	first int64 // offset
	times int
}

func newFindings(seed string) *findings {
	return &findings{finder: NewFinder(seed), leaks: make(map[place]leak)}
}

// file searches a file, which is shown as a name.
func (f *findings) file(path, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	hits, err := f.finder.Find(in)
	if err != nil {
		return fmt.Errorf("searching %s: %w", name, err)
	}
	f.bytes += info.Size()
	f.files++
	if !strings.HasSuffix(path, Channel) {
		f.add(name, hits)
		return nil
	}
	f.channels++
	if len(hits) > 0 {
		f.used++
	}
	return nil
}

// text searches a text, which is at a place.
func (f *findings) text(where, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes += int64(len(text))
	f.add(where, f.finder.FindIn([]byte(text)))
}

// hidden stands for a place whose name is not shown.
const hidden = "a place whose name holds a canary"

func (f *findings) add(where string, hits []Hit) {
	if len(hits) > 0 && len(f.finder.FindIn([]byte(where))) > 0 {
		where = hidden
	}
	for _, h := range hits {
		at := place{where, h.Form}
		l, ok := f.leaks[at]
		if !ok {
			l.first = h.Offset
		}
		l.times++
		f.leaks[at] = l
	}
}

// report says what was searched and what was found, never the value itself, and
// returns the exit code.
func (f *findings) report(w io.Writer, err error) int {
	if f.channels > 0 && f.used == 0 {
		err = errors.Join(err, errUnseeded)
	}
	lines := make([]string, 0, len(f.leaks))
	for at, l := range f.leaks {
		lines = append(lines, fmt.Sprintf("canaries: leak: %s: %s at byte %d, %d in all", at.where, at.form, l.first, l.times))
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	if err != nil {
		text := err.Error()
		if len(f.finder.FindIn([]byte(text))) > 0 {
			text = "in " + hidden
		}
		fmt.Fprintln(w, "canaries: error:", text)
	}
	fmt.Fprintf(w, "canaries: searched %d bytes, %d files, %d processes: %d leaks; %d of %d delivery channels hold a canary\n",
		f.bytes, f.files, f.processes, len(lines), f.used, f.channels)
	if err != nil || len(lines) > 0 {
		return 1
	}
	return 0
}
