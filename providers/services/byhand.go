package services

import (
	"context"
	"fmt"

	"secretctl/providers"
)

// byHand is what the providers have in common whose credentials a person makes.
type byHand struct {
	service string
	page    string // where
}

// Issue cannot be asked of the service.
func (b byHand) Issue(_ context.Context, c *providers.Call, _ *providers.Credential) (*providers.Credential, error) {
	return nil, b.unsupported(b.service+" lets only a person make a credential", fmt.Sprintf("make one at %s, then: secretctl rotate %s --stdin", b.page, c.Secret))
}

// Find has nothing to look for: nothing is made that could be lost.
func (b byHand) Find(context.Context, *providers.Call) ([]providers.Credential, error) {
	return nil, b.unsupported(b.service+" does not say what a credential was made for", "")
}

func (byHand) unsupported(problem, remedy string) error {
	return &providers.CallError{Outcome: providers.DefinitelyNot, Code: providers.CodeUnsupported, Problem: problem, Remedy: remedy}
}

// whose returns whose the old credential is. One that is refused, or about which
// the service will not talk, is nobody's: that keeps no new one from being made.
func whose(ctx context.Context, c *providers.Call, verify func(context.Context, *providers.Call, *providers.Credential) (providers.Identity, error)) (providers.Identity, error) {
	if c.Old == nil {
		return providers.Identity{}, nil
	}
	id, err := verify(ctx, c, c.Old)
	switch providers.CodeOf(err) {
	case "":
		return id, nil
	case providers.CodeInvalid, providers.CodeDenied:
		return providers.Identity{}, nil
	}
	return providers.Identity{}, err
}

// gone takes the error away that only says that there is nothing left to end.
func gone(err error) error {
	if providers.CodeOf(err) == providers.CodeNotFound {
		return nil
	}
	return err
}

// unnamed is the error of ending a credential of which it is not known what the
// service calls it.
func unnamed(service, remedy string) error {
	return &providers.CallError{
		Outcome: providers.DefinitelyNot, Code: providers.CodeUnsupported,
		Problem: "it is not known what " + service + " calls the credential", Remedy: remedy,
	}
}
