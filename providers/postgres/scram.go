package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"secretctl/broker/secret"
)

// iterations is the server's own default (scram_iterations).
const iterations = 4096

// scram makes the verifier of a password, as the server keeps it
// (src/common/scram-common.c, RFC 5802). Ours are ASCII, which SASLprep leaves
// as they are. It is no secret in the sense of the values: with 40 random
// characters behind it, nothing follows from it.
func scram(password secret.Value) (string, error) {
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	return scramWith(password, salt, iterations)
}

func scramWith(password secret.Value, salt []byte, n int) (verifier string, err error) {
	err = password.Use(func(b []byte) error {
		// The library takes a string, which is garbage as soon as it returns.
		salted, err := pbkdf2.Key(sha256.New, string(b), salt, n, sha256.Size)
		if err != nil {
			return err
		}
		defer clear(salted)
		client := mac(salted, "Client Key")
		defer clear(client)
		stored, server := sha256.Sum256(client), mac(salted, "Server Key")
		encode := base64.StdEncoding.EncodeToString
		verifier = fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", n, encode(salt), encode(stored[:]), encode(server))
		return nil
	})
	return verifier, err
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
