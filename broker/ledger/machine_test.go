package ledger_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"secretctl/broker/durable"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// machine is a ledger beside a map that should say the same.
type machine struct {
	d      *durable.Mem
	fail   bool // the next commit
	l      *ledger.Ledger
	model  map[secret.Name]ledger.Entry
	change uint64
}

var names = []secret.Name{"a", "a/b", "a-b", "a/c", "b", "b/a"}

// open opens the ledger of m.d.
func (m *machine) open(t *rapid.T) {
	var err error
	m.l, err = ledger.Open(&durable.Hook{Disk: m.d, Before: func(op durable.Op) durable.Verdict {
		if m.fail && op.Kind == durable.OpCommit {
			return durable.Verdict{Err: errCrashed}
		}
		return durable.Verdict{}
	}})
	require.NoError(t, err)
}

func drawEntry(t *rapid.T) ledger.Entry {
	e := ledger.Entry{
		Name:    rapid.SampledFrom(names).Draw(t, "name"),
		Store:   rapid.SampledFrom([]string{"age", "keychain"}).Draw(t, "store"),
		Env:     rapid.SampledFrom([]string{"", "TOKEN"}).Draw(t, "env"),
		Created: start,
		Current: rapid.Uint64Range(0, 9).Draw(t, "current"),
		Next:    10,
		Rotate:  rapid.Bool().Draw(t, "rotate"),
		Removed: rapid.Bool().Draw(t, "removed"),
		Change:  rapid.Uint64Range(0, 20).Draw(t, "change"), // it must not matter
	}
	for n := range rapid.Uint64Range(0, 3).Draw(t, "versions") {
		if e.Versions == nil {
			e.Versions = map[uint64]ledger.Version{}
		}
		v := ledger.Version{Sum: providers.Sum{byte(n)}, Created: start.Add(time.Hour)}
		if rapid.Bool().Draw(t, "expires") {
			v.Expires = start.Add(time.Duration(n+1) * time.Hour)
		}
		e.Versions[n+1] = v
	}
	return e
}

func there(e ledger.Entry) bool { return !e.Removed && e.Current != 0 }

// put writes some entries at once, or fails to.
func (m *machine) put(t *rapid.T) {
	var all []*ledger.Entry
	for range rapid.IntRange(1, 3).Draw(t, "entries") {
		e := drawEntry(t)
		all = append(all, &e)
	}
	m.fail = rapid.IntRange(0, 4).Draw(t, "fails") == 0
	err := m.l.Put(all...)
	if m.fail {
		require.ErrorIs(t, err, errCrashed)
		m.fail = false
		return
	}
	require.NoError(t, err)
	for _, e := range all {
		m.change++
		require.Equal(t, m.change, e.Change)
		m.model[e.Name] = *e
	}
}

// note writes an entry that is no change.
func (m *machine) note(t *rapid.T) {
	e := drawEntry(t)
	require.NoError(t, m.l.Note(&e))
	require.Equal(t, m.model[e.Name].Change, e.Change)
	m.model[e.Name] = e
}

func (m *machine) look(t *rapid.T) {
	name := rapid.SampledFrom(names).Draw(t, "name")
	want, known := m.model[name]
	got, err := m.l.Raw(name)
	if known {
		require.NoError(t, err)
		require.Equal(t, want, got)
	} else {
		require.ErrorIs(t, err, ledger.ErrNoEntry)
	}
	current, err := m.l.Current(name)
	if there(want) {
		require.NoError(t, err)
		require.Equal(t, want.Current, current)
	} else {
		require.ErrorIs(t, err, ledger.ErrNoEntry)
	}
}

// reopen opens the ledger again, in an orderly way or as a power loss left it.
func (m *machine) reopen(t *rapid.T) {
	if rapid.Bool().Draw(t, "power loss") {
		for image := range m.d.Images(1, nil) {
			m.d = image
		}
	} else {
		require.NoError(t, m.l.Close())
	}
	m.open(t)
}

