package storetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// record tries the records of a store that hosts share; of others there are none.
func record(t *tester) {
	s, ok := t.store.(providers.Shared)
	if !ok {
		return
	}
	name := secret.Name("shared/token")
	_, err := s.Record(t.ctx, name)
	require.ErrorIs(t, err, providers.ErrAbsent)
	_, err = s.Change(t.ctx, name, 1, []byte(`{}`))
	require.ErrorIs(t, err, providers.ErrChanged, "what is not there has no revision")
	first, err := s.Change(t.ctx, name, 0, []byte(`{"a":1}`))
	require.NoError(t, err)
	_, err = s.Change(t.ctx, name, 0, []byte(`{"a":2}`))
	require.ErrorIs(t, err, providers.ErrChanged, "it is there")
	long := []byte(`{"a":"` + strings.Repeat("x", providers.MaxRecord-8) + `"}`)
	second, err := s.Change(t.ctx, name, first, long)
	require.NoError(t, err)
	_, err = s.Change(t.ctx, name, first, []byte(`{"a":3}`))
	require.ErrorIs(t, err, providers.ErrChanged)
	now, err := s.Record(t.ctx, name)
	require.NoError(t, err)
	require.Equal(t, second, now.Revision)
	require.JSONEq(t, string(long), string(now.Text))

	require.Empty(t, t.listed(), "a record is no version")
	t.put(key{name, 1}, t.mint("value"))
	require.NoError(t, s.Delete(t.ctx, name, 1))
	again, err := s.Record(t.ctx, name)
	require.NoError(t, err)
	require.Equal(t, now.Revision, again.Revision, "and stays when the versions go")
	require.True(t, bytes.Equal(now.Text, again.Text))

	recordContended(t, s)
	if t.Break == nil {
		return
	}
	mend := t.Break()
	_, err = s.Record(t.ctx, name)
	t.requireTrouble("record", err)
	_, err = s.Change(t.ctx, name, second, []byte(`{}`))
	t.requireTrouble("change", err)
	mend()
}

// recordContended has many add one at the same time: none is lost.
func recordContended(t *tester, s providers.Shared) {
	const writers, each = 8, 8
	name := secret.Name("shared/counter")
	add := func() error {
		for {
			now, err := s.Record(t.ctx, name)
			if err != nil && !errors.Is(err, providers.ErrAbsent) {
				return err
			}
			var n struct{ N int }
			if err == nil {
				if err := json.Unmarshal(now.Text, &n); err != nil {
					return err
				}
			}
			_, err = s.Change(t.ctx, name, now.Revision, fmt.Appendf(nil, `{"N":%d}`, n.N+1))
			if !errors.Is(err, providers.ErrChanged) {
				return err
			}
		}
	}
	errs := make([]error, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for range each {
				errs[i] = errors.Join(errs[i], add())
			}
		})
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
	now, err := s.Record(t.ctx, name)
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{"N":%d}`, writers*each), string(now.Text))
}
