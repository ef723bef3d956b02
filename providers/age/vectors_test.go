package age_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	plain "filippo.io/age"
	"filippo.io/age/armor"
	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// vector is a file and what it must open to: nil for an error.
type vector struct {
	name string
	file []byte
	want []byte
}

var horse = []byte(canary.Of("horse"))

// vectors are files that an age program might write or an attacker try.
func vectors(t testing.TB) []vector {
	return slices.Concat(headers(t), payloads(t), spellings(t))
}

// headers are files whose header says the truth, but not only what ours do.
func headers(t testing.TB) []vector {
	us, other := ours.Recipient(), must1(plain.GenerateX25519Identity()).Recipient()
	grease := stanzas{{Type: "x-grease", Args: []string{"a", "b"}, Body: make([]byte, 100)}, {Type: "empty", Body: nil}}
	scrypt := must1(plain.NewScryptRecipient("horse"))
	scrypt.SetWorkFactor(1)
	hybrid := must1(plain.GenerateHybridIdentity()).Recipient()
	x25519 := func(args string, body int) plain.Recipient {
		return stanzas{{Type: "X25519", Args: strings.Fields(args), Body: make([]byte, body)}}
	}
	const point = "TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc"
	sshKey := stanzas{{Type: "ssh-ed25519", Args: []string{"/6kBAQ", point}, Body: make([]byte, 32)}}
	zero := strings.Repeat("A", 43)
	many := []plain.Recipient{us}
	for range 20 {
		many = append(many, other)
	}
	return []vector{
		{"one recipient", sealedTo(t, horse, us), horse},
		{"others after us", sealedTo(t, horse, us, other, other), horse},
		{"others before us", sealedTo(t, horse, other, other, us), horse},
		{"twenty others", sealedTo(t, horse, many...), horse},
		{"us twice", sealedTo(t, horse, us, us), horse},
		{"grease before", sealedTo(t, horse, grease, us), horse},
		{"grease after", sealedTo(t, horse, us, grease), horse},
		{"grease around", sealedTo(t, horse, grease, us, grease), horse},
		{"a key of ssh too", sealedTo(t, horse, sshKey, us), horse},
		{"unknown kinds only", sealedTo(t, horse, grease), nil},
		{"others only", sealedTo(t, horse, other, other), nil},
		{"a passphrase", sealedTo(t, horse, scrypt), nil},
		{"a key of ssh", sealedTo(t, horse, sshKey), nil},
		{"a hybrid key", sealedTo(t, horse, hybrid), nil},
		{"a broken stanza of ours before", sealedTo(t, horse, x25519(point, 31), us), nil},
		{"a stanza of others before", sealedTo(t, horse, x25519(point, 32), us), horse},
		{"a stanza without argument", sealedTo(t, horse, x25519("", 32), us), nil},
		{"a stanza with two arguments", sealedTo(t, horse, x25519(point+" b", 32), us), nil},
		{"a stanza with a short point", sealedTo(t, horse, x25519(point[:40], 32), us), nil},
		{"a stanza with a point of low order", sealedTo(t, horse, x25519(zero, 32), us), nil},
		{"a broken stanza after ours", sealedTo(t, horse, us, x25519(point, 31)), horse},
	}
}

// payloads are files with a right header, and chunks that are right or not.
func payloads(t testing.TB) []vector {
	full, other := bytes.Repeat([]byte{'f'}, 64<<10), bytes.Repeat([]byte{'o'}, 64<<10)
	all := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	return []vector{
		{"empty", builtOf(t, chunk{0, 1, nil}), []byte{}},
		{"one chunk", builtOf(t, chunk{0, 1, horse}), horse},
		{"one full chunk", builtOf(t, chunk{0, 1, full}), full},
		{"two chunks", builtOf(t, chunk{0, 0, full}, chunk{1, 1, horse}), all(full, horse)},
		{"two full chunks", builtOf(t, chunk{0, 0, full}, chunk{1, 1, other}), all(full, other)},
		{"one byte in the second chunk", builtOf(t, chunk{0, 0, full}, chunk{1, 1, []byte{1}}), all(full, []byte{1})},

		{"no payload", builtOf(t), nil},
		{"an empty last chunk", builtOf(t, chunk{0, 0, full}, chunk{1, 1, nil}), nil},
		{"an empty first chunk", builtOf(t, chunk{0, 0, nil}, chunk{1, 1, horse}), nil},
		{"empty and not the last", builtOf(t, chunk{0, 0, nil}), nil},
		{"no last chunk", builtOf(t, chunk{0, 0, horse}), nil},
		{"no last full chunk", builtOf(t, chunk{0, 0, full}), nil},
		{"no last of two", builtOf(t, chunk{0, 0, full}, chunk{1, 0, horse}), nil},
		{"last twice", builtOf(t, chunk{0, 1, full}, chunk{1, 1, horse}), nil},
		{"last before the end", builtOf(t, chunk{0, 1, full}, chunk{1, 0, horse}), nil},
		{"last is not 1", builtOf(t, chunk{0, 2, horse}), nil},
		{"a short chunk before the last", builtOf(t, chunk{0, 0, horse}, chunk{1, 1, horse}), nil},
		{"a chunk too long", builtOf(t, chunk{0, 1, append(full, 1)}), nil},
		{"counted from 1", builtOf(t, chunk{1, 1, horse}), nil},
		{"swapped", builtOf(t, chunk{1, 0, full}, chunk{0, 0, other}, chunk{2, 1, horse}), nil},
		{"left out", builtOf(t, chunk{0, 0, full}, chunk{2, 1, horse}), nil},
		{"repeated", builtOf(t, chunk{0, 0, full}, chunk{0, 0, full}, chunk{1, 1, horse}), nil},
		{"a byte after it", append(builtOf(t, chunk{0, 1, horse}), 0), nil},
		{"a line feed after it", append(builtOf(t, chunk{0, 1, horse}), '\n'), nil},
		{"a byte after a full chunk", append(builtOf(t, chunk{0, 1, full}), 0), nil},
		{"a tag after a full chunk", append(builtOf(t, chunk{0, 1, full}), make([]byte, 16)...), nil},
		{"a chunk after a full chunk", builtOf(t, chunk{0, 1, full}, chunk{1, 1, full}), nil},
		{"another file after it", append(builtOf(t, chunk{0, 1, horse}), builtOf(t, chunk{0, 1, horse})...), nil},
	}
}

