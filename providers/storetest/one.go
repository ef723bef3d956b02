package storetest

import (
	"errors"
	"strings"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// values: what comes back is what was put there, whatever it is.
func values(t *tester) {
	var everyByte []byte
	for c := range 256 {
		everyByte = append(everyByte, byte(c))
	}
	for version, b := range [][]byte{
		1: nil,
		2: {0},
		3: []byte("\n"),
		4: t.mint("text"),
		5: everyByte,
		6: []byte("żółw 🐢\r\n"),
		7: []byte("AGE-SECRET-KEY-1 -----BEGIN PRIVATE KEY-----"),
		8: random(64<<10 - 1), 9: random(64 << 10), 10: random(64<<10 + 1),
		11: random(128 << 10), 12: make([]byte, 200_000), 13: random(1<<20 - 1), 14: random(1 << 20),
	} {
		if version == 0 {
			continue
		}
		k := key{"some/name", uint64(version)}
		t.requireHas(k, b, t.put(k, b))
	}
}

// absent: of what is not there every method says so, and nothing else.
func absent(t *tester) {
	require.Empty(t, t.listed())
	for _, k := range []key{{"a", 1}, {"a/b", 1}, {"some.long/name-of/a-secret", 7}} {
		t.requireAbsent(k)
		require.NoError(t, t.store.Delete(t.ctx, k.name, k.version), k)
	}
	t.put(key{"a/b", 2}, t.mint("x"))
	for _, k := range []key{{"a/b", 1}, {"a/b", 3}, {"a/b", 20}, {"a", 2}, {"a/b/c", 2}, {"a/bc", 2}, {"b", 2}} {
		t.requireAbsent(k)
	}
}

// exists: nothing is overwritten.
func exists(t *tester) {
	k := key{"a", 1}
	sum := t.put(k, t.mint("first"))
	for _, b := range [][]byte{t.mint("second"), t.mint("first"), nil} {
		_, err := t.try(t.ctx, k, b)
		require.ErrorIs(t, err, providers.ErrExists)
		t.requireHas(k, t.mint("first"), sum)
	}
	require.Len(t, t.listed(), 1)
}

// changed: what is not the version that was put there is not given out.
func changed(t *tester) {
	one, two := key{"a", 1}, key{"a", 2}
	sum := t.put(one, t.mint("same"))
	other := t.put(two, t.mint("same"))
	require.NotEqual(t, sum, other, "a sum is of resting bytes, which tell nothing of equal values")
	near := sum
	near[31] ^= 1
	for _, want := range []providers.Sum{other, near, {1}} {
		v, err := t.store.Get(t.ctx, one.name, one.version, want)
		require.ErrorIs(t, err, providers.ErrChanged)
		require.True(t, v.IsZero())
	}
	t.requireHas(one, t.mint("same"), sum)
}

// deleted: a version that was deleted is absent, others are not, and it may be
// put again.
func deleted(t *tester) {
	one, two := key{"a/b", 1}, key{"a/b", 2}
	t.put(one, t.mint(1))
	sum := t.put(two, t.mint(2))
	for range 2 {
		require.NoError(t, t.store.Delete(t.ctx, one.name, one.version))
		t.requireAbsent(one)
		t.requireHas(two, t.mint(2), sum)
	}
	again := t.put(one, t.mint(3))
	t.requireHas(one, t.mint(3), again)
	require.NoError(t, t.store.Delete(t.ctx, one.name, one.version))
	require.NoError(t, t.store.Delete(t.ctx, two.name, two.version))
	require.Empty(t, t.listed())
	again = t.put(two, t.mint(4))
	t.requireHas(two, t.mint(4), again)
}

// cleared: a store leaves the value it is given alone, and keeps nothing of one
// that was cleared.
func cleared(t *tester) {
	v, err := secret.New(t.mint("given"))
	require.NoError(t, err)
	_, err = t.store.Put(t.ctx, "a", 1, v)
	require.NoError(t, err)
	t.requireHolds(v, t.mint("given"))

	v.Clear()
	_, err = t.store.Put(t.ctx, "a", 2, v)
	require.Error(t, err)
	require.False(t, errors.Is(err, providers.ErrExists) || errors.Is(err, providers.ErrAbsent), err)
	t.requireAbsent(key{"a", 2})
	_, err = t.store.Put(t.ctx, "a", 3, secret.Value{})
	require.Error(t, err)
	t.requireAbsent(key{"a", 3})
}

// alike: names that begin alike, or are as long as they may be, are different
// secrets.
func alike(t *tester) {
	longest := secret.Name(strings.Repeat("a/", 63) + "ab")
	names := []secret.Name{
		"a", "a/a", "a/b", "a/b/c", "a.b", "a-b", "a-", "ab", "b", "a.age", "a.tmp", "a/b.age", "1", "a/1", "1.age", "own/a",
		longest, longest[:127], secret.Name(strings.Repeat("x", secret.MaxName)),
	}
	sums := make(map[secret.Name]providers.Sum)
	for _, n := range names {
		sums[n] = t.put(key{n, 1}, t.mint(n))
	}
	require.Len(t, t.listed(), len(names))
	for i, gone := range names {
		require.NoError(t, t.store.Delete(t.ctx, gone, 1))
		t.requireAbsent(key{gone, 1})
		for _, n := range names[i+1:] {
			t.requireHas(key{n, 1}, t.mint(n), sums[n])
		}
	}
	require.Empty(t, t.listed())
}
