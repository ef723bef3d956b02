package mask_test

import (
	"bytes"
	"cmp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/mask"
)

// known is a secret of a test.
type known struct{ name, value string }

// oracle is the masking of somebody who has the values and all the time there is.
type oracle []struct {
	name string
	form []byte
}

func newOracle(secrets []known) (o oracle) {
	for _, s := range secrets {
		for _, form := range mask.Forms([]byte(s.value)) {
			o = append(o, struct {
				name string
				form []byte
			}{s.name, form})
		}
	}
	slices.SortStableFunc(o, func(a, b struct {
		name string
		form []byte
	}) int {
		return cmp.Or(cmp.Compare(len(b.form), len(a.form)), cmp.Compare(a.name, b.name))
	})
	return o
}

// find returns the longest form that begins at each place, but those within
// another.
func (o oracle) find(b []byte) (hits []mask.Hit) {
	end := 0
	for at := range b {
		for _, f := range o {
			if !bytes.HasPrefix(b[at:], f.form) {
				continue
			}
			if at+len(f.form) > end {
				end = at + len(f.form)
				hits = append(hits, mask.Hit{Name: f.name, Start: at, End: end})
			}
			break
		}
	}
	return hits
}

func (o oracle) mask(b []byte) []byte {
	var out bytes.Buffer
	at := 0
	for _, h := range o.find(b) {
		out.Write(b[at:max(at, h.Start)])
		out.WriteString("[secretctl:" + h.Name + "]")
		at = h.End
	}
	out.Write(b[at:])
	return out.Bytes()
}

func newSet(t testing.TB, secrets []known) *mask.Set {
	salt := mask.NewSalt()
	var prints []mask.Fingerprint
	for _, s := range secrets {
		var err error
		prints, err = salt.Fingerprints(prints, s.name, []byte(s.value))
		require.NoError(t, err, s.name)
	}
	return mask.New(salt, prints)
}

// through writes b, cut at these places, through a Writer.
func through(t require.TestingT, set *mask.Set, opts mask.Options, b []byte, cuts ...int) []byte {
	var out bytes.Buffer
	w := mask.NewWriter(&out, set, opts)
	at := 0
	for _, cut := range append(cuts, len(b)) {
		n, err := w.Write(b[at:cut])
		require.NoError(t, err)
		require.Equal(t, cut-at, n)
		at = cut
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}
