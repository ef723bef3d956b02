package dotenv

import (
	"bytes"
	"encoding/json"
)

// Foreign returns the name of the format that a file is rather in, "" when it is a
// .env file. Whoever reads that format takes a reference for the value. JSON
// begins as JSON does; in YAML more keys stand before a colon than before a =.
func (f *File) Foreign() string {
	text := bytes.TrimLeftFunc(f.b, isJSSpace)
	if bytes.HasPrefix(text, []byte("{")) || json.Valid(text) && bytes.HasPrefix(text, []byte("[")) {
		return "JSON"
	}
	colons := 0
	for i := range f.entries {
		if f.entries[i].colon {
			colons++
		}
	}
	if 2*colons > len(f.entries) {
		return "YAML"
	}
	return ""
}
