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

// oracle is the masking of somebody who has the values: every form of each, by
// its first byte, long ones first.
type oracle [256][]written

// written is a form of a secret.
type written struct {
	name string
	form []byte
}

func newOracle(secrets []known) (o *oracle) {
	o = new(oracle)
	for _, s := range secrets {
		for _, form := range mask.Forms([]byte(s.value)) {
			o[form[0]] = append(o[form[0]], written{s.name, form})
		}
	}
	for _, forms := range o {
		slices.SortFunc(forms, func(a, b written) int {
			return cmp.Or(cmp.Compare(len(b.form), len(a.form)), cmp.Compare(a.name, b.name))
		})
	}
	return o
}

// all returns every form.
func (o *oracle) all() (forms []written) {
	for _, some := range o {
		forms = append(forms, some...)
	}
	return forms
}

// find returns the longest form that begins at each place, but those within
// another.
func (o *oracle) find(b []byte) (hits []mask.Hit) {
	end := 0
	for at, c := range b {
		for _, f := range o[c] {
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

func (o *oracle) mask(b []byte) []byte {
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
	out.Grow(len(b))
	w := mask.NewWriter(&out, set, opts)
	at := 0
	for _, cut := range append(cuts, len(b)) {
		n, err := w.Write(b[at:cut])
		if n != cut-at || err != nil {
			require.FailNow(t, "not written", "%d of %d bytes: %v", n, cut-at, err)
		}
		at = cut
	}
	if err := w.Close(); err != nil {
		require.NoError(t, err)
	}
	return out.Bytes()
}
