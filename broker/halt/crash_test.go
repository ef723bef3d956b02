package halt_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/halt"
)

// images is how many crash images of one moment are tried: every torn length
// of a copy, and random ones. Where the moment is one of many, some do.
const (
	images     = pageSize + 400
	someImages = 300
)

var errCrashed = errors.New("crashed")

// crashing returns a disk on which nothing happens any more from operation k
// on. happened says how far it came.
func crashing(d durable.Disk, k int) (hook *durable.Hook, crashed *bool) {
	crashed = new(bool)
	return &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
		if op.N >= k {
			*crashed = true
			return durable.Verdict{Err: errCrashed}
		}
		return durable.Verdict{}
	}}, crashed
}

// eachImage has check see what a power loss at this moment can leave.
func eachImage(d *durable.Mem, limit int, check func(image *durable.Mem)) (n int) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for image := range d.Images(limit, rnd) {
		check(image)
		n++
	}
	return n
}

// TestStoreCrash crashes at every operation of a Store, for every step from one
// state to the next: each image of the disk says the state before or the new
// one, and once Store has returned only the new one.
func TestStoreCrash(t *testing.T) {
	seen := 0
	for i, next := range states[1:] {
		before, limit := states[i], someImages
		if next.Killed && !before.Killed || os.Getenv("SECRETCTL_LONG") != "" {
			limit = images
		}
		for k := 0; ; k++ {
			d := made(t)
			store(t, d, before)
			hook, crashed := crashing(d, k)
			h, _, err := halt.Open(hook)
			require.NoError(t, err)
			err = h.Store(next)
			require.Equal(t, *crashed, err != nil)
			allowed := []halt.State{next}
			if *crashed {
				require.ErrorIs(t, err, errCrashed)
				allowed = append(allowed, before)
			}
			seen += eachImage(d, limit, func(image *durable.Mem) {
				require.Contains(t, allowed, read(t, image), "crashed at operation %d", k)
			})
			if !*crashed {
				require.Equal(t, 4, k, "two writes, two syncs")
				break
			}
		}
	}
	t.Logf("%d crash images", seen)
	require.Greater(t, seen, 2*pageSize, "every torn length of both copies")
}

// TestOpenCrash crashes, at every operation, the opening that follows a crash:
// what the first one left is not lost, and what Open returned stays.
func TestOpenCrash(t *testing.T) {
	before, next := states[2], states[3]
	d := made(t)
	store(t, d, before)
	hook, _ := crashing(d, 1) // the write happened, the sync did not
	h, _, err := halt.Open(hook)
	require.NoError(t, err)
	require.ErrorIs(t, h.Store(next), errCrashed)

	rnd := rand.New(rand.NewPCG(3, 4))
	repaired := 0
	for first := range d.Images(images, rnd) {
		if rnd.IntN(200) != 0 {
			continue
		}
		want := []halt.State{before, next}
		for k := 0; ; k++ {
			disk := clone(t, first)
			hook, crashed := crashing(disk, k)
			_, s, err := halt.Open(hook)
			require.Equal(t, *crashed, err != nil)
			if !*crashed {
				want = []halt.State{s}
				repaired += k
			}
			for image := range disk.Images(50, rnd) {
				require.Contains(t, want, read(t, image))
			}
			if !*crashed {
				break
			}
		}
	}
	require.Positive(t, repaired, "no image had a torn copy")
}

// clone returns another disk with the same halt file.
func clone(t testing.TB, d *durable.Mem) *durable.Mem {
	out := durable.NewMem()
	put(t, out, content(t, d))
	return out
}

// TestReplaceCrash: a crash while the file is made leaves what was there, or
// the zero state, whole.
func TestReplaceCrash(t *testing.T) {
	for what, before := range map[string]*halt.State{"where there is none": nil, "over a killed one": {Killed: true, Epoch: 7}} {
		t.Run(what, func(t *testing.T) {
			for k := 0; ; k++ {
				d := durable.NewMem()
				if before != nil {
					d = made(t)
					store(t, d, *before)
				}
				hook, crashed := crashing(d, k)
				_, err := halt.Replace(hook)
				require.Equal(t, *crashed, err != nil)
				for image := range d.Images(someImages, rand.New(rand.NewPCG(5, 6))) {
					switch _, s, err := halt.Open(image); {
					case err != nil:
						require.Nil(t, before)
						require.True(t, *crashed)
						require.NotErrorIs(t, err, halt.ErrUnreadable)
						require.NoError(t, halt.Ensure(image), "it can be made again")
					case *crashed && before != nil:
						require.Contains(t, []halt.State{{}, *before}, s)
					default:
						require.Equal(t, halt.State{}, s)
					}
				}
				if !*crashed {
					require.GreaterOrEqual(t, k, 5)
					break
				}
			}
		})
	}
}

// TestLyingSync is the control of these tests: on a disk whose sync does nothing
// they find states that were lost.
func TestLyingSync(t *testing.T) {
	for lie := range 2 {
		d := made(t)
		syncs := 0
		h, _, err := halt.Open(&durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
			if op.Kind == durable.OpSync {
				syncs++
				return durable.Verdict{Skip: lie == 1 || syncs == 2}
			}
			return durable.Verdict{}
		}})
		require.NoError(t, err)
		require.NoError(t, h.Store(states[3]))
		lost := 0
		eachImage(d, someImages, func(image *durable.Mem) {
			if _, s, err := halt.Open(image); err != nil || !s.Killed {
				lost++
			}
		})
		if lie == 0 {
			require.Zero(t, lost, "the first copy was durable")
		} else {
			require.Positive(t, lost)
		}
	}
}
