package keychain

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"math/big"
)

// The library agrees on keys and seals values too, but not so that it can be
// used: it cuts the zeros off the front of the shared number before it makes the
// key, so that one session in 256 has another key than the keyring, and now and
// then stores or returns garbage without a word; and it leaves a readable copy of
// each value behind.

// group is the Second Oakley Group (RFC 2409, section 6.2), the one that the
// Secret Service's dh-ietf1024-sha256-aes128-cbc-pkcs7 is over.
var group = func() (g struct{ p, top *big.Int }) {
	g.p, _ = new(big.Int).SetString("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"+
		"EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE6"+
		"49286651ECE65381FFFFFFFFFFFFFFFF", 16)
	g.top = new(big.Int).Sub(g.p, big.NewInt(1))
	return g
}()

// groupLen is the length of a number of the group, in bytes.
const groupLen = 128

// newPrivate draws a private key.
func newPrivate() *big.Int {
	for {
		n, err := rand.Int(rand.Reader, group.top)
		if err == nil && n.Sign() > 0 { // rand.Reader never fails
			return n
		}
	}
}

// public returns what belongs to a private key, at its full length: some keyrings
// refuse a shorter one.
func public(private *big.Int) []byte {
	return new(big.Int).Exp(big.NewInt(2), private, group.p).FillBytes(make([]byte, groupLen))
}

// sessionKey is the key that both sides know then.
func sessionKey(theirs []byte, private *big.Int) ([]byte, error) {
	n := new(big.Int).SetBytes(theirs)
	if n.Cmp(big.NewInt(1)) <= 0 || n.Cmp(group.top) >= 0 {
		return nil, errors.New("the keyring's half of the key is none")
	}
	shared := n.Exp(n, private, group.p).FillBytes(make([]byte, groupLen))
	defer clear(shared)
	return hkdf.Key(sha256.New, shared, nil, "", aes.BlockSize)
}

// seal encrypts a value. Of the bytes it makes no other copy.
func seal(key, value []byte) (iv, sealed []byte, err error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, err
	}
	pad := aes.BlockSize - len(value)%aes.BlockSize
	sealed = make([]byte, len(value)+pad)
	for i := copy(sealed, value); i < len(sealed); i++ {
		sealed[i] = byte(pad)
	}
	iv = make([]byte, aes.BlockSize)
	_, _ = rand.Read(iv) // never fails
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(sealed, sealed)
	return iv, sealed, nil
}

// errGarbled is an answer that does not decrypt.
var errGarbled = errors.New("what the keyring answered does not decrypt")

// unseal decrypts a value in place. What is returned is the front of sealed; it is
// not authentic, so that whoever has a sum of it compares.
func unseal(key, iv, sealed []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if len(iv) != aes.BlockSize || len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return nil, errGarbled
	}
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(sealed, sealed)
	pad := int(sealed[len(sealed)-1])
	if pad == 0 || pad > aes.BlockSize {
		clear(sealed)
		return nil, errGarbled
	}
	for _, b := range sealed[len(sealed)-pad:] {
		if int(b) != pad {
			clear(sealed)
			return nil, errGarbled
		}
	}
	return sealed[:len(sealed)-pad], nil
}
