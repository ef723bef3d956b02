// Package generate is the provider of values that no service knows of: signing
// keys, shared passwords, whatever its consumers only compare.
//
// It guards against guessable values: every character is drawn from the
// system's randomness without bias, straight into locked memory.
package generate

import (
	"context"
	"crypto/rand"
	"fmt"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// The alphabets a value can be made of.
var alphabets = map[string]string{
	"alnum":  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
	"hex":    "0123456789abcdef",
	"digits": "0123456789",
	"base64": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
}

// Limits of the length, in characters: below the least a value can be guessed
// online even from the largest alphabet, and what a person wants above the most
// is not a password.
const (
	minLength     = 8
	maxLength     = 4096
	defaultLength = 40
)

// Kind describes the provider.
func Kind() providers.Kind {
	return providers.Kind{
		Name:    "generate",
		Summary: "a random value that no service has to be told",
		Shape:   providers.ShapeSet,
		Options: []providers.Option{
			{Name: "length", Type: providers.Number, Default: int64(defaultLength), Help: "characters", Example: "40"},
			{Name: "alphabet", Type: providers.Text, Default: "alnum", Help: "alnum, base64 (URL-safe), hex or digits", Example: `"hex"`},
		},
		Schedule: "0 4 1 * *",
		Overlap:  true,
		Proofs:   1,
		Blind:    true,
		Alone:    true,
		Open:     open,
	}
}

func open(o providers.Options) (providers.Rotator, error) {
	alphabet, ok := alphabets[o.Text("alphabet")]
	if !ok {
		return nil, &providers.OptionError{Option: "alphabet", Problem: fmt.Sprintf("there is no alphabet %q", o.Text("alphabet")), Remedy: "alnum, base64, hex or digits"}
	}
	n := o.Number("length")
	if n < minLength || n > maxLength {
		return nil, &providers.OptionError{Option: "length", Problem: fmt.Sprintf("a length of %d cannot be", n), Remedy: fmt.Sprintf("from %d to %d", minLength, maxLength)}
	}
	return &generator{alphabet, int(n)}, nil
}

// generator is the provider with its options.
type generator struct {
	alphabet string
	length   int
}

// Check has nothing to look at.
func (*generator) Check(context.Context, *providers.Call) (providers.Identity, error) {
	return providers.Identity{}, nil
}

// Choose makes the value.
func (g *generator) Choose(context.Context, *providers.Call) (*providers.Credential, error) {
	v, err := Value(g.alphabet, g.length)
	if err != nil {
		return nil, err
	}
	return &providers.Credential{Value: v}, nil
}

// Value makes a random value of n characters of an alphabet of at most 256.
func Value(alphabet string, n int) (secret.Value, error) {
	return secret.Fill(n, func(b []byte) error {
		// Bytes past the last whole multiple are drawn again: a remainder of all 256
		// would favour the alphabet's beginning.
		limit := 256 - 256%len(alphabet)
		var random [256]byte
		defer clear(random[:])
		for i := 0; i < len(b); {
			if _, err := rand.Read(random[:]); err != nil {
				return err
			}
			for _, r := range random {
				if i < len(b) && int(r) < limit {
					b[i] = alphabet[int(r)%len(alphabet)]
					i++
				}
			}
		}
		return nil
	})
}

// Issue has nobody to tell.
func (*generator) Issue(_ context.Context, _ *providers.Call, next *providers.Credential) (*providers.Credential, error) {
	return next, nil
}

// Find has nowhere to look.
func (*generator) Find(context.Context, *providers.Call) ([]providers.Credential, error) {
	return nil, nil
}

// Verify has nobody to ask: whatever was made is good.
func (*generator) Verify(context.Context, *providers.Call, *providers.Credential) (providers.Identity, error) {
	return providers.Identity{}, nil
}

// Disable has nothing to stop.
func (*generator) Disable(context.Context, *providers.Call, *providers.Credential) error {
	return providers.Not(providers.CodeUnsupported, "a generated value cannot be stopped")
}

// Revoke has nothing to end.
func (*generator) Revoke(context.Context, *providers.Call, *providers.Credential) error { return nil }
