package generate_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/generate"
	"secretctl/providers/rotatortest"
)

func open(t testing.TB, set map[string]any) (providers.Rotator, error) {
	kind := generate.Kind()
	o, err := kind.NewOptions(set)
	require.NoError(t, err)
	return kind.Open(o)
}

func TestContract(t *testing.T) {
	rotatortest.Run(t, func(t *testing.T) *rotatortest.Service {
		r, err := open(t, nil)
		require.NoError(t, err)
		return &rotatortest.Service{
			Kind: generate.Kind(), Rotator: r,
			Call: func(t *testing.T) *providers.Call {
				v, err := secret.New([]byte("old value"))
				require.NoError(t, err)
				return &providers.Call{Secret: "a/b", Tag: "secretctl/a/b/1", Old: &providers.Credential{Value: v}}
			},
			Leaks: func(*testing.T, string) {},
		}
	})
}

func TestValues(t *testing.T) {
	for alphabet, letters := range map[string]string{"digits": "0123456789", "hex": "0123456789abcdef"} {
		r, err := open(t, map[string]any{"alphabet": alphabet, "length": int64(4096)})
		require.NoError(t, err)
		c, err := r.(providers.Chooser).Choose(t.Context(), &providers.Call{})
		require.NoError(t, err)
		require.NoError(t, c.Value.Use(func(b []byte) error {
			require.Len(t, b, 4096)
			for _, l := range letters {
				// 4096 draws of 16: each about 256 times, and never 6 sigma off.
				n, mean := strings.Count(string(b), string(l)), 4096/len(letters)
				require.InDelta(t, mean, n, 6*float64(mean)/10, "%s: %q", alphabet, l)
			}
			require.Empty(t, strings.Trim(string(b), letters))
			return nil
		}))
	}
}

func TestOptions(t *testing.T) {
	for _, set := range []map[string]any{{"length": int64(7)}, {"length": int64(4097)}, {"alphabet": "words"}} {
		_, err := open(t, set)
		var wrong *providers.OptionError
		require.ErrorAs(t, err, &wrong)
		require.Contains(t, set, wrong.Option)
		require.NotEmpty(t, wrong.Remedy)
	}
}
