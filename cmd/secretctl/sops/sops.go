// Package sops reads files of SOPS (https://github.com/getsops/sops) whose key is
// sealed to age recipients: dotenv, YAML and JSON.
//
// It guards against taking in what somebody changed in such a file: every value is
// authenticated with its place, and the MAC over all of them, without which values
// could be left out, is checked before any is given out. What this package does
// not know of the format it refuses.
package sops

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// Value is one value of a file.
type Value struct {
	Path      []string // of keys; what is in a list has that of the list, and its number
	Bytes     []byte   // the caller clears it
	Encrypted bool     // in the file
}

// Clear clears the values.
func Clear(values []Value) {
	for _, v := range values {
		clear(v.Bytes)
	}
}

// leaf is a value as the file has it.
type leaf struct {
	keys  []string // that authenticate it
	path  []string
	text  string // as it is encrypted, or as it counts in the MAC
	truth bool   // it is true or false, which counts as True or False
}

// metadata is what a file says of itself.
type metadata struct {
	Age []struct {
		Enc string `yaml:"enc" json:"enc"`
	} `yaml:"age" json:"age"`
	LastModified string `yaml:"lastmodified" json:"lastmodified"`
	MAC          string `yaml:"mac" json:"mac"`

	UnencryptedSuffix *string `yaml:"unencrypted_suffix" json:"unencrypted_suffix"`
	// What is not known here.
	EncryptedSuffix         string `yaml:"encrypted_suffix" json:"encrypted_suffix"`
	UnencryptedRegex        string `yaml:"unencrypted_regex" json:"unencrypted_regex"`
	EncryptedRegex          string `yaml:"encrypted_regex" json:"encrypted_regex"`
	UnencryptedCommentRegex string `yaml:"unencrypted_comment_regex" json:"unencrypted_comment_regex"`
	EncryptedCommentRegex   string `yaml:"encrypted_comment_regex" json:"encrypted_comment_regex"`
	MACOnlyEncrypted        bool   `yaml:"mac_only_encrypted" json:"mac_only_encrypted"`
	KeyGroups               []any  `yaml:"key_groups" json:"key_groups"`
	ShamirThreshold         int    `yaml:"shamir_threshold" json:"shamir_threshold"`
}

// ErrNotSOPS means that a file is no file of SOPS.
var ErrNotSOPS = errors.New("it has no metadata of SOPS")

// ErrNoKey means that none of the identities opens the file.
var ErrNoKey = errors.New("none of the age identities opens it")

// Read returns the values of a file, in its order. The name says which format it
// has. No error holds a value.
func Read(name string, content []byte, ids ...age.Identity) ([]Value, error) {
	var leaves []leaf
	var meta metadata
	var err error
	switch filepath.Ext(name) {
	case ".yaml", ".yml":
		leaves, meta, err = readYAML(content)
	case ".json":
		leaves, meta, err = readJSON(content)
	default:
		leaves, meta, err = readDotenv(content)
	}
	if err != nil {
		return nil, err
	}
	if err := meta.known(); err != nil {
		return nil, err
	}
	key, err := meta.key(ids)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return meta.open(leaves, key)
}

// known refuses what is not known here.
func (m *metadata) known() error {
	for name, used := range map[string]bool{
		"encrypted_suffix": m.EncryptedSuffix != "", "unencrypted_regex": m.UnencryptedRegex != "", "encrypted_regex": m.EncryptedRegex != "",
		"unencrypted_comment_regex": m.UnencryptedCommentRegex != "", "encrypted_comment_regex": m.EncryptedCommentRegex != "",
		"mac_only_encrypted": m.MACOnlyEncrypted, "key_groups": len(m.KeyGroups) > 0, "shamir_threshold": m.ShamirThreshold > 1,
	} {
		if used {
			return fmt.Errorf("it uses %s, which is not supported here", name)
		}
	}
	switch {
	case m.MAC == "" || m.LastModified == "":
		return ErrNotSOPS
	case len(m.Age) == 0:
		return errors.New("its key is sealed to no age recipient")
	}
	return nil
}

