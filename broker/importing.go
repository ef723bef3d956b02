package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"secretctl/broker/audit"
	"secretctl/broker/config"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
	"secretctl/providers"
)

// ImportEntry is one value to take in.
type ImportEntry struct {
	Name  secret.Name
	Env   string // the name it is offered under in an environment; "": as before
	Value secret.Value
}

// ImportOptions say how values are taken in. The zero value puts them where
// they belong.
type ImportOptions struct {
	Store  string // "": where the secret is, or the default
	DryRun bool   // only say what would happen
}

// ImportResult is what became of one entry.
type ImportResult struct {
	Name    secret.Name `json:"name"`
	Action  string      `json:"action"`  // "created", "updated" or "unchanged"
	Version uint64      `json:"version"` // the current one now; of a dry run, then
}

// importWriters is how many values of a batch are being written to their store at
// once: each may wait for the disk. Tests that crash at each change have one.
var importWriters = 16

// incoming is one entry on its way in.
type incoming struct {
	ImportEntry
	entry  ledger.Entry
	store  *placed
	result ImportResult
	put    bool // a version is to be put
	sum    providers.Sum
	err    error
}

// prepare puts the entries of a batch in their stores, where nobody knows of them
// yet.
func (b *Broker) prepare(ctx context.Context, entries []ImportEntry, o ImportOptions) ([]incoming, error) {
	batch := make([]incoming, len(entries))
	for i := range entries {
		in := &batch[i]
		in.ImportEntry = entries[i]
		if err := b.plan(ctx, in, o); err != nil {
			return nil, unavailable("importing", in.Name, err)
		}
	}
	if o.DryRun {
		return batch, nil
	}
	return batch, b.putAll(ctx, batch)
}

// plan works out what is to be done for an entry.
func (b *Broker) plan(ctx context.Context, in *incoming, o ImportOptions) (err error) {
	asked := o.Store
	if o.DryRun { // takes nothing in from there
		asked = ""
	}
	if err := b.busy(ctx, "importing", in.Name, asked); err != nil {
		return err
	}
	in.entry, err = b.ledger.Raw(in.Name)
	if err != nil && !errors.Is(err, ledger.ErrNoEntry) {
		return err
	}
	existed := err == nil && !in.entry.Removed && in.entry.Current != 0
	if !o.DryRun {
		if err := b.finishRemoval(ctx, &in.entry); err != nil {
			return err
		}
	}
	in.entry.Name = in.Name
	if err := b.kept("importing", &in.entry); err != nil {
		return err
	}
	if err := b.place(&in.entry, in.Name, o.Store); err != nil {
		return err
	}
	if in.store, err = b.store(in.entry.Store); err != nil {
		return err
	}
	in.result = ImportResult{in.Name, "created", max(in.entry.Next, 1)}
	if existed {
		current, err := b.values.openWithRoom(ctx, held{in.Name, in.entry.Current})
		if err != nil {
			return err
		}
		defer current.Clear()
		if current.Equal(in.Value) {
			in.result = ImportResult{in.Name, "unchanged", in.entry.Current}
			return nil
		}
		in.result.Action = "updated"
	}
	in.put = true
	if o.DryRun {
		return nil
	}
	return b.reserve(ctx, &in.entry, in.result.Version)
}

// putAll puts the new versions, together where their store can, and reads them
// back.
func (b *Broker) putAll(ctx context.Context, batch []incoming) error {
	puts := make(map[*placed]providers.Batch)
	for i := range batch {
		if in := &batch[i]; in.put && puts[in.store] == nil {
			puts[in.store] = in.store.Batch()
		}
	}
	eachPut(batch, func(in *incoming) error { return put(ctx, in, puts[in.store]) })
	failed := firstFailed(batch)
	for _, p := range puts {
		if failed == nil {
			failed = notPut(p.Commit())
		}
		failed = errors.Join(failed, p.Discard())
	}
	if failed == nil {
		eachPut(batch, func(in *incoming) error { return b.readBack(ctx, in) })
		for i := range batch {
			if in := &batch[i]; errors.Is(in.err, secret.ErrFull) { // the others' values were in the way
				in.err = b.readBack(ctx, in)
			}
		}
		failed = firstFailed(batch)
	}
	if failed != nil {
		return errors.Join(failed, discardAll(ctx, batch))
	}
	return nil
}

