package lease_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/audit"
	"secretctl/broker/clock"
	"secretctl/broker/lease"
)

// full returns a world with everything in its table that a snapshot keeps.
func full(t require.TestingT) *world {
	w := newWorld(t)
	w.clk.StepBoot(100 * time.Hour)
	w.issue(time.Hour)
	w.clk.Advance(time.Second)
	w.clk.StepWall(-time.Minute)
	w.note()
	w.clk.Reboot()
	w.append(&audit.Record{Event: audit.EventStart, BootID: w.clk.BootID()})
	pinned := w.leaseOf(1500 * time.Millisecond)
	pinned.Pinned, pinned.Rule, pinned.Agent, pinned.Version, pinned.PID = true, "", "owner", 1, -1
	w.append(recordOf(audit.EventLease, pinned))
	w.clk.Advance(10 * time.Minute)
	w.append(recordOf(audit.EventLease, w.leaseOf(time.Minute)))
	return w
}

func TestSnapshotRoundTrip(t *testing.T) {
	w := full(t)
	w.reserve(w.leaseOf(time.Hour))
	want := stateOf(t, w.table)
	require.Len(t, want.Leases, 3)
	require.Len(t, want.Issued, 2)

	restored := lease.NewTable(nil)
	require.NoError(t, restored.Restore(w.table.Snapshot()))
	require.Equal(t, want, stateOf(t, restored))
	counts, before := restored.Counts(w.clk.Now()), w.table.Counts(w.clk.Now())
	require.Equal(t, before.Live("rule-1")-1, counts.Live("rule-1"), "a reservation is not kept")
	require.Equal(t, before.LastHour("rule-1")-1, counts.LastHour("rule-1"))
	require.Equal(t, 2, restored.HeldBy("openai/api-key", 3))

	// What it did not keep in sight it still knows: the same records from here on
	// mean the same.
	for _, table := range []*lease.Table{w.table, restored} {
		require.NoError(t, table.Wake(w.clk.Now(), w.clk.BootID()))
		table.Sweep(w.clk.Now())
	}
	require.Equal(t, stateOf(t, w.table), stateOf(t, restored))
}

// Restoring replaces what was there.
func TestRestoreReplaces(t *testing.T) {
	w := full(t)
	empty := lease.NewTable(nil).Snapshot()
	w.reserve(w.leaseOf(time.Hour))
	require.NoError(t, w.table.Restore(empty))
	requireEmpty(t, w.table)
	require.Zero(t, w.live("rule-1"))
}

func requireEmpty(t require.TestingT, table *lease.Table) {
	require.Equal(t, stateOf(t, lease.NewTable(nil)), stateOf(t, table))
	require.Zero(t, table.Len())
	require.Zero(t, table.Epoch())
}

// TestRestoreRefuses has snapshots that no table has made: each is an error
// and leaves an empty table.
func TestRestoreRefuses(t *testing.T) {
	good := goodSnapshot
	require.NoError(t, lease.NewTable(nil).Restore([]byte(good)))
	for what, c := range map[string]struct{ from, to, err string }{
		"empty":                      {good, "", "end of JSON"},
		"cut":                        {good, good[:len(good)-1], "end of JSON"},
		"not JSON":                   {good, "\x00", "invalid character"},
		"something behind it":        {good, good + "{}", "invalid character"},
		"null":                       {good, "null", "format 0"},
		"format 0":                   {`"format":1`, `"format":0`, "format 0 is not known"},
		"format 2":                   {`"format":1`, `"format":2`, "format 2 is not known"},
		"no format":                  {`"format":1,`, ``, "format 0 is not known"},
		"negative epoch":             {`"epoch":2,"b`, `"epoch":-2,"b`, "cannot unmarshal"},
		"boot clock negative":        {`"last_boot_ms":3600000`, `"last_boot_ms":-1`, "boot clock"},
		"boot clock overflows":       {`"last_boot_ms":3600000`, `"last_boot_ms":9223372036854775807`, "boot clock"},
		"id":                         {goodID, "xyz", "hex digits"},
		"id in capitals":             {goodID, strings.ToUpper(goodID), "hex digits"},
		"id twice":                   {`"leases":[`, `"leases":[` + goodLease + `,`, "lease 1: its id"},
		"secret":                     {"openai/api-key", "../key", "lease 0"},
		"ttl negative":               {`"ttl_ms":3600000`, `"ttl_ms":-1`, "duration"},
		"ttl overflows":              {`"ttl_ms":3600000`, `"ttl_ms":9223372036855`, "duration"},
		"deadline negative":          {`"boot_deadline_ms":7200000`, `"boot_deadline_ms":-1`, "duration"},
		"deadline overflows":         {`"boot_deadline_ms":7200000`, `"boot_deadline_ms":9223372036854`, "duration"},
		"deadline beyond ttl":        {`"boot_deadline_ms":7200000`, `"boot_deadline_ms":7201001`, "ends later"},
		"earlier epoch":              {`"epoch":2}`, `"epoch":1}`, "earlier epoch"},
		"uid":                        {`"uid":502`, `"uid":4294967296`, "cannot unmarshal"},
		"minute negative":            {`"29543760":1`, `"-1":1`, "one hour"},
		"minute not a number":        {`"29543760":1`, `"x":1`, "cannot unmarshal"},
		"minute in the future":       {`"29543760":1`, `"29543761":1`, "one hour"},
		"minute at the end":          {`"29543760":1`, `"9223372036854775807":1`, "one hour"},
		"minutes of two hours":       {`"29543760":1`, `"29543760":1,"29543699":1`, "one hour"},
		"count negative":             {`"29543760":1`, `"29543760":-1`, "cannot unmarshal"},
		"count overflows":            {`"29543760":1`, `"29543760":4294967296`, "cannot unmarshal"},
		"a hundred thousand minutes": {`"29543760":1`, manyMinutes(), "one hour"},
	} {
		t.Run(what, func(t *testing.T) {
			bad := strings.Replace(good, c.from, c.to, 1)
			require.NotEqual(t, good, bad)
			w := full(t)
			w.reserve(w.leaseOf(time.Hour))
			began := time.Now()
			err := w.table.Restore([]byte(bad))
			require.ErrorContains(t, err, c.err)
			require.ErrorContains(t, err, "reading the lease snapshot: ")
			requireEmpty(t, w.table)
			require.Zero(t, w.live("rule-1"))
			require.Less(t, time.Since(began), 5*time.Second)
		})
	}
}

