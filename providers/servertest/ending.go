package servertest

import (
	"context"
	"sync"
	"testing"
)

// Ending is the test's context with a deadline that passes when end is called:
// once the call under test has come as far as it is to come, however long that
// takes on a busy machine.
func Ending(t testing.TB) (ctx context.Context, end func()) {
	done := make(chan struct{})
	return ending{t.Context(), done}, sync.OnceFunc(func() { close(done) })
}

type ending struct {
	context.Context
	done chan struct{}
}

func (e ending) Done() <-chan struct{} { return e.done }

func (e ending) Err() error {
	select {
	case <-e.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
