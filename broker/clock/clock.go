// Package clock is the one place where time is read.
//
// It guards against a lease that outlives its time because somebody set the
// clock back, and against one that outlives it because the machine slept: a
// [Reading] has the wall clock, which people and logs use, and the time since
// boot with sleep included, which nobody can set. Whoever bounds something by
// time checks both.
package clock

import (
	"sync"
	"time"
)

// Reading is one look at both clocks.
type Reading struct {
	Wall time.Time     // UTC, without a monotonic part: comparing two is comparing what the clock showed
	Boot time.Duration // since boot, sleep included
}

// Clock is read wherever time matters. It is safe for concurrent use.
type Clock interface {
	Now() Reading
	// BootID names the boot that Reading.Boot counts from. Readings of two boots
	// cannot be compared. It is empty where the system does not say, and then no
	// two boots are the same.
	BootID() string
}

// System returns the machine's clocks.
func System() Clock { return system{} }

type system struct{}

func (system) Now() Reading {
	return Reading{Wall: time.Now().UTC().Round(0), Boot: sinceBoot()}
}

// BootID is read once: it cannot change while the process lives.
func (system) BootID() string { return bootID() }

var bootID = sync.OnceValue(readBootID)

// Fake is a clock that tests move. Make one with [NewFake].
type Fake struct {
	mu   sync.Mutex
	now  Reading
	boot string
}

// NewFake returns a clock that shows start, an hour after boot.
func NewFake(start time.Time) *Fake {
	return &Fake{now: Reading{Wall: start.UTC().Round(0), Boot: time.Hour}, boot: "boot-1"}
}

// Now returns what the clocks show.
func (f *Fake) Now() Reading {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// BootID returns the name of this boot.
func (f *Fake) BootID() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.boot
}

// Advance lets time pass, on both clocks.
func (f *Fake) Advance(d time.Duration) { f.move(d, d) }

// StepWall sets the wall clock forward or back.
func (f *Fake) StepWall(d time.Duration) { f.move(d, 0) }

// StepBoot moves only the boot clock, which no sound system does.
func (f *Fake) StepBoot(d time.Duration) { f.move(0, d) }

func (f *Fake) move(wall, boot time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now.Wall = f.now.Wall.Add(wall)
	f.now.Boot += boot
}

// Reboot starts another boot: the boot clock begins again.
func (f *Fake) Reboot() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now.Boot = time.Second
	f.boot += "'"
}