// spellings are files that say a right header in another way, or half of it.
func spellings(t testing.TB) []vector {
	file := sealedTo(t, horse, ours.Recipient())
	header, payload, _ := bytes.Cut(file, []byte("\n--- "))
	mac, rest := payload[:43], payload[44:]
	changed := func(old, to string) []byte { return bytes.Replace(file, []byte(old), []byte(to), 1) }
	var armored bytes.Buffer
	w := armor.NewWriter(&armored)
	must1(w.Write(file))
	must1(0, w.Close())
	return []vector{
		{"nothing", nil, nil},
		{"text", horse, nil},
		{"a line feed first", append([]byte("\n"), file...), nil},
		{"another version", changed("v1\n", "v2\n"), nil},
		{"no version", changed("/v1\n", "\n"), nil},
		{"carriage returns", bytes.ReplaceAll(file, []byte("\n"), []byte("\r\n")), nil},
		{"two spaces", changed("-> X25519 ", "-> X25519  "), nil},
		{"another kind", changed("X25519", "x25519"), nil},
		{"no recipients", fmt.Appendf(nil, "age-encryption.org/v1\n--- %s\n%s", mac, rest), nil},
		{"no MAC", fmt.Appendf(nil, "%s\n---\n%s", header, rest), nil},
		{"a short MAC", fmt.Appendf(nil, "%s\n--- %s\n%s", header, mac[:42], rest), nil},
		{"a padded MAC", fmt.Appendf(nil, "%s\n--- %s=\n%s", header, mac, rest), nil},
		{"a MAC of zeros", fmt.Appendf(nil, "%s\n--- %s\n%s", header, strings.Repeat("A", 43), rest), nil},
		{"a MAC of another file", fmt.Appendf(nil, "%s\n--- %s\n%s", header, macOf(sealedTo(t, horse, ours.Recipient())), rest), nil},
		{"a payload of another file", append(bytes.Clone(file[:len(file)-len(rest)]), restOf(sealedTo(t, horse, ours.Recipient()))...), nil},
		{"a stanza added", changed("\n--- ", "\n-> x\n\n--- "), nil},
		{"armor", armored.Bytes(), nil},
	}
}

func macOf(file []byte) []byte {
	_, after, _ := bytes.Cut(file, []byte("\n--- "))
	return after[:43]
}

func restOf(file []byte) []byte {
	_, after, _ := bytes.Cut(file, []byte("\n--- "))
	return after[44:]
}

func TestVectors(t *testing.T) {
	all := vectors(t)
	require.Len(t, all, 21+28+17)
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) {
			b, ok := agreed(t, v.file)
			require.Equal(t, v.want != nil, ok)
			require.True(t, bytes.Equal(v.want, b))
		})
	}
}

// What a person is told when a file is not for us.
func TestWhyAFileDoesNotOpen(t *testing.T) {
	const (
		unsupported = "opening vault/a/@1.age: it is sealed to no X25519 recipient (age1…), the only kind that is opened here"
		another     = "opening vault/a/@1.age: it is sealed to another identity than identity.txt"
		damaged     = "opening vault/a/@1.age: it is damaged, cut short or not an age file"
	)
	why := map[string]string{
		"a passphrase": unsupported, "a key of ssh": unsupported, "unknown kinds only": unsupported, "a hybrid key": unsupported,
		"others only":                    another,
		"a broken stanza of ours before": damaged, "no payload": damaged, "a byte after it": damaged, "nothing": damaged, "text": damaged,
		"armor": damaged, "an empty last chunk": damaged, "last twice": damaged, "a MAC of another file": damaged,
	}
	seen := 0
	for _, v := range vectors(t) {
		if why[v.name] != "" {
			_, err := opened(t, v.file)
			require.EqualError(t, err, why[v.name], v.name)
			seen++
		}
	}
	require.Equal(t, len(why), seen)
}
