// Package openclaw knows what OpenClaw writes down: the request of its exec
// secret providers, where its config and its stores keep credentials, and the
// plan that its own `secrets apply` carries out.
//
// It guards against a migration that loses a credential or leaves one behind:
// every place is named by OpenClaw's own list, what cannot become a reference is
// reported and not touched, and no credential becomes a string. It trusts
// nothing that it reads: all of it belongs to the agent's user. It does not talk
// to the broker, and it leaves writing the config to OpenClaw.
package openclaw

import (
	"errors"
	"fmt"

	"secretctl/cmd/secretctl/json5"
)

// MaxRequest is the largest request that OpenClaw sends, in bytes.
const MaxRequest = 256 << 10

// maxIDs is how many references OpenClaw resolves with one provider.
const maxIDs = 512

// Request asks an exec provider for values.
type Request struct {
	Provider string   // its alias in the config
	IDs      []string // in OpenClaw's alphabet, which is wider than that of our names
}

// ParseRequest reads a request of version 1 of the protocol. What is not known
// is passed over: an incompatible change would come with another version.
func ParseRequest(text []byte) (Request, error) {
	n, err := json5.ParseJSON(text)
	if err != nil {
		return Request{}, fmt.Errorf("the request is not JSON: %w", err)
	}
	if n.Kind != json5.Object {
		return Request{}, errors.New("the request is not a JSON object")
	}
	seen := map[string]bool{}
	for _, m := range n.Members {
		if seen[m.Key] {
			return Request{}, fmt.Errorf("the request has %.40q twice", m.Key)
		}
		seen[m.Key] = true
	}
	if v := n.Get("protocolVersion"); v == nil || string(text[v.Start:v.End]) != "1" {
		return Request{}, errors.New("the request is not of protocol version 1, the only one there is")
	}
	var r Request
	if p := n.Get("provider"); p != nil && p.Kind == json5.String {
		r.Provider = string(p.AppendText(nil, text))
	}
	ids := n.Get("ids")
	if ids == nil || ids.Kind != json5.Array {
		return Request{}, errors.New(`the request has no list of "ids"`)
	}
	if len(ids.Items) > maxIDs {
		return Request{}, fmt.Errorf("the request has %d ids; at most %d", len(ids.Items), maxIDs)
	}
	for i, item := range ids.Items {
		id := string(item.AppendText(nil, text))
		if !isID(id) {
			return Request{}, fmt.Errorf("id %d of the request is none", i+1)
		}
		r.IDs = append(r.IDs, id)
	}
	return r, nil
}

// isID reports whether an id is one by OpenClaw's rule for exec references.
func isID(s string) bool {
	if s == "" || len(s) > 256 || !isAlphanumeric(s[0]) {
		return false
	}
	segment := 0 // where it begins
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == '/' {
			if part := s[segment:i]; part == "." || part == ".." {
				return false
			}
			segment = i + 1
			continue
		}
		switch c := s[i]; c {
		case '.', '_', ':', '#', '-':
		default:
			if !isAlphanumeric(c) {
				return false
			}
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
