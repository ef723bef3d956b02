package providers

import "crypto/sha256"

// SaltedSum is the sum of a version in a store whose resting bytes nobody else
// sees: without its salt, which only the store has, it says nothing of the value,
// not even that two are alike.
func SaltedSum(salt, value []byte) (sum Sum) {
	h := sha256.New()
	h.Write(salt)
	h.Write(value)
	h.Sum(sum[:0])
	h.Reset()
	h.Write(make([]byte, sha256.BlockSize-1)) // over what it had of the value's end
	return sum
}
