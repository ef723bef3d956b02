// Package builtin is the table of the providers in this build.
package builtin

import (
	"cmp"
	"slices"

	"secretctl/providers"
	"secretctl/providers/generate"
	"secretctl/providers/keychain"
	"secretctl/providers/onepassword"
	"secretctl/providers/openbao"
	"secretctl/providers/passage"
	"secretctl/providers/postgres"
	"secretctl/providers/redis"
	"secretctl/providers/services"
	"secretctl/providers/ssh"
)

// Kinds returns the providers in this build, sorted by name. Two of one name
// are a programming error and panic.
func Kinds() []providers.Kind {
	all := []providers.Kind{
		redis.Kind(),
		postgres.Kind(),
		generate.Kind(),
		services.Anthropic(),
		services.Gitea(),
		services.GitHub(),
		services.OpenAI(),
		ssh.Kind(),
	}
	slices.SortFunc(all, func(a, b providers.Kind) int { return cmp.Compare(a.Name, b.Name) })
	for i := range all[1:] {
		if all[i].Name == all[i+1].Name {
			panic("two providers are called " + all[i].Name)
		}
	}
	return all
}

// Stores returns the kinds of stores in this build besides the embedded one,
// sorted by name.
func Stores() []providers.StoreKind {
	return []providers.StoreKind{
		keychain.Kind(),
		onepassword.Kind(),
		openbao.Kind(),
		passage.Kind(),
	}
}

// FindStore returns the kind of store of that name.
func FindStore(name string) (providers.StoreKind, bool) {
	for _, k := range Stores() {
		if k.Name == name {
			return k, true
		}
	}
	return providers.StoreKind{}, false
}

// Find returns the provider of that name.
func Find(name string) (providers.Kind, bool) {
	for _, k := range Kinds() {
		if k.Name == name {
			return k, true
		}
	}
	return providers.Kind{}, false
}
