// Package scan finds secrets that lie about in plaintext: in trees of files, in
// the history of git repositories, in what is about to be committed, and in the
// places where the tools of a developer's machine are known to leave them.
//
// It guards against the copies that moving a secret into the vault leaves
// behind. It does not guard against whoever wants to hide one: what is
// compressed, encrypted, spelled backwards or in a file that calls itself
// binary is not found, and a comment can allow a find.
//
// A find says where it is and why, never what. What is searched is hostile: it
// is opened beneath the directory that was named, without following links and
// without waiting for anybody, and one file that cannot be read stops nothing.
package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"secretctl/broker/shape"
)

// Finding is a secret in plaintext.
type Finding struct {
	Path        string // as it was reached from the path that was named
	Commit      string // that brought it, for what is in the history of a repository
	Line        int    // counted from 1, as Column, in bytes
	Column      int
	Rule        string // the ID of a rule of package shape, or one of those below
	What        string // for people
	Secret      string // the name of the secret in the vault whose value it is, "" for a guess
	Fingerprint string // names the place in a file of allowed finds: see [AllowFile]
}

// The rules beside those of package shape.
const (
	RuleVault       = "vault"           // a value that the vault holds, in any of its forms
	RuleSecretName  = "secret-name"     // a variable of a file of variables, by its name
	RuleHighEntropy = "high-entropy"    // the same, by its value
	RulePgpass      = "pgpass-password" // a line of .pgpass
)

// rules are those rules, for people.
var rules = map[string]string{
	RuleVault:       "value of a secret in the vault",
	RuleSecretName:  "variable with the name of a secret",
	RuleHighEntropy: "variable with a value like a key",
	RulePgpass:      "password of a database",
}

// Rule is what a find may be reported under.
type Rule struct{ ID, What string }

// Rules returns them all, by ID.
func Rules() []Rule {
	var out []Rule
	for _, r := range shape.Rules() {
		out = append(out, Rule{r.ID, r.What})
	}
	for id, what := range rules {
		out = append(out, Rule{id, what})
	}
	slices.SortFunc(out, func(a, b Rule) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Hit is where the value of a secret in the vault stands in a buffer.
type Hit struct {
	Name       string
	Start, End int
}

// Scanner searches. The zero value is one that knows the shapes of secrets and
// none of their values.
type Scanner struct {
	// History has the history of every repository that is met searched, too.
	History bool
	// Known finds the values that are held in the vault, in order of their
	// beginnings. nil: none are known. It is called by several goroutines at once.
	Known func(b []byte) []Hit
	// Longest is how long the longest is that Known finds, in bytes.
	Longest int

	files, bytes, allowed atomic.Int64

	mu       sync.Mutex // protects what follows
	findings []Finding
	troubles []error
}

// Progress is how far a scan has come.
type Progress struct {
	Files    int64 // that were read, or versions of files
	Bytes    int64
	Allowed  int64 // finds that a comment or a file allows
	Findings int
}

// Progress may be asked for at any time.
func (s *Scanner) Progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Progress{s.files.Load(), s.bytes.Load(), s.allowed.Load(), len(s.findings)}
}

// Findings returns what was found so far, by place.
func (s *Scanner) Findings() []Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Commit, b.Commit), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), cmp.Compare(a.Rule, b.Rule))
	})
	s.findings = slices.Compact(s.findings)
	return slices.Clone(s.findings)
}

// Troubles returns what could not be searched, and why, in no order.
func (s *Scanner) Troubles() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.troubles)
}

func (s *Scanner) found(all []Finding) {
	if len(all) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.findings = append(s.findings, all...)
}

// trouble notes that something was not searched. Being told to stop is none.
func (s *Scanner) trouble(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.troubles = append(s.troubles, err)
}

// troublef is trouble with a place.
func (s *Scanner) troublef(path string, err error) {
	if err != nil {
		s.trouble(fmt.Errorf("reading %q: %w", path, err))
	}
}

// workers starts as many searchers as there are processors, each with buffers
// of its own. They end when their work does.
func (s *Scanner) workers(do func(*text)) *sync.WaitGroup {
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			t := &text{s: s, buf: make([]byte, window+s.longer())}
			defer clear(t.buf) // it held what was found
			do(t)
		})
	}
	return &all
}
