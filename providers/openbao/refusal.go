package openbao

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// gone is the error of an entry whose newest version was deleted or destroyed by
// somebody else: our own deleting leaves nothing.
type gone struct {
	version   uint64 // as the engine counts
	destroyed bool   // and cannot be brought back
}

func (g *gone) Error() string { return "its newest version was deleted" }

// errForbidden is in the error of a request that the server knows and refuses.
var errForbidden = errors.New("forbidden")

// said is what is understood of an answer that is no success. None of it is
// shown.
type said struct {
	Errors *[]string `json:"errors"`
	Sealed bool      `json:"sealed"`
	Data   *struct {
		Metadata *struct {
			Version   uint64 `json:"version"`
			Deletion  string `json:"deletion_time"`
			Destroyed bool   `json:"destroyed"`
		} `json:"metadata"`
	} `json:"data"`
}

// refusal says what a status means that is not one of success.
func (c *client) refusal(ctx context.Context, resp *http.Response) error {
	status := resp.StatusCode
	s := understand(resp.Body)
	e := c.trouble("%s answers %d", c.name(), status)
	switch {
	case ctx.Err() != nil:
		return c.broken(ctx, ctx.Err())
	case status == http.StatusNotFound && s.Data != nil && s.Data.Metadata != nil && (s.Data.Metadata.Destroyed || s.Data.Metadata.Deletion != ""):
		return &gone{s.Data.Metadata.Version, s.Data.Metadata.Destroyed}
	case status == http.StatusNotFound && s.Errors != nil && len(*s.Errors) == 0:
		return providers.ErrAbsent
	case status == http.StatusNotFound:
		// Whatever it is, it is not the engine saying that it has no such key.
		e.Problem = fmt.Sprintf("%s has no KV v2 engine where %s says", c.name(), mountOption)
		e.Remedy = c.bao("secrets list")
	case status == http.StatusForbidden:
		e.Kind, e.Problem, e.Remedy, e.Err = providers.ErrRefused, c.name()+" does not let us do this", c.bao("token lookup"), errForbidden
	case status == http.StatusTooManyRequests:
		e.Kind, e.Problem, e.Remedy = providers.ErrRateLimited, c.name()+" was asked too often", c.bao("list", "sys/quotas/rate-limit")
		e.RetryAfter = providers.RetryAfter(resp.Header)
	case status == http.StatusServiceUnavailable && s.sealed():
		e.Problem, e.Remedy = c.name()+" is sealed", c.bao("operator unseal")
	case status == http.StatusNotImplemented:
		e.Problem, e.Remedy = c.name()+" is not initialized", c.bao("operator init")
	case status == http.StatusRequestEntityTooLarge:
		e.Problem, e.Remedy = c.name()+" does not take a request of this size", "raise max_request_size of its listener, and max_entry_size of its storage"
	case status >= 300 && status < 400:
		e.Problem = c.name() + " is a standby that passes nothing on, or redirects for another reason, which is not followed"
		e.Remedy = "set " + addressOption + " to that of the active node: " + c.bao("status")
	case status == http.StatusServiceUnavailable:
		e.RetryAfter = providers.RetryAfter(resp.Header)
	}
	return e
}

// understand reads an answer that is no success. One that makes no sense says
// nothing. A proxy may repeat what was sent, so it is read as values are.
func understand(body io.Reader) (s said) {
	all, err := secret.Read(body, maxAnswer)
	if err != nil {
		return said{}
	}
	defer all.Clear()
	if all.Use(func(b []byte) error { return json.Unmarshal(b, &s) }) != nil {
		return said{}
	}
	return s
}

func (s *said) sealed() bool {
	return s.Sealed || s.Errors != nil && len(*s.Errors) > 0 && strings.HasSuffix((*s.Errors)[0], " is sealed")
}
