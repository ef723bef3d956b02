package source

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	onepassword "github.com/1password/onepassword-sdk-go"

	"secretctl/broker/secret"
	"secretctl/providers/onepassword/wire"
)

// A version is two fields of its secret's item, known by their titles: "@7" is the
// value, "salt @7" makes equal values rest as different bytes. Both are in a section
// of ours, which fields beside those of the item's category must have.
const section = "versions"

// encoded is what the text of a value begins with that is in base64, because
// 1Password might not keep it as it is: it is empty, is not text, or has space at an
// end.
const encoded = "base64:"

func valueTitle(version uint64) string { return "@" + strconv.FormatUint(version, 10) }
func saltTitle(version uint64) string  { return "salt " + valueTitle(version) }

// versionOf returns the version whose value a field is.
func versionOf(f onepassword.ItemField) (version uint64, ok bool) {
	digits, ok := strings.CutPrefix(f.Title, "@")
	if !ok {
		return 0, false
	}
	version, err := strconv.ParseUint(digits, 10, 64)
	return version, err == nil && valueTitle(version) == f.Title
}

// resting is a version as it is in an item.
type resting struct{ salt, text string }

// sum is of all that rests, with where the salt ends.
func (r resting) sum() []byte {
	h := sha256.Sum256([]byte(strconv.Itoa(len(r.salt)) + ":" + r.salt + r.text))
	return h[:]
}

// fieldsOf makes the fields of a version.
func fieldsOf(version uint64, v secret.Value) (r resting, fields []onepassword.ItemField, err error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	r.salt = hex.EncodeToString(salt)
	if err := v.Use(func(b []byte) error {
		r.text = string(b)
		if !secret.Text(b) || strings.TrimSpace(r.text) != r.text || r.text == "" || strings.ContainsRune(r.text, '\r') || strings.HasPrefix(r.text, encoded) {
			r.text = encoded + base64.StdEncoding.EncodeToString(b)
		}
		return nil
	}); err != nil {
		return r, nil, err
	}
	in, n := section, strconv.FormatUint(version, 10)
	return r, []onepassword.ItemField{
		{ID: "value" + n, Title: valueTitle(version), SectionID: &in, FieldType: onepassword.ItemFieldTypeConcealed, Value: r.text},
		{ID: "salt" + n, Title: saltTitle(version), SectionID: &in, FieldType: onepassword.ItemFieldTypeText, Value: r.salt},
	}, nil
}

// find returns a version of an item.
func find(item onepassword.Item, version uint64) (r resting, ok bool, failed *wire.Error) {
	for _, f := range item.Fields {
		switch f.Title {
		case valueTitle(version):
			if ok {
				return r, true, &wire.Error{Kind: wire.Unavailable, Problem: fmt.Sprintf("item %q has more than one field %q", item.Title, f.Title), Remedy: "remove all but the one that is meant"}
			}
			r.text, ok = f.Value, true
		case saltTitle(version):
			r.salt = f.Value
		}
	}
	return r, ok, nil
}

// value returns the bytes that rest.
func (r resting) value() (string, error) {
	in64, ok := strings.CutPrefix(r.text, encoded)
	if !ok {
		return r.text, nil
	}
	b, err := base64.StdEncoding.DecodeString(in64)
	return string(b), err
}

// without returns the fields of an item without those of a version, and whether any
// that is left holds something.
func without(item onepassword.Item, version uint64) (left []onepassword.ItemField, holds bool) {
	for _, f := range item.Fields {
		if f.Title == valueTitle(version) || f.Title == saltTitle(version) {
			continue
		}
		left = append(left, f)
		holds = holds || f.Value != ""
	}
	return left, holds || item.Notes != "" || len(item.Files) > 0
}

// withSection adds our section where it is not there.
func withSection(all []onepassword.ItemSection) []onepassword.ItemSection {
	if slices.ContainsFunc(all, func(s onepassword.ItemSection) bool { return s.ID == section }) {
		return all
	}
	return append(all, onepassword.ItemSection{ID: section, Title: section})
}
