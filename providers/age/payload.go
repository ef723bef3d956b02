package age

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"filippo.io/age"
	"golang.org/x/crypto/chacha20poly1305"

	"secretctl/broker/secret"
)

// The header of a file, and the keys, are left to the age package. The payload
// is sealed and opened here, between the file's bytes and locked memory: age's
// own writer and reader have buffers for the plaintext that stay behind on the
// heap.
//
// A payload is a nonce, from which and the file's key the payload's key is made,
// and chunks sealed one by one (https://c2sp.org/age#payload).
const (
	nonceSize = 16
	chunkSize = 64 << 10
	overhead  = chacha20poly1305.Overhead
)

// maxSealed is the size of the largest value's chunks once they are sealed, with
// the newline that some put at its end.
const maxSealed = maxValue + 1 + (maxValue/chunkSize+1)*overhead

// errDamaged means that a payload is not, to its very end, what was sealed.
var errDamaged = errors.New("the payload is damaged")

// keeper is a recipient that keeps the key of the file it is used for.
type keeper struct {
	age.Recipient
	key []byte
}

func (k *keeper) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	k.key = slices.Clone(fileKey)
	return k.Recipient.Wrap(fileKey)
}

// WrapWithLabels passes on the labels, by which age refuses to mix post-quantum
// recipients with others.
func (k *keeper) WrapWithLabels(fileKey []byte) ([]*age.Stanza, []string, error) {
	labelled, ok := k.Recipient.(age.RecipientWithLabels)
	if !ok {
		stanzas, err := k.Wrap(fileKey)
		return stanzas, nil, err
	}
	k.key = slices.Clone(fileKey)
	return labelled.WrapWithLabels(fileKey)
}

// seal returns an age file that holds the value.
func seal(ctx context.Context, v secret.Value, to *keys) (file []byte, err error) {
	if to.mixed != nil {
		return nil, to.mixed
	}
	k := &keeper{Recipient: to.main.to}
	var header bytes.Buffer
	// Encrypt writes the header and the nonce; no payload goes through it.
	if err := to.call(ctx, func() error { _, err := age.Encrypt(&header, append([]age.Recipient{k}, to.extra...)...); return err }); err != nil {
		return nil, err
	}
	defer clear(k.key)
	file = header.Bytes()
	aead, err := payloadCipher(k.key, file[len(file)-nonceSize:])
	if err != nil {
		return nil, err
	}
	err = v.Use(func(b []byte) error {
		file = slices.Grow(file, len(b)+(len(b)/chunkSize+1)*overhead)
		for i := uint64(0); ; i++ {
			n := min(len(b), chunkSize)
			last := n == len(b)
			file = aead.Seal(file, chunkNonce(i, last), b[:n], nil)
			if b = b[n:]; last {
				return nil
			}
		}
	})
	return file, err
}

// open returns the value that an age file holds. It reads the file to its end
// before there is a value.
func open(ctx context.Context, file []byte, from *keys) (secret.Value, error) {
	header, err := age.ExtractHeader(bytes.NewReader(file))
	if err != nil {
		return secret.Value{}, err
	}
	var key []byte
	if err := from.call(ctx, func() (err error) { key, err = age.DecryptHeader(header, from.ids...); return err }); err != nil {
		return secret.Value{}, err
	}
	defer clear(key)
	rest, ok := bytes.CutPrefix(file, header) // a header has one spelling
	if !ok || len(rest) < nonceSize+overhead {
		return secret.Value{}, errDamaged
	}
	aead, err := payloadCipher(key, rest[:nonceSize])
	if err != nil {
		return secret.Value{}, err
	}
	sealed := rest[nonceSize:]
	if len(sealed) > maxSealed {
		return secret.Value{}, secret.ErrTooLong
	}
	chunks := (len(sealed) + chunkSize + overhead - 1) / (chunkSize + overhead)
	size := len(sealed) - chunks*overhead
	// Only a payload of one chunk may end in an empty one, or in less than one.
	if size < 0 || chunks > 1 && size <= (chunks-1)*chunkSize {
		return secret.Value{}, errDamaged
	}
	return secret.Fill(size, func(b []byte) error { return openChunks(b, sealed, aead) })
}

// openChunks opens every chunk of sealed into b, which has the plaintext's size.
func openChunks(b, sealed []byte, aead cipher.AEAD) error {
	for i := uint64(0); ; i++ {
		n := min(len(sealed), chunkSize+overhead)
		last := n == len(sealed)
		opened, err := aead.Open(b[:0], chunkNonce(i, last), sealed[:n], nil)
		if err != nil {
			return errDamaged
		}
		if b, sealed = b[len(opened):], sealed[n:]; last {
			return nil
		}
	}
}

func payloadCipher(fileKey, nonce []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, fileKey, nonce, "payload", chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return chacha20poly1305.New(key)
}

// chunkNonce counts the chunks and marks the last one, so that none can be left
// out, added or moved.
func chunkNonce(i uint64, last bool) []byte {
	nonce := make([]byte, chacha20poly1305.NonceSize)
	binary.BigEndian.PutUint64(nonce[3:], i)
	if last {
		nonce[11] = 1
	}
	return nonce
}