// eachPut does something for each entry that is to be put, several at a time.
func eachPut(batch []incoming, do func(*incoming) error) {
	var all sync.WaitGroup
	slots := make(chan struct{}, importWriters)
	for i := range batch {
		if in := &batch[i]; in.put {
			slots <- struct{}{}
			all.Go(func() { in.err = do(in); <-slots })
		}
	}
	all.Wait()
}

func firstFailed(batch []incoming) error {
	for i := range batch {
		if in := &batch[i]; in.err != nil {
			return unavailable("importing", in.Name, in.err)
		}
	}
	return nil
}

// notPut is the error of versions that could not be put together.
func notPut(err error) error {
	if err == nil {
		return nil
	}
	return &Error{CodeStoreUnavailable, fmt.Sprintf("importing: %v", err), "secretctl status"}
}

// put adds a version to a batch.
func put(ctx context.Context, in *incoming, to providers.Batch) (err error) {
	// A crash between the store and the ledger leaves a version nobody knows.
	if err := in.store.Delete(ctx, in.Name, in.result.Version); err != nil {
		return err
	}
	in.sum, err = to.Put(ctx, in.Name, in.result.Version, in.Value)
	return err
}

// readBack compares a version as it rests with the value that was given.
func (b *Broker) readBack(ctx context.Context, in *incoming) error {
	back, err := b.getWithRoom(ctx, in.store, held{in.Name, in.result.Version}, in.sum)
	if err != nil {
		return fmt.Errorf("reading it back: %w", err)
	}
	defer back.Clear()
	if !back.Equal(in.Value) {
		return errors.New("the store gives back another value than it was given")
	}
	return nil
}

// discardAll removes versions that nobody is to know of.
func discardAll(ctx context.Context, batch []incoming) (err error) {
	for i := range batch {
		if in := &batch[i]; in.put {
			err = errors.Join(err, in.store.Delete(ctx, in.Name, in.result.Version))
		}
	}
	return err
}

// publishAll makes the new versions current: recorded first, then all at once.
func (b *Broker) publishAll(ctx context.Context, c *Caller, batch []incoming) error {
	var records []*audit.Record
	var changed []*ledger.Entry
	gone := make(map[*incoming][]uint64)
	for i := range batch {
		in := &batch[i]
		renamed := in.Env != "" && in.Env != in.entry.Env
		if renamed {
			in.entry.Env = in.Env
		}
		if in.put {
			r := b.record(c, audit.EventSet)
			r.Secret, r.Version, r.Decision = in.Name, in.result.Version, audit.Allow
			records = append(records, r)
			gone[in] = b.publish(&in.entry, in.result.Version, in.sum)
			imported := in.entry.Versions[in.result.Version]
			imported.AtLeast = true // nobody knows how long it lay there
			in.entry.Versions[in.result.Version] = imported
		}
		if in.put || renamed {
			changed = append(changed, &in.entry)
		}
	}
	if err := b.log.AppendAll(records); err != nil {
		return errors.Join(b.notRecorded(err), discardAll(ctx, batch))
	}
	if len(changed) == 0 {
		return nil
	}
	if err := b.keep(ctx, changed...); err != nil {
		for i := range batch {
			if in := &batch[i]; in.put {
				b.takeBack(ctx, in.store, held{in.Name, in.result.Version}, err)
			}
		}
		return fmt.Errorf("importing: %w", err)
	}
	b.changes.tell()
	for in, versions := range gone {
		b.discard(ctx, in.store, in.Name, versions)
	}
	return nil
}

// importHeader goes before each value in the body of an import, as one line.
type importHeader struct {
	Name string `json:"name"`
	Env  string `json:"env,omitempty"`
	Size int    `json:"size"` // of the value, which follows, in bytes
}

// maxImportHeader is the longest of them, in bytes.
const maxImportHeader = 1 << 10

func postImport(r *request) error {
	q := r.URL.Query()
	o := ImportOptions{Store: q.Get("store"), DryRun: q.Get("dry_run") != ""}
	all, err := r.b.importing(r.Context(), r.c, o, clearAll)
	if err != nil {
		return err
	}
	for more := true; more; {
		var entries []ImportEntry
		entries, more, err = r.importEntries()
		if err != nil {
			clearAll(entries)
			break
		}
		more = all.add(entries) && more
	}
	results, earlier := all.end()
	if err := cmp.Or(earlier, err); err != nil {
		return err
	}
	return r.reply(http.StatusOK, results)
}

