package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"secretctl/broker/durable"
)

// deathFile is the file beside the home that says at which durable write a broker
// that is tried dies: which are counted, and how many are left to it.
const deathFile = "death"

// tried is secretctl, but for dying at one of its durable writes, and for waiting
// less where servers on other machines are waited for.
func tried() {
	dir := filepath.Dir(os.Getenv("SECRETCTL_HOME"))
	d := &death{path: filepath.Join(dir, deathFile)}
	testOnlyDisk = func(disk durable.Disk) durable.Disk {
		return dyingDisk{&durable.Hook{Disk: disk, Before: func(durable.Op) durable.Verdict { d.at(anyWrite); return durable.Verdict{} }}, d}
	}
	testOnlyCommandTime = 2 * time.Second
	testOnlySettle = 300 * time.Millisecond // the servers are here
	main()
}

// writes is which durable writes are counted.
type writes string

const (
	commits  writes = "commits" // of the journal, which is the ledger too
	anyWrite writes = "any"     // and every other operation that changes the disk
	lies     writes = "lies"    // commits, none of which is done
)

// death ends the process with SIGKILL at a durable write, by its number from when
// the file was there. A commit has two: before and after.
type death struct {
	path string

	mu    sync.Mutex
	armed bool
	what  writes
	left  int
}

// at is told of a write that is about to be done, or is done.
func (d *death) at(what writes) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.arm() || what == anyWrite && d.what != anyWrite {
		return
	}
	if d.left--; d.left < 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// lying reports whether commits are not done.
func (d *death) lying() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.arm() && d.what == lies
}

func (d *death) arm() bool {
	if !d.armed {
		text, err := os.ReadFile(d.path)
		if err != nil {
			return false
		}
		_, err = fmt.Sscan(string(text), &d.what, &d.left)
		d.armed = err == nil
	}
	return d.armed
}

// dyingDisk is a disk whose database's commits are counted besides.
type dyingDisk struct {
	durable.Disk
	death *death
}

func (d dyingDisk) OpenDB(name string) (durable.DB, error) {
	db, err := d.Disk.OpenDB(name)
	return dyingDB{db, d.death}, err
}

type dyingDB struct {
	durable.DB
	death *death
}

func (d dyingDB) Update(fn func(durable.Tx) error) error {
	d.death.at(commits)
	if d.death.lying() {
		return nil
	}
	err := d.DB.Update(fn)
	d.death.at(commits)
	return err
}
