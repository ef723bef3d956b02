package providers

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"secretctl/broker/secret"
)

// OptionType is what an option may be set to.
type OptionType string

// The types of options.
const (
	Text   OptionType = "text"
	List   OptionType = "list"     // of text
	Number OptionType = "number"   // whole
	Switch OptionType = "switch"   // true or false
	Span   OptionType = "duration" // "90s", "12h", "30d"
	File   OptionType = "file"     // the path of a file that is believed: see [Trusted]
	Own    OptionType = "own"      // the name of one of the broker's own secrets, own/…
)

// Option is something a provider can be told in the config.
type Option struct {
	Name     string
	Type     OptionType
	Required bool
	Default  any    // of Type; nil: its zero value
	Help     string // one line
	Example  string // as in the config, without the name: `"proj_x"`
}

// Options are what the config tells a provider, checked against its [Option]
// list: each is there, set or by default. An option that is not in that list is
// a programming error and panics.
type Options struct {
	values map[string]any
	set    map[string]bool
}

// OptionError is something wrong with an option.
type OptionError struct {
	Option  string // "" when it is not about one alone
	Problem string
	Remedy  string
}

func (e *OptionError) Error() string { return e.Problem }

// NewOptions checks what the config sets against the kind's list. The values
// are string, []string, int64, bool, [time.Duration] and [secret.Name].
func (k *Kind) NewOptions(set map[string]any) (Options, error) {
	return newOptions(fmt.Sprintf("provider %q", k.Name), "secretctl providers "+k.Name, k.Options, set)
}

// NewOptions is that of [Kind].
func (k *StoreKind) NewOptions(set map[string]any) (Options, error) {
	return newOptions(fmt.Sprintf("store type %q", k.Name), "", k.Options, set)
}

func newOptions(who, list string, all []Option, set map[string]any) (Options, error) {
	o := Options{make(map[string]any), make(map[string]bool)}
	for name := range set {
		if !slices.ContainsFunc(all, func(p Option) bool { return p.Name == name }) {
			return o, &OptionError{name, fmt.Sprintf("%s has no option %q", who, name), list}
		}
	}
	for _, p := range all {
		v, ok := set[p.Name]
		switch {
		case !ok && p.Required:
			return o, &OptionError{"", fmt.Sprintf("%s needs %s", who, p.Name), fmt.Sprintf("%s = %s", p.Name, p.Example)}
		case !ok && p.Default == nil:
			v = p.Type.zero()
		case !ok:
			v = p.Default
		case !p.Type.fits(v):
			return o, &OptionError{p.Name, fmt.Sprintf("%q must be %s", p.Name, p.Type.describe()), fmt.Sprintf("%s = %s", p.Name, p.Example)}
		}
		o.values[p.Name], o.set[p.Name] = v, ok
	}
	return o, nil
}

func (t OptionType) zero() any {
	switch t {
	case Text, File:
		return ""
	case List:
		return []string(nil)
	case Number:
		return int64(0)
	case Switch:
		return false
	case Span:
		return time.Duration(0)
	case Own:
		return secret.Name("")
	}
	panic("providers: there is no option type " + string(t))
}

func (t OptionType) fits(v any) (ok bool) {
	switch t {
	case Text:
		_, ok = v.(string)
	case File:
		path, text := v.(string)
		ok = text && filepath.IsAbs(path) && filepath.Clean(path) == path
	case List:
		_, ok = v.([]string)
	case Number:
		_, ok = v.(int64)
	case Switch:
		_, ok = v.(bool)
	case Span:
		_, ok = v.(time.Duration)
	case Own:
		_, ok = v.(secret.Name)
	}
	return ok
}

func (t OptionType) describe() string {
	return map[OptionType]string{
		Text: "text", List: "a list of text", Number: "a whole number", Switch: "true or false",
		File: "the whole path of a file, without ~, . or ..", Span: `a duration such as "12h"`, Own: "the name of one of the broker's own secrets, own/…",
	}[t]
}

// IsSet reports whether the config sets the option.
func (o Options) IsSet(name string) bool { return o.set[name] }

// Has reports whether there is such an option at all.
func (o Options) Has(name string) bool { _, ok := o.values[name]; return ok }

// Text returns an option of that type, or the path of a [File].
func (o Options) Text(name string) string { return o.values[name].(string) }

// List returns an option of that type.
func (o Options) List(name string) []string { return o.values[name].([]string) }

// Number returns an option of that type.
func (o Options) Number(name string) int64 { return o.values[name].(int64) }

// Switch returns an option of that type.
func (o Options) Switch(name string) bool { return o.values[name].(bool) }

// Span returns an option of that type.
func (o Options) Span(name string) time.Duration { return o.values[name].(time.Duration) }

// Own returns an option of that type, "" when it is not set.
func (o Options) Own(name string) secret.Name { return o.values[name].(secret.Name) }
