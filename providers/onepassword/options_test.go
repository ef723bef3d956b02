package onepassword_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/onepassword"
)

func TestOptions(t *testing.T) {
	kind := onepassword.Kind()
	for _, c := range []struct {
		set          map[string]any
		option, says string
	}{
		{map[string]any{}, "", ""},
		{map[string]any{"via": "sdk"}, "", ""},
		{map[string]any{"via": "connect", "url": "https://connect.internal:8443"}, "", ""},
		{map[string]any{"via": "connect", "url": "http://localhost:8080/"}, "", ""},
		{map[string]any{"via": "connect", "url": "http://[::1]:8080"}, "", ""},
		{map[string]any{"via": "op", "program": "/usr/local/bin/op"}, "", ""},
		{map[string]any{"via": "app"}, "via", `there is no way "app"`},
		{map[string]any{"via": "connect"}, "via", "does not say where"},
		{map[string]any{"via": "op"}, "via", "does not say which program"},
		{map[string]any{"url": "https://connect.internal"}, "url", `"url" is for via = "connect"`},
		{map[string]any{"via": "op", "program": "/usr/local/bin/op", "url": "https://x"}, "url", `"url" is for via = "connect"`},
		{map[string]any{"via": "connect", "url": "https://x", "program": "/x"}, "program", `"program" is for via = "op"`},
		{map[string]any{"via": "op", "program": "op"}, "program", "the whole path of a file"},
		{map[string]any{"via": "connect", "url": "http://connect.internal:8080"}, "url", "in the clear"},
		{map[string]any{"via": "connect", "url": "ftp://connect.internal"}, "url", "must begin with https"},
		{map[string]any{"via": "connect", "url": "https://u:p@connect.internal"}, "url", "an address alone"},
		{map[string]any{"via": "connect", "url": "https://connect.internal/v1"}, "url", "an address alone"},
		{map[string]any{"via": "connect", "url": "https://connect.internal?a=b"}, "url", "an address alone"},
		{map[string]any{"via": "connect", "url": "connect.internal:8443"}, "url", "not the address of a server"},
		{map[string]any{"via": "connect", "url": ":"}, "url", "not the address of a server"},
	} {
		c.set["vault"], c.set["token"] = "Agents", secret.Name("own/onepassword")
		o, err := kind.NewOptions(c.set)
		if err == nil {
			_, err = kind.Open(providers.StoreSetup{Name: "op", Options: o})
		}
		if c.option == "" {
			require.NoError(t, err, c.set)
			continue
		}
		var wrong *providers.OptionError
		require.ErrorAs(t, err, &wrong, c.set)
		require.Equal(t, c.option, wrong.Option, c.set)
		require.Contains(t, wrong.Problem, c.says, c.set)
		require.NotEmpty(t, wrong.Remedy, c.set)
	}
}
