package sops

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// metaKey is where a file has its metadata.
const metaKey = "sops"

// maxDepth bounds how deep a file may be. A sanity check.
const maxDepth = 100

// readDotenv reads KEY=value lines, and metadata that is flattened into keys.
func readDotenv(content []byte) (leaves []leaf, meta metadata, err error) {
	flat := make(map[string]string)
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, meta, errors.New("it has a line that is no KEY=value")
		}
		value = strings.ReplaceAll(value, `\n`, "\n")
		if name, is := strings.CutPrefix(key, metaKey+"_"); is {
			flat[name] = value
			continue
		}
		leaves = append(leaves, leaf{keys: []string{key}, path: []string{key}, text: value})
	}
	if len(flat) == 0 {
		return nil, meta, ErrNotSOPS
	}
	return leaves, meta, meta.unflatten(flat)
}

// unflatten takes metadata out of keys such as age__list_0__map_enc.
func (m *metadata) unflatten(flat map[string]string) error {
	for i := 0; ; i++ {
		enc, ok := flat[fmt.Sprintf("age__list_%d__map_enc", i)]
		if !ok {
			break
		}
		m.Age = append(m.Age, struct {
			Enc string `yaml:"enc" json:"enc"`
		}{enc})
	}
	m.LastModified, m.MAC = flat["lastmodified"], flat["mac"]
	if s, ok := flat["unencrypted_suffix"]; ok {
		m.UnencryptedSuffix = &s
	}
	m.EncryptedSuffix, m.UnencryptedRegex, m.EncryptedRegex = flat["encrypted_suffix"], flat["unencrypted_regex"], flat["encrypted_regex"]
	m.UnencryptedCommentRegex, m.EncryptedCommentRegex = flat["unencrypted_comment_regex"], flat["encrypted_comment_regex"]
	m.MACOnlyEncrypted = flat["mac_only_encrypted"] == "true"
	m.ShamirThreshold, _ = strconv.Atoi(flat["shamir_threshold"])
	for key := range flat {
		if strings.HasPrefix(key, "key_groups__") {
			m.KeyGroups = []any{key}
		}
	}
	return nil
}

// readYAML reads one document.
func readYAML(content []byte) (leaves []leaf, meta metadata, err error) {
	d := yaml.NewDecoder(bytes.NewReader(content))
	var doc, more yaml.Node
	if err := d.Decode(&doc); err != nil {
		return nil, meta, errors.New("it is no YAML")
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, meta, errors.New("it has more than one YAML document, which is not supported here")
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, meta, ErrNotSOPS
	}
	top := doc.Content[0]
	found := false
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		if key.Value == metaKey {
			found = true
			if err := value.Decode(&meta); err != nil {
				return nil, meta, errors.New("its metadata cannot be read")
			}
			continue
		}
		if leaves, err = yamlLeaves(leaves, value, []string{key.Value}, []string{key.Value}); err != nil {
			return nil, meta, err
		}
	}
	if !found {
		return nil, meta, ErrNotSOPS
	}
	return leaves, meta, nil
}

func yamlLeaves(leaves []leaf, n *yaml.Node, keys, path []string) (_ []leaf, err error) {
	if len(path) > maxDepth {
		return nil, errors.New("it is too deep")
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if leaves, err = yamlLeaves(leaves, n.Content[i+1], extend(keys, key), extend(path, key)); err != nil {
				return nil, err
			}
		}
		return leaves, nil
	case yaml.SequenceNode:
		for i, item := range n.Content {
			if leaves, err = yamlLeaves(leaves, item, keys, extend(path, strconv.Itoa(i))); err != nil {
				return nil, err
			}
		}
		return leaves, nil
	case yaml.ScalarNode:
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, fmt.Errorf("the value of %s cannot be read", strings.Join(path, "."))
		}
		return scalar(leaves, v, keys, path)
	}
	return nil, fmt.Errorf("%s is an alias, which is not supported here", strings.Join(path, "."))
}

func extend(path []string, key string) []string { return append(slices.Clone(path), key) }

// scalar adds a value as it counts in the MAC. One that is null does not.
func scalar(leaves []leaf, v any, keys, path []string) ([]leaf, error) {
	text, truth := "", false
	switch v := v.(type) {
	case nil:
		return leaves, nil
	case string:
		text = v
	case bool:
		text, truth = map[bool]string{true: "True", false: "False"}[v], true
	case int:
		text = strconv.Itoa(v)
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return nil, fmt.Errorf("the value of %s is of a kind that is not supported here", strings.Join(path, "."))
	}
	return append(leaves, leaf{keys: keys, path: path, text: text, truth: truth}), nil
}

// readJSON reads an object.
func readJSON(content []byte) (leaves []leaf, meta metadata, err error) {
	d := json.NewDecoder(bytes.NewReader(content))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, meta, ErrNotSOPS
	}
	found := false
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, meta, errors.New("it is no JSON")
		}
		key, _ := t.(string)
		if key == metaKey {
			found = true
			if err := d.Decode(&meta); err != nil {
				return nil, meta, errors.New("its metadata cannot be read")
			}
			continue
		}
		if leaves, err = jsonLeaves(leaves, d, []string{key}, []string{key}); err != nil {
			return nil, meta, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, meta, errors.New("it is no JSON")
	}
	if !found {
		return nil, meta, ErrNotSOPS
	}
	return leaves, meta, nil
}

func jsonLeaves(leaves []leaf, d *json.Decoder, keys, path []string) (_ []leaf, err error) {
	if len(path) > maxDepth {
		return nil, errors.New("it is too deep")
	}
	t, err := d.Token()
	if err != nil {
		return nil, errors.New("it is no JSON")
	}
	open, is := t.(json.Delim)
	if !is {
		return scalar(leaves, t, keys, path)
	}
	for i := 0; d.More(); i++ {
		inKeys, inPath := keys, extend(path, strconv.Itoa(i))
		if open == '{' {
			t, err := d.Token()
			if err != nil {
				return nil, errors.New("it is no JSON")
			}
			key, _ := t.(string)
			inKeys, inPath = extend(keys, key), extend(path, key)
		}
		if leaves, err = jsonLeaves(leaves, d, inKeys, inPath); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("it is no JSON")
	}
	return leaves, nil
}
