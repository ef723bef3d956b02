package ledger_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/ledger"
	"secretctl/broker/secret"
)

// TestGet: what was put is what is there, to the last field.
func TestGet(t *testing.T) {
	l, _ := made(t)
	_, err := l.Get("a/b")
	require.ErrorIs(t, err, ledger.ErrNoEntry)
	_, err = l.Raw("a/b")
	require.ErrorIs(t, err, ledger.ErrNoEntry)

	e := entry("a/b", 3)
	e.Env, e.Rotated, e.Pending, e.Rotate = "TOKEN", start.Add(time.Hour), 4, true
	e = put(t, l, e)[0]
	require.EqualValues(t, 1, e.Change)
	for _, get := range []func(secret.Name) (ledger.Entry, error){l.Get, l.Raw} {
		got, err := get("a/b")
		require.NoError(t, err)
		require.Equal(t, e, got)
	}
	_, err = l.Get("a")
	require.ErrorIs(t, err, ledger.ErrNoEntry)
}

// TestGetOfNothing: a secret that was removed, or that has no version yet, is
// there for whoever writes next and for nobody else.
func TestGetOfNothing(t *testing.T) {
	l, _ := made(t)
	gone := put(t, l, removed(entry("gone", 3)))[0]
	unborn := put(t, l, ledger.Entry{Name: "unborn", Store: "age", Pending: 1, Next: 2})[0]
	for _, e := range []ledger.Entry{gone, unborn} {
		_, err := l.Get(e.Name)
		require.ErrorIs(t, err, ledger.ErrNoEntry, e.Name)
		_, err = l.Current(e.Name)
		require.ErrorIs(t, err, ledger.ErrNoEntry, e.Name)
		got, err := l.Raw(e.Name)
		require.NoError(t, err, e.Name)
		require.Equal(t, e, got)
	}
	require.Empty(t, secrets(t, l, ""))
	n, err := l.Count()
	require.NoError(t, err)
	require.Zero(t, n)
}

// TestEach: every secret with the prefix, in order, until it is enough.
func TestEach(t *testing.T) {
	l, _ := made(t)
	for _, name := range []secret.Name{"b/x", "a", "b", "b-c", "c", "b/y"} {
		put(t, l, entry(name, 1))
	}
	put(t, l, removed(entry("b/gone", 1)))
	for prefix, want := range map[string][]secret.Name{
		"":       {"a", "b", "b-c", "b/x", "b/y", "c"},
		"b":      {"b", "b-c", "b/x", "b/y"},
		"b/":     {"b/x", "b/y"},
		"b/gone": nil,
		"d":      nil,
	} {
		var got []secret.Name
		for _, e := range secrets(t, l, prefix) {
			got = append(got, e.Name)
		}
		require.Equal(t, want, got, "prefix %q", prefix)
	}
	n := 0
	require.NoError(t, l.Each("", func(*ledger.Entry) bool { n++; return n < 2 }))
	require.Equal(t, 2, n)
}

// TestRemoved: those whose versions have still to go.
func TestRemoved(t *testing.T) {
	l, _ := made(t)
	put(t, l, entry("there", 1), removed(entry("going", 2)), removed(entry("also-going", 1)), removed(entry("back", 1)))
	done := removed(entry("going-too", 2))
	put(t, l, done)
	done.Versions = nil
	put(t, l, done, entry("back", 2))
	got, err := l.Removed()
	require.NoError(t, err)
	require.Equal(t, []secret.Name{"also-going", "going"}, got)
}

// TestCount: how many there are, whatever comes and goes.
func TestCount(t *testing.T) {
	l, _ := made(t)
	for i, tt := range []struct {
		put  ledger.Entry
		want int
	}{
		{entry("a", 1), 1},
		{entry("a", 2), 1},
		{entry("b", 1), 2},
		{removed(entry("a", 2)), 1},
		{removed(entry("a", 2)), 1},
		{removed(entry("never", 1)), 1},
		{ledger.Entry{Name: "unborn", Pending: 1}, 1},
		{entry("unborn", 1), 2},
		{entry("a", 3), 3},
	} {
		put(t, l, tt.put)
		n, err := l.Count()
		require.NoError(t, err)
		require.Equal(t, tt.want, n, "step %d", i)
	}
}

// TestMustRotate: those that are marked, as long as they are and are there.
func TestMustRotate(t *testing.T) {
	l, _ := made(t)
	mark := func(e ledger.Entry) ledger.Entry { e.Rotate = true; return e }
	put(t, l, mark(entry("b", 1)), mark(entry("a", 1)), entry("c", 1), mark(entry("d", 1)))
	must := func() []secret.Name {
		names, err := l.MustRotate()
		require.NoError(t, err)
		return names
	}
	require.Equal(t, []secret.Name{"a", "b", "d"}, must())
	put(t, l, entry("a", 2), mark(removed(entry("d", 1))))
	require.Equal(t, []secret.Name{"b"}, must())
}

