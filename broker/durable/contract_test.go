package durable_test

import (
	"testing"

	"secretctl/broker/durable"
	"secretctl/broker/durable/durabletest"
)

func TestHomeKeepsContract(t *testing.T) {
	durabletest.Run(t, func(t *testing.T) durable.Disk { d, _ := home(t); return d })
}

func TestMemKeepsContract(t *testing.T) {
	durabletest.Run(t, func(*testing.T) durable.Disk { return durable.NewMem() })
}

// TestHookKeepsContract: a hook that lets everything happen is not there.
func TestHookKeepsContract(t *testing.T) {
	durabletest.Run(t, func(*testing.T) durable.Disk { return &durable.Hook{Disk: durable.NewMem()} })
}

// TestImageKeepsContract: what a crash leaves is a disk like any other.
func TestImageKeepsContract(t *testing.T) {
	durabletest.Run(t, func(t *testing.T) durable.Disk {
		for image := range durable.NewMem().Images(1, nil) {
			return image
		}
		t.Fatal("there is no image")
		return nil
	})
}
