package redis

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// TestAdminGoesWhereTheConfigSays: a value may be somebody else's, such as one of
// an imported file: it does not choose who gets the admin's password.
func TestAdminGoesWhereTheConfigSays(t *testing.T) {
	c := &providers.Call{Own: func(context.Context, secret.Name) (secret.Value, error) {
		return secret.New([]byte("a password alone"))
	}}
	r := &rotator{admin: "own/redis-admin", adminUser: "admin"}
	_, err := r.manage(t.Context(), c, place{host: "192.0.2.1", port: "6379", user: "app"}, &providers.Credential{})
	require.Equal(t, providers.CodeOptions, providers.CodeOf(err))
	require.Equal(t, providers.DefinitelyNot, providers.OutcomeOf(err))
	require.ErrorContains(t, err, "only the config may say where that is sent")
}