func clearAll(entries []ImportEntry) {
	for _, e := range entries {
		e.Value.Clear()
	}
}

// importEntries reads as many entries as are done together, and whether more
// may follow.
func (r *request) importEntries() (entries []ImportEntry, more bool, err error) {
	for bytes := 0; len(entries) < importTogether() && bytes < importBytes; {
		r.w.c.within(valueTime)
		e, err := r.importEntry()
		if err == io.EOF {
			return entries, false, nil
		}
		if err != nil {
			return entries, false, err
		}
		entries = append(entries, e)
		bytes += e.Value.Len()
	}
	return entries, true, nil
}

// importEntry reads one entry. It reads its header byte by byte, so that what
// follows goes into locked memory and nowhere else.
func (r *request) importEntry() (ImportEntry, error) {
	cut := badRequest("the import did not arrive whole", "")
	var line []byte
	for one := make([]byte, 1); ; {
		_, err := io.ReadFull(r.Body, one)
		switch {
		case err == io.EOF && len(line) == 0:
			return ImportEntry{}, io.EOF
		case err != nil || len(line) == maxImportHeader:
			return ImportEntry{}, cut
		}
		if one[0] == '\n' {
			break
		}
		line = append(line, one[0])
	}
	var h importHeader
	if err := json.Unmarshal(line, &h); err != nil {
		return ImportEntry{}, cut
	}
	name, err := secret.ParseName(h.Name)
	switch {
	case err != nil:
		return ImportEntry{}, badRequest(err.Error(), "secretctl import --map KEY=NAME")
	case h.Env != "" && config.ObeyedEnv(h.Env):
		return ImportEntry{}, badRequest(fmt.Sprintf("programs obey a variable called %q, so no secret is offered under it", h.Env), "rename the key, or give the secret its variable in secretctl.toml: env")
	case h.Env != "" && !config.IsEnv(h.Env):
		return ImportEntry{}, badRequest(fmt.Sprintf("%.128q cannot be the name of a variable", h.Env), "")
	case h.Size < 0:
		return ImportEntry{}, cut
	case h.Size > MaxValue:
		return ImportEntry{}, &Error{CodeTooLarge, fmt.Sprintf("the value of %q is longer than 1 MiB", name), ""}
	}
	r.b.values.makeRoom(h.Size)
	value, err := secret.Fill(h.Size, func(b []byte) error {
		_, err := io.ReadFull(r.Body, b)
		return err
	})
	switch {
	case errors.Is(err, secret.ErrFull):
		return ImportEntry{}, &Error{CodeStoreUnavailable, err.Error(), "try again"}
	case err != nil:
		return ImportEntry{}, cut
	}
	return ImportEntry{name, h.Env, value}, nil
}

// Import takes values in. See [Broker.Import].
func (c *Client) Import(ctx context.Context, entries []ImportEntry, o ImportOptions) (out []ImportResult, err error) {
	q := url.Values{}
	if o.Store != "" {
		q.Set("store", o.Store)
	}
	if o.DryRun {
		q.Set("dry_run", "1")
	}
	err = c.send(ctx, http.MethodPost, "/v1/import", q, &importBody{entries: entries}, -1, &out)
	return out, err
}

// importBody is the body of an import. It holds no value: each is read from
// where it is.
type importBody struct {
	entries []ImportEntry // the first is being read
	header  []byte        // what is left of its header
	begun   bool          // the header is, or has been, in header
	at      int           // in its value
}

func (b *importBody) Read(p []byte) (n int, err error) {
	for n < len(p) && len(b.entries) > 0 {
		e := b.entries[0]
		if !b.begun {
			b.header, err = json.Marshal(importHeader{string(e.Name), e.Env, e.Value.Len()})
			if err != nil {
				return n, err
			}
			b.header, b.begun, b.at = append(b.header, '\n'), true, 0
		}
		k := copy(p[n:], b.header)
		n, b.header = n+k, b.header[k:]
		if len(b.header) > 0 {
			break
		}
		done := false
		err = e.Value.Use(func(v []byte) error {
			k := copy(p[n:], v[b.at:])
			n, b.at = n+k, b.at+k
			done = b.at == len(v)
			return nil
		})
		if err != nil {
			return n, fmt.Errorf("importing %q: %w", e.Name, err)
		}
		if done {
			b.entries, b.begun = b.entries[1:], false
		}
	}
	if n == 0 && len(b.entries) == 0 {
		return 0, io.EOF
	}
	return n, nil
}
