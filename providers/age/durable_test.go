package age_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
	"secretctl/providers/age"
)

// What Put and Delete have answered is so after a loss of power at any moment
// after it.
func TestAnswersAreDurable(t *testing.T) {
	disk := durable.NewMem()
	_, err := age.Init(disk, start, age.Wanted{})
	require.NoError(t, err)
	v, err := secret.New([]byte(canary.New(t, "horse")))
	require.NoError(t, err)
	defer v.Clear()
	s := age.New(disk, "vault")
	sums := make(map[uint64]providers.Sum)
	for version := uint64(1); version <= 3; version++ {
		sums[version], err = s.Put(t.Context(), "a/b", version, v)
		require.NoError(t, err)
		requireOnEveryImage(t, disk, sums)
	}
	for version := range uint64(3) {
		require.NoError(t, s.Delete(t.Context(), "a/b", version+1))
		delete(sums, version+1)
		requireOnEveryImage(t, disk, sums)
	}
	sums[7], err = s.Put(t.Context(), "a/b", 7, v)
	require.NoError(t, err)
	requireOnEveryImage(t, disk, sums)
}

// requireOnEveryImage checks that just these versions of a/b can be left, and
// that the store opens them.
func requireOnEveryImage(t *testing.T, disk *durable.Mem, want map[uint64]providers.Sum) {
	t.Helper()
	images := 0
	for image := range disk.Images(100, rand.New(rand.NewPCG(1, 2))) {
		images++
		s := age.New(image, "vault")
		got := make(map[uint64]providers.Sum)
		require.NoError(t, s.List(t.Context(), func(_ secret.Name, version uint64, sum providers.Sum) error {
			got[version] = sum
			return nil
		}))
		require.Equal(t, want, got, "image %d", images)
		for version, sum := range got {
			v, err := s.Get(t.Context(), "a/b", version, sum)
			require.NoError(t, err)
			v.Clear()
		}
	}
	require.Positive(t, images)
}
