package mask

import "bytes"

// Forms returns every form of a value.
func Forms(value []byte) (all [][]byte) {
	eachForm(value, func(form []byte) { all = append(all, bytes.Clone(form)) })
	return all
}

// Growth is how many times longer than a value its longest form may be.
const Growth = growth

// Worth returns why a value is not masked.
func Worth(value []byte) error { return worth(value) }
