package storetest_test

import (
	"errors"
	"testing"

	"secretctl/providers/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Subject {
		m := new(storetest.Memory)
		return storetest.Subject{
			Store: m,
			Break: func() func() { return m.Break(errors.New("it is elsewhere")) },
			Keep: func(value []byte) (ref string, change func([]byte)) {
				m.Keep("the red box", value)
				return "the red box", func(value []byte) { m.Keep("the red box", value) }
			},
		}
	})
}
