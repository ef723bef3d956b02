package broker

import (
	"context"
	"errors"
	"sync"

	"secretctl/broker/secret"
)

// importTogether is how many entries become durable with the same few syncs.
// Each has a file open until then.
var importTogether = sync.OnceValue(func() int { return min(1024, openFiles()/16) })

// importBytes bounds the values of a batch that is taken in beside others, in
// bytes. A value that is longer has the locked memory for itself, where it is
// twice when it is read back.
const importBytes = 256 << 10

// importBatches is how many batches are taken in at once: while one waits for the
// disk, another is sealed. Tests that crash at each change have one.
var importBatches = 2

// Import gives secrets their values. A value that a secret has already makes no
// new version. Each is read back from its store and compared before the secret
// counts as having it. Entries are done in order, some hundreds at a time; the
// error is of the first that could not be, and then those before its batch are
// done and the others are not.
func (b *Broker) Import(ctx context.Context, c *Caller, entries []ImportEntry, o ImportOptions) ([]ImportResult, error) {
	all, err := b.importing(ctx, c, o, func([]ImportEntry) {})
	if err != nil {
		return nil, err
	}
	all.add(entries)
	return all.end()
}

// imports are the batches of one import. They are put in their stores at the same
// time, and become current in order.
type imports struct {
	b   *Broker
	ctx context.Context
	c   *Caller
	o   ImportOptions

	over    func([]ImportEntry) // called with entries that are done, or will not be
	working sync.WaitGroup
	slots   chan struct{} // one a batch under way
	before  chan bool     // says whether the batch that began last, and all before it, were done

	results []ImportResult // of those done

	mu  sync.Mutex
	err error // of the first that was not
}

// importing begins an import, which must be ended. It does not where it could not
// be recorded.
func (b *Broker) importing(ctx context.Context, c *Caller, o ImportOptions, over func([]ImportEntry)) (*imports, error) {
	if b.log == nil {
		return nil, b.notRecorded(b.logErr)
	}
	first := make(chan bool, 1)
	first <- true
	return &imports{b: b, ctx: ctx, c: c, o: o, over: over, slots: make(chan struct{}, importBatches), before: first, results: []ImportResult{}}, nil
}

// end waits for what was added.
func (i *imports) end() ([]ImportResult, error) {
	i.working.Wait()
	return i.results, i.err
}

// add has entries taken in as soon as there is room for them. It reports false
// when some could not be, and no more will.
func (i *imports) add(entries []ImportEntry) bool {
	for len(entries) > 0 {
		n, large := batchOf(entries)
		i.begin(entries[:n], large)
		entries = entries[n:]
	}
	return !i.failed()
}

func (i *imports) failed() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.err != nil
}

// batchOf returns how many of the first entries are done together, no secret
// twice, and whether they need the memory for themselves.
func batchOf(entries []ImportEntry) (n int, large bool) {
	seen := make(map[secret.Name]bool)
	bytes := 0
	for i, e := range entries {
		bytes += e.Value.Len()
		if i > 0 && (i == importTogether() || bytes > importBytes || seen[e.Name]) {
			return i, false
		}
		if bytes > importBytes {
			return 1, true
		}
		seen[e.Name] = true
	}
	return len(entries), false
}

// begin takes a batch in beside those under way, or, if it is large, after them
// and before it returns.
func (i *imports) begin(batch []ImportEntry, large bool) {
	if large {
		i.working.Wait()
		defer i.working.Wait()
	}
	i.slots <- struct{}{}
	// In order: a batch waits for those before it, never for one after.
	unlock := i.b.writing.lock(namesOf(batch)...)
	before, done := i.before, make(chan bool, 1)
	i.before = done
	i.working.Go(func() {
		defer func() { <-i.slots }()
		defer i.over(batch)
		defer unlock()
		done <- i.take(batch, before)
	})
}

func namesOf(entries []ImportEntry) (names []secret.Name) {
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// take takes a batch in, and reports whether it did, and so did those before.
func (i *imports) take(entries []ImportEntry, before <-chan bool) bool {
	var batch []incoming
	var err error
	if !i.failed() {
		batch, err = i.b.prepare(i.ctx, entries, i.o)
	}
	switch {
	case !<-before:
		if err == nil {
			i.fail(discardAll(i.ctx, batch))
		}
		return false
	case err == nil && !i.o.DryRun:
		err = i.b.publishAll(i.ctx, i.c, batch)
	}
	i.fail(err)
	if err != nil {
		return false
	}
	for _, in := range batch {
		i.results = append(i.results, in.result)
	}
	return true
}

func (i *imports) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = errors.Join(i.err, err)
}