const (
	goodID    = "00112233445566778899aabbccddeeff"
	goodLease = `{"id":"` + goodID + `","agent":"openclaw","uid":502,"pid":1,"secret":"openai/api-key","version":3,"door":"value","grant":"r",` +
		`"first_us":1772625600000000,"issued_us":1772625600000000,"expires_us":1772629200000000,"ttl_ms":3600000,"boot_deadline_ms":7200000,"epoch":2}`
	goodSnapshot = `{"format":1,"epoch":2,"boot_id":"b","last_wall_us":1772625600000000,"last_boot_ms":3600000,"leases":[` + goodLease + `],` +
		`"issued":{"r":{"29543760":1}}}`
)

func manyMinutes() string {
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&b, `%s"%d":1`, map[bool]string{true: ","}[i > 0], i)
	}
	return b.String()
}

// FuzzRestore: whatever Restore accepts is a table's state. It comes back from
// its own snapshot, and once awake none of its leases outlives its ttl.
func FuzzRestore(f *testing.F) {
	f.Add(full(f).table.Snapshot())
	f.Add(lease.NewTable(nil).Snapshot())
	f.Add(readFormat(f))
	f.Add([]byte(strings.Replace(goodSnapshot, `"expires_us":1772629200000000`, `"expires_us":1772715600000000`, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		table := lease.NewTable(nil)
		if table.Restore(b) != nil {
			requireEmpty(t, table)
			return
		}
		again := lease.NewTable(nil)
		require.NoError(t, again.Restore(table.Snapshot()))
		require.Equal(t, stateOf(t, table), stateOf(t, again))

		state := stateOf(t, table)
		for _, boot := range []string{"this", state.BootID} {
			now := clock.Reading{Wall: time.UnixMicro(state.LastWall), Boot: time.Duration(state.LastBoot+1000) * time.Millisecond}
			require.NoError(t, again.Wake(now, boot))
			for _, l := range again.List(now, nil) {
				require.LessOrEqual(t, l.BootDeadline-now.Boot, l.TTL+time.Second)
				require.GreaterOrEqual(t, l.Epoch, again.Epoch())
			}
		}
		now := clock.Reading{Wall: time.UnixMicro(state.LastWall), Boot: 1 << 62}
		require.Equal(t, len(state.Leases), again.Sweep(now))
		requireNothingHeld(t, again, state, now)
	})
}

func requireNothingHeld(t *testing.T, table *lease.Table, was state, now clock.Reading) {
	require.Zero(t, table.Len())
	for _, l := range was.Leases {
		require.Zero(t, table.HeldBy(l.Secret, l.Version))
		require.Zero(t, table.Counts(now).Live(l.Rule))
	}
}

// formatFile is a snapshot as the first version wrote it. It stays readable.
const formatFile = "leases-v1.json"

func readFormat(t require.TestingT) []byte {
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "formats", formatFile))
	require.NoError(t, err)
	return b
}

func TestSnapshotFormat1(t *testing.T) {
	table := lease.NewTable(nil)
	require.NoError(t, table.Restore(readFormat(t)))
	require.Equal(t, state{
		Epoch: 3, BootID: "boot-2", LastWall: 1772626141000000, LastBoot: 601000,
		Leases: []stateLease{
			{ID: "00112233445566778899aabbccddeeff", Agent: "openclaw", UID: 502, PID: 4711, Secret: "openai/api-key", Version: 3, Door: "value", Rule: "rule-1",
				First: 1772625600000000, Issued: 1772625600000000, Expires: 1772629200000000, TTL: 3600000, Deadline: 367200000, Epoch: 3, Foreign: true, Stepped: true},
			{ID: "ffeeddccbbaa99887766554433221100", Agent: "owner", Secret: "github/token", Version: 1, Door: "value", Pinned: true,
				First: 1772626141000000, Issued: 1772626141000000, Expires: 1772626201000000, TTL: 60000, Deadline: 661000, Epoch: 4},
		},
		Issued: map[string]map[int64]uint32{"rule-1": {29543759: 2, 29543769: 1}, "": {29543769: 1}},
	}, stateOf(t, table))
}
