package broker_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A pattern without a * is the name of one secret, whatever begins like it.
func TestListOfOne(t *testing.T) {
	b := newHome(t, grants).broker()
	for _, name := range []string{"weather", "weather-old", "weather/key"} {
		mint(t, b, name, "x")
	}
	for pattern, want := range map[string]int{"weather": 1, "weather*": 3, "weather/*": 1, "": 3, "weath": 0} {
		list, err := b.List(pattern)
		require.NoError(t, err)
		require.Len(t, list, want, "%q", pattern)
	}
}