// key returns the key of the values.
func (m *metadata) key(ids []age.Identity) ([]byte, error) {
	if len(ids) == 0 {
		return nil, ErrNoKey
	}
	for _, a := range m.Age {
		r, err := age.Decrypt(armor.NewReader(strings.NewReader(a.Enc)), ids...)
		if err != nil {
			continue
		}
		key, err := io.ReadAll(io.LimitReader(r, 33))
		if err == nil && len(key) == 32 {
			return key, nil
		}
		clear(key)
	}
	return nil, ErrNoKey
}

// open opens the values, and checks that they are all there are.
func (m *metadata) open(leaves []leaf, key []byte) (values []Value, err error) {
	defer func() {
		if err != nil {
			Clear(values)
			values = nil
		}
	}()
	suffix := "_unencrypted"
	if m.UnencryptedSuffix != nil {
		suffix = *m.UnencryptedSuffix
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	sum := sha512.New()
	for _, l := range leaves {
		v := Value{Path: l.path, Bytes: []byte(l.text)}
		if !plain(l.keys, suffix) && l.text != "" {
			if v.Bytes, l.truth, err = decrypt(block, l.text, strings.Join(l.keys, ":")+":"); err != nil {
				return values, fmt.Errorf("the value of %s: %w", strings.Join(l.path, "."), err)
			}
			v.Encrypted = true
		}
		sum.Write(v.Bytes)
		if l.truth {
			v.Bytes = bytes.ToLower(v.Bytes)
		}
		values = append(values, v)
	}
	return values, m.check(block, sum)
}

// plain reports whether a value is not encrypted, by its keys.
func plain(keys []string, suffix string) bool {
	for _, k := range keys {
		if suffix != "" && strings.HasSuffix(k, suffix) {
			return true
		}
	}
	return false
}

// check compares the MAC.
func (m *metadata) check(block cipher.Block, sum hash.Hash) error {
	at, err := time.Parse(time.RFC3339, m.LastModified)
	if err != nil {
		return errors.New("its lastmodified is no time")
	}
	want, _, err := decrypt(block, m.MAC, at.Format(time.RFC3339))
	if err != nil {
		return fmt.Errorf("its MAC: %w", err)
	}
	if got := fmt.Appendf(nil, "%X", sum.Sum(nil)); subtle.ConstantTimeCompare(got, want) != 1 {
		return errors.New("its MAC is of other values: somebody changed it without sops, or left something out")
	}
	return nil
}

var errNotAsSOPS = errors.New("it is not encrypted as sops does")

// sealed is a value as it is encrypted.
var sealed = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\AENC\[AES256_GCM,data:([^,]+),iv:([^,]+),tag:([^,]+),type:(str|int|float|bool|bytes)\]\z`)
})

// decrypt opens a value that belongs in a place. truth is whether it is a bool.
func decrypt(block cipher.Block, text, place string) (b []byte, truth bool, err error) {
	parts := sealed().FindStringSubmatch(text)
	if parts == nil {
		return nil, false, errNotAsSOPS
	}
	var raw [3][]byte
	for i, part := range parts[1:4] {
		b, err := base64.StdEncoding.DecodeString(part)
		if err != nil {
			return nil, false, errNotAsSOPS
		}
		raw[i] = b
	}
	data, iv, tag := raw[0], raw[1], raw[2]
	if len(iv) == 0 || len(tag) != 16 {
		return nil, false, errNotAsSOPS
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(iv))
	if err != nil {
		return nil, false, err
	}
	out, err := gcm.Open(nil, iv, bytes.Join([][]byte{data, tag}, nil), []byte(place))
	if err != nil {
		return nil, false, errors.New("it was changed, or moved to another place")
	}
	return out, parts[4] == "bool", nil
}