// changes returns the changes after since as name → version, and checks that
// they come in order.
func changes(t testing.TB, l *ledger.Ledger, since uint64) map[secret.Name]uint64 {
	all, err := l.Changes(since)
	require.NoError(t, err)
	out := map[secret.Name]uint64{}
	last := since
	for _, c := range all {
		require.Greater(t, c.At, last)
		require.NotContains(t, out, c.Name, "twice")
		last, out[c.Name] = c.At, c.Version
	}
	return out
}

// TestChanges: each secret once, by its latest change, with the version a lease
// gets now.
func TestChanges(t *testing.T) {
	l, _ := made(t)
	latest := func() uint64 {
		n, err := l.Latest()
		require.NoError(t, err)
		return n
	}
	require.Zero(t, latest())
	require.Empty(t, changes(t, l, 0))

	put(t, l, entry("a", 1), entry("b", 1)) // changes 1 and 2
	put(t, l, entry("a", 2))                // 3
	put(t, l, entry("c", 1))                // 4
	put(t, l, removed(entry("c", 1)))       // 5
	require.EqualValues(t, 5, latest())
	for since, want := range map[uint64]map[secret.Name]uint64{
		0: {"a": 2, "b": 1, "c": 0}, 1: {"a": 2, "b": 1, "c": 0}, 2: {"a": 2, "c": 0}, 3: {"c": 0}, 4: {"c": 0}, 5: {}, 99: {}, ^uint64(0): {},
	} {
		require.Equal(t, want, changes(t, l, since), "since %d", since)
	}
}

// TestPutAtOnce: of entries that are put together all are, or none.
func TestPutAtOnce(t *testing.T) {
	l, _ := made(t)
	put(t, l, entry("a", 1))
	good, bad := entry("a", 2), ledger.Entry{} // a secret has a name
	require.Error(t, l.Put(&good, &bad))
	e, err := l.Get("a")
	require.NoError(t, err)
	require.Equal(t, put(t, l, entry("b", 1))[0].Change, e.Change+1, "the change was undone too")
	require.EqualValues(t, 1, e.Current)
	require.NoError(t, l.Put())
}

// TestPutAgain: an entry whose Put failed, or that was made anew, is put as if
// nothing had happened, and no change of another secret is lost.
func TestPutAgain(t *testing.T) {
	l, _ := made(t)
	put(t, l, entry("a", 1))
	retried, bad := entry("a", 2), ledger.Entry{}
	require.Error(t, l.Put(&retried, &bad))
	put(t, l, entry("b", 1))
	put(t, l, retried)
	require.Equal(t, map[secret.Name]uint64{"a": 2, "b": 1}, changes(t, l, 0))
	anew := entry("b", 2)
	anew.Change = 0
	put(t, l, anew)
	require.Equal(t, map[secret.Name]uint64{"a": 2, "b": 2}, changes(t, l, 0))
}

// TestClosed: nothing is answered by a ledger that is closed.
func TestClosed(t *testing.T) {
	l, _ := made(t)
	put(t, l, entry("a", 1))
	require.NoError(t, l.Close())
	_, got := l.Get("a")
	_, count := l.Count()
	_, latest := l.Latest()
	_, changed := l.Changes(0)
	_, must := l.MustRotate()
	_, current := l.Current("a")
	e := entry("a", 2)
	for what, err := range map[string]error{
		"get": got, "count": count, "latest": latest, "changes": changed, "must rotate": must, "current": current,
		"put": l.Put(&e), "each": l.Each("", func(*ledger.Entry) bool { return true }),
	} {
		require.Error(t, err, what)
		require.NotErrorIs(t, err, ledger.ErrNoEntry, what)
		require.NotErrorIs(t, err, ledger.ErrAbsent, what)
	}
}

func TestAgeFrom(t *testing.T) {
	e := entry("a", 2)
	require.Equal(t, start.Add(2*time.Hour), e.AgeFrom(), "of the current version")
	e.Current = 9
	require.Equal(t, start, e.AgeFrom(), "of the secret, where the version is not known")
}

func TestOrder(t *testing.T) {
	for what, tt := range map[string]struct {
		versions                []uint64
		wanted                  uint64
		current, previous, next uint64
	}{
		"one":              {[]uint64{1}, 1, 1, 0, 2},
		"the newest":       {[]uint64{4, 5}, 5, 5, 4, 6},
		"rolled back":      {[]uint64{4, 5}, 4, 4, 5, 6},
		"wanted is gone":   {[]uint64{4, 5}, 3, 5, 4, 6},
		"nothing wanted":   {[]uint64{7, 2, 5}, 0, 7, 5, 8},
		"one in the midst": {[]uint64{2, 5, 7}, 5, 5, 7, 8},
	} {
		e := ledger.Entry{Previous: 9, Pending: 9, Versions: map[uint64]ledger.Version{}}
		for _, n := range tt.versions {
			e.Versions[n] = ledger.Version{}
		}
		e.Order(tt.wanted)
		require.Equal(t, [4]uint64{tt.current, tt.previous, 0, tt.next}, [4]uint64{e.Current, e.Previous, e.Pending, e.Next}, what)
	}
}
