package source

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	onepassword "github.com/1password/onepassword-sdk-go"

	"secretctl/providers/onepassword/wire"
)

// isSick reports whether an error is of a core with which nothing more can be done.
func isSick(err error) bool {
	return says(err, "out of bounds memory access", "wasm error", "recovered by wazero", "module closed", "unreachable")
}

// says reports whether an error has one of these in its text. The library has a
// type for one kind of error and text for all others.
func says(err error, parts ...string) bool {
	text := strings.ToLower(err.Error())
	for _, p := range parts {
		if strings.Contains(text, p) {
			return true
		}
	}
	return false
}

// signInFailed says what an error means that came of signing in.
func (t *Transport) signInFailed(err error) *wire.Error {
	switch e := t.failed(err, "signing in"); {
	case e.Kind == wire.Refused && !e.Auth:
		return &wire.Error{Kind: wire.Refused, Auth: true, Problem: "1Password does not let the service account sign in from here"}
	case e.Kind != wire.Unavailable:
		return e
	case t.last == outcome{} && says(err, "not allowed"): // by the list of hosts
		return &wire.Error{Kind: wire.Refused, Auth: true, Problem: "the token for 1Password names a server that is not one of theirs"}
	case t.last == outcome{} && says(err, "service account token", "service account deserialization"): // it was not even sent
		return &wire.Error{Kind: wire.Refused, Auth: true, Problem: "the token for 1Password is not that of a service account, or not a whole one"}
	default:
		return e
	}
}

// failed says what an error means that came of a call.
func (t *Transport) failed(err error, doing string) *wire.Error {
	var limited *onepassword.RateLimitExceededError
	var told *wire.Error
	status := t.last.status
	switch {
	case errors.As(err, &told):
		return told
	case errors.As(err, &limited), status == http.StatusTooManyRequests, says(err, "rate limit"):
		return &wire.Error{
			Kind: wire.RateLimited, Wait: t.last.wait, Problem: "1Password was asked more often than the account may",
			Remedy: "op service-account ratelimit shows which limit it is; an hour's limit is over with the hour, a day's with the day",
		}
	case t.last.cause != "":
		return &wire.Error{Kind: wire.Unavailable, Problem: fmt.Sprintf("%s at 1Password: %s", doing, t.last.cause), Remedy: "is this machine online?"}
	case status == http.StatusUnauthorized, says(err, "not authenticated", "unauthorized", "bad service account token", "token has expired"):
		return &wire.Error{Kind: wire.Refused, Auth: true, Problem: "1Password does not take the token: it has expired, was revoked, or is another account's"}
	case status == http.StatusForbidden, says(err, "permission", "forbidden"):
		return &wire.Error{
			Kind: wire.Refused, Problem: "1Password does not let the service account do this",
			Remedy: "a service account must be made with read_items and write_items in the vault: what it may cannot be changed later",
		}
	case status >= 500:
		return &wire.Error{Kind: wire.Unavailable, Problem: fmt.Sprintf("%s at 1Password: it has trouble of its own (%d)", doing, status), Remedy: "https://status.1password.com"}
	case isSick(err):
		return &wire.Error{Kind: wire.Unavailable, Problem: "1Password's library broke down", Remedy: "try again: it is started anew"}
	}
	return &wire.Error{Kind: wire.Unavailable, Problem: doing + " at 1Password failed for a reason that is not told apart"}
}
