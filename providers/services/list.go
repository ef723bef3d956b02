package services

import (
	"bytes"
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Limits of a list: how many entries are asked for at a time, and how many pages
// are read before the service is taken to repeat itself.
const (
	perPage  = 100
	maxPages = 1000

	maxScopes = 100 // of one credential; a sanity check
)

// page is a part of a list, in the form that OpenAI and Anthropic share.
type page[T any] struct {
	Data    []T    `json:"data"`
	HasMore *bool  `json:"has_more"`
	LastID  string `json:"last_id"` // null of an empty page
}

func (p *page[T]) usable() bool {
	return p.Data != nil && p.HasMore != nil && (!*p.HasMore || p.LastID != "")
}

// list reads all of a list, whose next page is asked for by the id of the last
// entry, in the parameter cursor.
func list[T any](ctx context.Context, c *client, r request, cursor string) ([]T, error) {
	query := url.Values{"limit": {strconv.Itoa(perPage)}}
	for name, values := range r.query {
		query[name] = values
	}
	r.query = query
	var all []T
	for range maxPages {
		p := new(page[T])
		r.into = p
		if _, err := c.do(ctx, r); err != nil {
			return nil, err
		}
		all = append(all, p.Data...)
		if !*p.HasMore {
			return all, nil
		}
		query.Set(cursor, p.LastID)
	}
	return nil, providers.Maybe(providers.CodeUnavailable, "the list of %s does not end", c.service)
}

// leastTail is how many characters at a value's end a hint must show: with fewer
// it fits too many.
const leastTail = 3

// hinted reports whether a value can be the one that a service shows in part,
// its beginning and its end, with dots or stars between.
func hinted(v secret.Value, hint string) bool {
	head := hint[:len(hint)-len(strings.TrimLeftFunc(hint, shown))]
	tail := hint[len(strings.TrimRightFunc(hint, shown)):]
	if len(head) == len(hint) || len(tail) < leastTail {
		return false
	}
	fits := false
	_ = v.Use(func(b []byte) error {
		fits = len(b) > len(head)+len(tail) && bytes.HasPrefix(b, []byte(head)) && bytes.HasSuffix(b, []byte(tail))
		return nil
	})
	return fits
}

// shown reports whether a character of a hint is one of the value's.
func shown(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

// word reports whether a text that came from a service, or from the config, is of
// the kind that names are: it goes into paths, and before people.
func word(s string) bool {
	return s != "" && len(s) <= 200 && s != "." && s != ".." && strings.IndexFunc(s, func(r rune) bool { return !shown(r) && r != '.' }) < 0
}

// fit reports whether the scopes that a service names are fit for people: they
// are shown where one is too many.
func fit(scopes []string) bool {
	return len(scopes) <= maxScopes && !slices.ContainsFunc(scopes, func(s string) bool { return seen(s) == "" })
}

// seen returns a text by which a service says whose a credential is, "" of one
// that is not fit for people.
func seen(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 || len(s) > 200 {
		return ""
	}
	return s
}
