package source

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"secretctl/providers/onepassword/wire"
)

// connect is a Connect server, as https://developer.1password.com/docs/connect/api-reference
// documents it (version 1.8.1 of the API).
type connect struct {
	base, token string
	client      *http.Client
}

// newConnect asks the Connect server at base, by the transport that knows how long a
// request may take and counts it.
func newConnect(base, token string, t *Transport) *connect {
	return &connect{strings.TrimSuffix(base, "/"), token, &http.Client{
		Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// errGone is the error of what is not there.
var errGone = &wire.Error{Kind: wire.Absent}

// call sends a request and reads the answer into out, unless that is nil.
func (c *connect) call(ctx context.Context, method string, body []byte, out any, path ...string) error {
	r, err := http.NewRequestWithContext(ctx, method, c.base+"/v1/"+strings.Join(path, "/"), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body) // which the transport has bounded
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusNotFound:
		return errGone
	case resp.StatusCode == http.StatusForbidden:
		return &wire.Error{Kind: wire.Refused, Problem: "the Connect server does not let this token do this", Remedy: "op connect token create --vault shows how one is given a vault, to read and write"}
	case resp.StatusCode == http.StatusRequestEntityTooLarge:
		return &wire.Error{Kind: wire.Refused, Problem: "the Connect server takes no item that is so large", Remedy: "keep it in the age store: secretctl mv NAME --store age"}
	case resp.StatusCode == http.StatusBadRequest:
		return &wire.Error{Kind: wire.Refused, Problem: "the Connect server does not take the request", Remedy: "its log says why"}
	case resp.StatusCode < 200 || resp.StatusCode > 299: // the transport knows
		return fmt.Errorf("status %d", resp.StatusCode)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return notUnderstood("an answer")
	}
	return nil
}

func (c *connect) vaults(ctx context.Context) (out []overview, err error) {
	err = c.call(ctx, http.MethodGet, nil, &out, "vaults")
	if err == errGone { // there always are some, or none
		err = &wire.Error{Kind: wire.Unavailable, Problem: "there is no Connect server at that address", Remedy: "url is its address without /v1"}
	}
	return out, err
}

func (c *connect) items(ctx context.Context, vault string) (out []overview, err error) {
	err = c.call(ctx, http.MethodGet, nil, &out, "vaults", vault, "items")
	if err == errGone {
		err = &wire.Error{Kind: wire.Unavailable, Problem: "the vault is gone from the Connect server", Remedy: "try again: it is looked for anew"}
	}
	return out, err
}

func (c *connect) get(ctx context.Context, vault string, ids []string) (out []json.RawMessage, err error) {
	for _, id := range ids {
		var item json.RawMessage
		switch err := c.call(ctx, http.MethodGet, nil, &item, "vaults", vault, "items", id); err {
		case nil:
			out = append(out, item)
		case errGone:
		default:
			return nil, err
		}
	}
	return out, nil
}

func (c *connect) create(ctx context.Context, vault string, item []byte) (out json.RawMessage, err error) {
	err = c.call(ctx, http.MethodPost, item, &out, "vaults", vault, "items")
	return out, notGone(err)
}

func (c *connect) put(ctx context.Context, vault, id string, item []byte) error {
	return notGone(c.call(ctx, http.MethodPut, item, nil, "vaults", vault, "items", id))
}

func (c *connect) remove(ctx context.Context, vault, id string) error {
	if err := c.call(ctx, http.MethodDelete, nil, nil, "vaults", vault, "items", id); err != errGone {
		return err
	}
	return nil
}

// notGone is an error of a change, for which there must be something to change.
func notGone(err error) error {
	if err == errGone {
		return &wire.Error{Kind: wire.Unavailable, Problem: "what was to be changed is gone from 1Password", Remedy: "try again"}
	}
	return err
}
