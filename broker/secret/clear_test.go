package secret

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClearWaits(t *testing.T) {
	v, err := New([]byte("correct horse"))
	require.NoError(t, err)
	mem := v.cell().b
	cleared := make(chan struct{})
	require.NoError(t, v.Use(func(b []byte) error {
		go func() {
			defer close(cleared)
			v.Clear()
		}()
		for v.cell().mu.TryRLock() { // until Clear is waiting
			v.cell().mu.RUnlock()
			runtime.Gosched()
		}
		select {
		case <-cleared:
			t.Error("cleared while it was used")
		default:
		}
		require.Equal(t, "correct horse", string(b))
		return nil
	}))
	<-cleared
	require.Equal(t, make([]byte, 13), mem)
}

// Only one comparison at a time has two values in use: two in opposite order
// would wait for each other as soon as others wait to clear both.
func TestEqualIsAlone(t *testing.T) {
	v, err := New([]byte("correct"))
	require.NoError(t, err)
	defer v.Clear()
	w, err := New([]byte("correct"))
	require.NoError(t, err)
	defer w.Clear()
	var using, alone bool
	between := Value{func() *cell {
		if using = !v.cell().mu.TryLock(); !using {
			v.cell().mu.Unlock()
		} else if alone = !comparing.TryLock(); !alone {
			comparing.Unlock()
		}
		return w.cell()
	}}
	require.True(t, v.Equal(between))
	require.True(t, using)
	require.True(t, alone)
}
