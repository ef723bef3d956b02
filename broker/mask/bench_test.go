package mask_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/mask"
)

// keys are n values as services make them: many begin alike.
func keys(n int) []known {
	rnd := rand.New(rand.NewPCG(3, 4))
	prefixes := []string{"sk-proj-", "sk-ant-api03-", "ghp_", "xoxb-", "AKIA", "postgres://app:", "", "", "", ""}
	all := make([]known, n)
	for i := range all {
		var v strings.Builder
		v.WriteString(prefixes[i%len(prefixes)])
		for range 20 + rnd.IntN(30) {
			v.WriteByte("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_+/"[rnd.IntN(66)])
		}
		all[i] = known{fmt.Sprintf("bench/key-%d", i), v.String()}
	}
	return all
}

// logs is output as a program writes it, with a value in one of a thousand lines.
func logs(size int, secrets []known) []byte {
	rnd := rand.New(rand.NewPCG(5, 6))
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "2026-11-26T15:%02d:%02d.%03dZ INFO request id=%016x path=/v1/items/%d status=200 took=%dms ua=%q\n",
			rnd.IntN(60), rnd.IntN(60), rnd.IntN(1000), rnd.Uint64(), rnd.IntN(1e6), rnd.IntN(900), "Mozilla/5.0 (X11; Linux x86_64)")
		if i%1000 == 999 {
			fmt.Fprintf(&b, "Authorization: Bearer %s\n", secrets[rnd.IntN(len(secrets))].value)
		}
	}
	return b.Bytes()
}

// copier is the least that can be between a program and its output.
type copier struct{ buf []byte }

func (c *copier) Write(p []byte) (int, error) { return copy(c.buf, p), nil }

// BenchmarkMask: 32 MiB of logs through a Writer that knows values, beside a copy
// of the same.
func BenchmarkMask(b *testing.B) {
	for _, c := range []struct {
		values int
		shapes bool
	}{{1, false}, {100, false}, {1000, false}, {0, true}, {1000, true}} {
		b.Run(fmt.Sprintf("values=%d/shapes=%t", c.values, c.shapes), func(b *testing.B) {
			secrets := keys(max(c.values, 1))
			text := logs(32<<20, secrets)
			set := newSet(b, secrets[:c.values])
			limit := &copier{make([]byte, 64<<10)}
			w := mask.NewWriter(io.Discard, set, mask.Options{Shapes: c.shapes})
			defer w.Close()
			var copied, masked time.Duration
			write := func(to io.Writer) time.Duration {
				began := time.Now()
				for at := 0; at < len(text); at += 64 << 10 {
					_, err := to.Write(text[at:min(at+64<<10, len(text))])
					require.NoError(b, err)
				}
				return time.Since(began)
			}
			rounds := 0.0
			for b.Loop() {
				copied += write(limit)
				masked += write(w)
				rounds++
			}
			mb := rounds * float64(len(text)) / 1e6
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(mb/masked.Seconds(), "MB/s")
			b.ReportMetric(mb/copied.Seconds(), "copy-MB/s")
			b.ReportMetric(copied.Seconds()/masked.Seconds(), "ratio")
		})
	}
}

// BenchmarkFingerprints: those of a thousand values, and the set of them.
func BenchmarkFingerprints(b *testing.B) {
	secrets := keys(1000)
	salt := mask.NewSalt()
	b.Run("make", func(b *testing.B) {
		var prints []mask.Fingerprint
		for b.Loop() {
			prints = prints[:0]
			for _, s := range secrets {
				var err error
				prints, err = salt.Fingerprints(prints, s.name, []byte(s.value))
				require.NoError(b, err)
			}
		}
		b.ReportMetric(float64(len(prints)), "forms")
	})
	b.Run("set", func(b *testing.B) {
		var prints []mask.Fingerprint
		for _, s := range secrets {
			prints, _ = salt.Fingerprints(prints, s.name, []byte(s.value))
		}
		for b.Loop() {
			mask.New(salt, prints)
		}
	})
}
