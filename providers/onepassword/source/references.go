package source

import (
	"context"
	"errors"
	"fmt"
	"slices"

	onepassword "github.com/1password/onepassword-sdk-go"

	"secretctl/providers/onepassword/wire"
)

// resolve returns what lies at references, and what is wrong with each of the others.
func (v *vault) resolve(ctx context.Context, refs []string) (texts map[string]string, errs map[string]*wire.Error, failed *wire.Error) {
	refs = slices.Compact(slices.Sorted(slices.Values(refs)))
	got, err := v.client.Secrets().ResolveAll(ctx, refs)
	if err != nil {
		return nil, nil, v.failed(err, "reading a reference")
	}
	texts, errs = make(map[string]string), make(map[string]*wire.Error)
	for _, ref := range refs {
		switch r := got.IndividualResponses[ref]; {
		case r.Content != nil:
			texts[ref] = r.Content.Secret
		case r.Error != nil:
			errs[ref] = v.unresolved(ref, r.Error.Type)
		default:
			errs[ref] = v.failed(errors.New("a reference that is not answered"), "reading a reference")
		}
	}
	return texts, errs, nil
}

// unresolved is the error of a reference at which nothing lies, or more than one
// thing.
func (v *vault) unresolved(ref string, why onepassword.ResolveReferenceErrorTypes) *wire.Error {
	two := func(what string) *wire.Error {
		return &wire.Error{Kind: wire.Refused, Problem: fmt.Sprintf("there is more than one %s that %s could mean", what, ref), Remedy: "name it by its ID"}
	}
	switch why {
	case onepassword.ResolveReferenceErrorTypeVariantVaultNotFound, onepassword.ResolveReferenceErrorTypeVariantItemNotFound,
		onepassword.ResolveReferenceErrorTypeVariantFieldNotFound, onepassword.ResolveReferenceErrorTypeVariantNoMatchingSections:
		return &wire.Error{Kind: wire.Absent}
	case onepassword.ResolveReferenceErrorTypeVariantTooManyVaults:
		return two("vault")
	case onepassword.ResolveReferenceErrorTypeVariantTooManyItems:
		return two("item")
	case onepassword.ResolveReferenceErrorTypeVariantTooManyMatchingFields:
		return two("field")
	case onepassword.ResolveReferenceErrorTypeVariantParsing:
		return &wire.Error{Kind: wire.Refused, Problem: fmt.Sprintf("1Password does not take %s for a reference", ref), Remedy: "copy it there: Copy Secret Reference"}
	case onepassword.ResolveReferenceErrorTypeVariantUnsupportedFileFormat:
		return &wire.Error{Kind: wire.Refused, Problem: fmt.Sprintf("what lies at %s is a file that is not text", ref), Remedy: "keep it in a field"}
	}
	return v.failed(errors.New("a reference that cannot be resolved"), "reading a reference")
}