// rebuild replaces the ledger by what the model says: what was removed is gone.
func (m *machine) rebuild(t *rapid.T) {
	require.NoError(t, m.l.Close())
	var all []*ledger.Entry
	maps.DeleteFunc(m.model, func(_ secret.Name, e ledger.Entry) bool { return !there(e) })
	for _, name := range slices.Sorted(maps.Keys(m.model)) {
		e := m.model[name]
		all = append(all, &e)
	}
	require.NoError(t, ledger.Rebuild(m.d, all, nil))
	m.change = 0
	for _, e := range all {
		m.change++
		require.Equal(t, m.change, e.Change)
		m.model[e.Name] = *e
	}
	m.open(t)
}

// check holds everything the ledger says against the model.
func (m *machine) check(t *rapid.T) {
	var all, unfinished, must []secret.Name
	expires := map[secret.Name]time.Time{}
	want := map[secret.Name]uint64{}
	since := rapid.Uint64Range(0, m.change+1).Draw(t, "since")
	for _, name := range slices.Sorted(maps.Keys(m.model)) {
		e := m.model[name]
		if there(e) {
			all = append(all, name)
			if e.Rotate {
				must = append(must, name)
			}
			if at := e.Versions[e.Current].Expires; !at.IsZero() {
				expires[name] = at
			}
		}
		if e.Removed && len(e.Versions) > 0 {
			unfinished = append(unfinished, name)
		}
		if e.Change > since && e.Change != 0 {
			want[name] = e.Current
			if e.Removed {
				want[name] = 0
			}
		}
	}
	prefix := rapid.SampledFrom([]string{"", "a", "a/", "c"}).Draw(t, "prefix")
	var withPrefix []secret.Name
	for _, name := range all {
		if strings.HasPrefix(string(name), prefix) {
			withPrefix = append(withPrefix, name)
		}
	}
	require.Equal(t, withPrefix, namesOf(t, func(fn func(*ledger.Entry) bool) error { return m.l.Each(prefix, fn) }))
	removed, err := m.l.Removed()
	require.NoError(t, err)
	require.Equal(t, unfinished, removed)
	gotMust, err := m.l.MustRotate()
	require.NoError(t, err)
	require.Equal(t, must, gotMust)
	gotExpires, err := m.l.Expires()
	require.NoError(t, err)
	require.Equal(t, expires, gotExpires)
	count, err := m.l.Count()
	require.NoError(t, err)
	require.Len(t, all, count)
	latest, err := m.l.Latest()
	require.NoError(t, err)
	require.Equal(t, m.change, latest)
	m.checkChanges(t, since, want)
}

func (m *machine) checkChanges(t *rapid.T, since uint64, want map[secret.Name]uint64) {
	all, err := m.l.Changes(since)
	require.NoError(t, err)
	require.Len(t, all, len(want))
	for _, c := range all {
		require.Equal(t, m.model[c.Name].Change, c.At)
		require.Equal(t, want[c.Name], c.Version)
	}
	require.True(t, slices.IsSortedFunc(all, func(a, b ledger.Change) int { return int(a.At) - int(b.At) }))
}

func namesOf(t *rapid.T, each func(func(*ledger.Entry) bool) error) (out []secret.Name) {
	require.NoError(t, each(func(e *ledger.Entry) bool { out = append(out, e.Name); return true }))
	return out
}

// TestLedgerMachine: whatever is done to it, in whatever order, it says what a
// map would say, after power losses too.
func TestLedgerMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{d: durable.NewMem(), model: map[secret.Name]ledger.Entry{}}
		require.NoError(t, ledger.Create(m.d, ledger.Name))
		m.open(t)
		defer func() { _ = m.l.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"put": m.put, "put again": m.put, "note": m.note, "look": m.look, "reopen": m.reopen, "rebuild": m.rebuild, "": m.check,
		})
	})
}
