package shape

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRules: every rule has what a rule needs, and its pattern can be compiled.
func TestRules(t *testing.T) {
	all := Rules()
	require.GreaterOrEqual(t, len(all), 40)
	for i, r := range all {
		require.Regexp(t, `^[a-z0-9]+(-[a-z0-9]+)*$`, r.ID)
		require.NotEmpty(t, r.What, r.ID)
		require.NotEmpty(t, r.literals, r.ID)
		require.True(t, i == 0 || all[i-1].ID < r.ID, "%s is there twice", r.ID)
		require.True(t, (r.find == nil) == (r.pattern != ""), r.ID)
		if r.compiled != nil {
			require.NotNil(t, r.compiled(), r.ID)
		}
		for _, l := range r.literals {
			require.GreaterOrEqual(t, len(l), 3, "%s: %q is too short for the gate", r.ID, l)
		}
	}
}
