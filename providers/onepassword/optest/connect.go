package optest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"sync/atomic"
)

// ConnectToken is what a [Connect] takes as the token.
const ConnectToken = "eyJhbGciOiJFUzI1NiJ9.of-the-fake-connect-server.c2ln"

// Connect is a Connect server over an account, as strict as version 1.8.1 of its API
// is documented, on loopback until it is closed.
type Connect struct {
	*httptest.Server
	Account *Plain
	Status  atomic.Int32 // what every request is answered instead; 0: as it should
	Asked   atomic.Int32
	// Before, when not nil, is called before a request is answered, with how many there
	// were since Counted was 0.
	Before  func(r *http.Request, n int)
	Counted atomic.Int32
}

// NewConnect starts one.
func NewConnect() *Connect {
	c := &Connect{Account: new(Plain)}
	c.Server = httptest.NewServer(http.HandlerFunc(c.serve))
	return c
}

var (
	plainPath = regexp.MustCompile(`^/v1/vaults(?:/([^/]+)/items(?:/([^/]+))?)?$`)
	plainID   = regexp.MustCompile(`^[\da-z]{26}$`)
	plainEq   = regexp.MustCompile(`^(name|title|tag) eq "([^"]*)"$`)
)

func (c *Connect) serve(w http.ResponseWriter, r *http.Request) {
	c.Asked.Add(1)
	if n := int(c.Counted.Add(1)); c.Before != nil {
		c.Before(r, n)
	}
	fail := func(status int, message string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "message": message})
	}
	if status := int(c.Status.Load()); status != 0 {
		fail(status, "as the test wants it")
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+ConnectToken {
		fail(http.StatusUnauthorized, "Invalid token signature")
		return
	}
	at := plainPath.FindStringSubmatch(r.URL.Path)
	if at == nil {
		fail(http.StatusNotFound, "no such path")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
	if err != nil {
		fail(http.StatusRequestEntityTooLarge, "too large")
		return
	}
	if len(body) > 0 && r.Header.Get("Content-Type") != "application/json" {
		fail(http.StatusBadRequest, "the body is to be application/json")
		return
	}
	var out any
	status := http.StatusOK
	err = c.Account.use(func() (err error) {
		out, status, err = c.answer(r, at[1], at[2], body)
		return err
	})
	var wrong errPlain
	switch {
	case errors.As(err, &wrong):
		fail(http.StatusBadRequest, string(wrong))
	case err != nil:
		fail(http.StatusInternalServerError, "it broke")
	case status >= 400:
		fail(status, "no")
	case out == nil:
		w.WriteHeader(status)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(out)
	}
}

func (c *Connect) answer(r *http.Request, vault, id string, body []byte) (out any, status int, err error) {
	a := c.Account
	eq := []string{"", "", ""}
	if filter := r.URL.Query().Get("filter"); filter != "" {
		if eq = plainEq.FindStringSubmatch(filter); eq == nil {
			return nil, 0, errPlain("the filter is malformed")
		}
	}
	switch {
	case vault == "" && r.Method == http.MethodGet:
		all := []any{}
		if eq[0] == "" || eq[1] == "name" && eq[2] == VaultName {
			all = append(all, map[string]any{"id": a.Vault, "name": VaultName, "type": "USER_CREATED"})
		}
		return all, http.StatusOK, nil
	case vault == "":
		return nil, http.StatusMethodNotAllowed, nil
	case !plainID.MatchString(vault) || id != "" && !plainID.MatchString(id):
		return nil, 0, errPlain("an ID is 26 letters and digits")
	case vault == VaultOther:
		return nil, http.StatusForbidden, nil
	case vault != a.Vault:
		return nil, http.StatusNotFound, nil
	case id == "" && r.Method == http.MethodGet:
		all := []any{}
		for _, item := range a.Items {
			tags, _ := item["tags"].([]any)
			if eq[0] == "" || eq[1] == "title" && item["title"] == eq[2] || eq[1] == "tag" && slices.Contains(tags, any(eq[2])) {
				all = append(all, shown(item))
			}
		}
		return all, http.StatusOK, nil
	case id == "" && r.Method == http.MethodPost:
		out, err = a.create(body)
		return out, http.StatusOK, err
	case id == "":
		return nil, http.StatusMethodNotAllowed, nil
	case a.Items[id] == nil:
		return nil, http.StatusNotFound, nil
	}
	switch r.Method {
	case http.MethodGet:
		return a.Items[id], http.StatusOK, nil
	case http.MethodPut:
		out, err = a.put(id, body)
		return out, http.StatusOK, err
	case http.MethodDelete:
		delete(a.Items, id)
		return nil, http.StatusNoContent, nil
	}
	return nil, http.StatusMethodNotAllowed, nil
}
