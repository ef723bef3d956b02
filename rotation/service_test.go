package rotation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// spec is one kind of service.
type spec struct {
	name    string
	kind    providers.Kind
	managed bool          // another credential is asked with
	limit   int           // credentials at a time; 0: any number
	slow    time.Duration // before a new one is known everywhere: until then it is refused every other time, and not listed for a third of that
	lag     time.Duration // an ended one is accepted so long
	hand    bool          // only a person can end one
}

// The shapes, one service each, and what real ones do besides.
var specs = []*spec{
	{name: "set", kind: providers.Kind{Shape: providers.ShapeSet, Overlap: true}},
	{name: "set alone", kind: providers.Kind{Shape: providers.ShapeSet}},
	{name: "create", kind: providers.Kind{Shape: providers.ShapeCreate, Overlap: true}},
	{name: "create slow", kind: providers.Kind{Shape: providers.ShapeCreate, Overlap: true, Proofs: 2, ProofGap: 2 * time.Second, Lag: 10 * time.Second}, limit: 2, slow: 15 * time.Second, lag: 10 * time.Second},
	{name: "roll", kind: providers.Kind{Shape: providers.ShapeRoll}},
	{name: "roll lag", kind: providers.Kind{Shape: providers.ShapeRoll, Lag: 2 * time.Minute}, lag: 2 * time.Minute},
	{name: "roll managed", kind: providers.Kind{Shape: providers.ShapeRoll}, managed: true},
	{name: "refresh", kind: providers.Kind{Shape: providers.ShapeRefresh}},
	{name: "manual", kind: providers.Kind{Shape: providers.ShapeManual, Overlap: true}},
	{name: "manual by hand", kind: providers.Kind{Shape: providers.ShapeManual, Overlap: true}, hand: true},
}

func specOf(name string) *spec {
	return specs[slices.IndexFunc(specs, func(s *spec) bool { return s.name == name })]
}

// keepsOld: a credential that was made by hand and is not used stays the
// person's.
func (s *spec) keepsOld(last providers.Progress) bool {
	return s.kind.Shape == providers.ShapeManual && last.State != string(Done)
}

// cred is one credential at the service.
type cred struct {
	id, value, tag string
	made, ended    time.Time // ended zero: it is valid
	disabled       bool
	asked          int // times
}

// service is where the credentials are. It keeps to its shape strictly.
type service struct {
	w      *world
	creds  []*cred
	serial int
	spent  map[string]bool // refresh tokens

	issues, answered int  // calls to Issue, and those that had an answer
	doubt, settled   bool // an answer to Issue was lost; and it was looked since
	verified         bool // the new one was accepted
	account          string
	newAccount       string
	refuse           func(action string) error // an answer of its own, before anything happens
	instead          func(action string) error // one in place of the right one, when all was done
	garbage          func(*providers.Credential) *providers.Credential
	undead           bool // ending one has no effect
	calls            []call
}

// call is one that was made.
type call struct {
	what string
	at   time.Time
}

func newService(w *world) *service {
	s := &service{w: w, spent: map[string]bool{}, account: "joel", newAccount: "joel"}
	s.add("")
	s.creds[0].made = epoch.Add(-24 * time.Hour)
	return s
}

func (s *service) add(tag string) *cred {
	s.serial++
	c := &cred{id: fmt.Sprintf("id%d", s.serial), value: minted(s.serial), tag: tag, made: s.w.now}
	s.creds = append(s.creds, c)
	return c
}

// byHand is a person who makes one.
func (s *service) byHand() string { return s.add("").value }

// person ends the old one by hand.
func (s *service) person() {
	s.end(s.byValue(s.w.vault.values[s.w.flight().From.Number]))
	s.w.look("the person")
}

func (s *service) byValue(v string) *cred {
	return s.first(func(c *cred) bool { return c.value == v })
}

func (s *service) first(is func(*cred) bool) *cred {
	if i := slices.IndexFunc(s.creds, is); i >= 0 {
		return s.creds[i]
	}
	return nil
}

func (s *service) end(c *cred) {
	if c != nil && c.ended.IsZero() && !s.undead {
		c.ended = s.w.now
	}
}

// known reports whether all of the service know a new one.
func (s *service) known(c *cred) bool { return s.w.now.Sub(c.made) >= s.w.spec.slow }

// accepts reports whether the value works, at least where it was asked last.
func (s *service) accepts(v string) bool {
	c := s.byValue(v)
	if c == nil || c.disabled {
		return false
	}
	return c.ended.IsZero() && s.known(c) || !c.ended.IsZero() && s.w.now.Sub(c.ended) < s.w.spec.lag
}

// valid is all that works.
func (s *service) valid() (values []string) {
	for _, c := range s.creds {
		if c.ended.IsZero() && !c.disabled {
			values = append(values, c.value)
		}
	}
	return values
}

// call makes a call that changes something, with the fault there is.
func (s *service) call(what string, do func() error) (err error) {
	faults := ofCall
	if r := s.w.flight(); what == "issue" && r.rolls() {
		faults = ofRoll
	}
	lost := providers.Maybe(providers.CodeUnavailable, "no answer")
	switch s.w.at(what, faults) {
	case crashBefore:
		s.w.dead = true
		return lost
	case crashAfter:
		_ = do()
		s.w.look(what)
		s.w.dead = true
		return lost
	case failBefore:
		return lost
	case failAfter:
		_ = do()
		s.w.look(what)
		return lost
	case late:
		s.later(do)
		return lost
	case twiceLate:
		s.later(do)
	case twice:
		err = do()
		_ = do()
		s.w.look(what)
		return err
	}
	err = do()
	s.w.look(what)
	return err
}

func (s *service) later(do func() error) {
	s.w.late = append(s.w.late, delivery{s.w.now.Add(20 * time.Second), func() { _ = do() }})
}

// asked is a call that only looks.
func (s *service) asked(what string) error {
	switch s.w.at(what, ofLook) {
	case crashBefore:
		s.w.dead = true
		return providers.Maybe(providers.CodeUnavailable, "no answer")
	case failBefore:
		return providers.Maybe(providers.CodeUnavailable, "no answer")
	}
	return nil
}

// says is what a test has the service answer.
func (s *service) says(when func(string) error, action string) error {
	if len(s.calls) < 1000 {
		s.calls = append(s.calls, call{action, s.w.now})
	}
	if when == nil {
		return nil
	}
	return when(action)
}

func (s *service) rotator() providers.Rotator {
	if s.w.spec.kind.Shape == providers.ShapeSet {
		return chooser{fake{s}}
	}
	return fake{s}
}

// fake is the provider of the service.
type fake struct{ *service }

type chooser struct{ fake }

func (c chooser) Choose(context.Context, *providers.Call) (*providers.Credential, error) {
	if err := c.says(c.refuse, "choose"); err != nil {
		return nil, err
	}
	c.serial++
	return &providers.Credential{Value: c.w.value(minted(c.serial))}, nil
}

func (f fake) Check(context.Context, *providers.Call) (providers.Identity, error) {
	if err := f.says(f.refuse, "check"); err != nil {
		return providers.Identity{}, err
	}
	return providers.Identity{Account: f.account}, f.asked("check")
}

func (f fake) Issue(_ context.Context, c *providers.Call, next *providers.Credential) (*providers.Credential, error) {
	s := f.service
	undoing := s.w.flight().Back
	if !undoing {
		s.issues++
		switch shape := s.w.flight().Shape; {
		case shape == providers.ShapeCreate && s.issues > maxIssues+s.refusals():
			s.w.violated("asked %d times", s.issues)
		case shape == providers.ShapeRefresh && s.issues > 2:
			s.w.violated("a refresh token was sent %d times", s.issues)
		case shape == providers.ShapeRoll && s.doubt && !s.settled:
			s.w.violated("a blind retry")
		}
		s.doubt, s.settled = true, false
	}
	if err := s.says(s.refuse, "issue"); err != nil {
		if providers.OutcomeOf(err) == providers.DefinitelyNot {
			s.doubt = false
			s.answered++
		}
		return nil, err
	}
	var made *cred
	var value, old string
	if next != nil {
		value = text(next.Value)
	}
	if c.Old != nil {
		old = text(c.Old.Value)
	}
	err := s.call("issue", func() error {
		m, err := s.issue(c.Tag, old, value)
		if made == nil {
			made = m
		}
		return err
	})
	if err == nil {
		err = s.says(s.instead, "issue")
	}
	if err != nil {
		if providers.OutcomeOf(err) == providers.DefinitelyNot {
			s.doubt = false
			s.answered++
		}
		return nil, err
	}
	s.doubt = false
	if next != nil {
		return next, nil
	}
	reply := &providers.Credential{ID: made.id, Value: s.w.value(made.value), Created: made.made}
	if s.garbage != nil {
		return s.garbage(reply), nil
	}
	return reply, nil
}

// refusals is how many calls to Issue certainly made nothing.
func (s *service) refusals() int { return s.answered }

// issue is what the service does.
func (s *service) issue(tag, old, value string) (*cred, error) {
	switch s.w.spec.kind.Shape {
	case providers.ShapeSet:
		if !s.w.spec.kind.Overlap {
			for _, c := range s.creds {
				s.end(c)
			}
		}
		if c := s.byValue(value); c != nil {
			c.ended, c.disabled = time.Time{}, false
			return c, nil
		}
		c := s.add("")
		c.value = value
		return c, nil
	case providers.ShapeCreate:
		if s.w.spec.limit > 0 && len(s.valid()) >= s.w.spec.limit {
			return nil, providers.Not(providers.CodeLimit, "there are %d credentials already", s.w.spec.limit)
		}
		return s.add(tag), nil
	case providers.ShapeRoll:
		c := s.byValue(old)
		if (c == nil || !c.ended.IsZero()) && !s.w.spec.managed {
			return nil, providers.Not(providers.CodeDenied, "the old one is not valid")
		}
		for _, c := range s.creds {
			s.end(c)
		}
		n := s.add("")
		n.id = s.creds[0].id // it keeps its name
		return n, nil
	case providers.ShapeRefresh:
		if c := s.byValue(old); c == nil || !c.ended.IsZero() || s.spent[old] {
			for _, c := range s.creds { // reuse: the whole family ends
				s.end(c)
			}
			return nil, providers.Not(providers.CodeInvalid, "the token was used")
		}
		s.spent[old] = true
		s.end(s.byValue(old))
		return s.add(""), nil
	}
	return nil, providers.Not(providers.CodeUnsupported, "a person makes it")
}

func (f fake) Find(_ context.Context, c *providers.Call) (found []providers.Credential, err error) {
	if err := f.says(f.refuse, "find"); err != nil {
		return nil, err
	}
	blind := f.w.blind == "find" || f.w.blind == "find at the end" && f.w.flight().State == Retired
	if err := f.asked("find"); err != nil || blind {
		return nil, err
	}
	for _, k := range f.creds {
		listed := k.ended.IsZero() || f.w.now.Sub(k.ended) < f.w.spec.lag
		if k.tag == c.Tag && listed && f.w.now.Sub(k.made) >= f.w.spec.slow/3 {
			found = append(found, providers.Credential{ID: k.id})
		}
	}
	return found, nil
}

func (f fake) Verify(_ context.Context, call *providers.Call, cred *providers.Credential) (who providers.Identity, err error) {
	s := f.service
	v := text(cred.Value)
	isNew := call.New != nil && call.New.Value.Equal(cred.Value)
	what := "verify old"
	if isNew {
		what = "verify"
	}
	if err := s.says(s.refuse, what); err != nil {
		return who, err
	}
	if err := s.asked(what); err != nil || s.w.blind == what {
		return who, err
	}
	who.Account = s.account
	if isNew {
		who.Account = s.newAccount
	}
	c := s.byValue(v)
	ok := s.accepts(v)
	if c != nil && c.ended.IsZero() && !c.disabled && !s.known(c) {
		c.asked++
		ok = c.asked%2 == 0
	}
	if !ok {
		if !isNew {
			s.settled = true
		}
		return who, providers.Not(providers.CodeInvalid, "it is refused")
	}
	if isNew {
		s.verified = true
	}
	return who, nil
}

func (f fake) Disable(_ context.Context, call *providers.Call, cred *providers.Credential) error {
	if err := f.says(f.refuse, "disable"); err != nil {
		return err
	}
	if f.w.spec.hand || f.w.spec.kind.Shape == providers.ShapeSet {
		return providers.Not(providers.CodeUnsupported, "there is no way to stop it")
	}
	v := text(cred.Value)
	err := f.call("disable", func() error {
		f.ending(v)
		if c := f.byValue(v); c != nil {
			c.disabled = true
		}
		return nil
	})
	if err == nil {
		err = f.says(f.instead, "disable")
	}
	return err
}

// ending checks that nothing is ended too early.
func (s *service) ending(v string) {
	if r := s.w.flight(); r != nil && !r.Back && v == s.w.vault.values[r.From.Number] {
		if s.w.vault.current != r.To || !s.verified {
			s.w.violated("the old one is ended while version %d is current; the new one was verified: %v", s.w.vault.current, s.verified)
		}
	}
}

func (f fake) Revoke(_ context.Context, call *providers.Call, cred *providers.Credential) error {
	if err := f.says(f.refuse, "revoke"); err != nil {
		return err
	}
	if f.w.spec.hand {
		e := providers.Not(providers.CodeUnsupported, "only a person can end it")
		e.Remedy = "end it at the page"
		return e
	}
	id, v := cred.ID, ""
	if !cred.Value.IsZero() {
		v = text(cred.Value)
	}
	if f.w.spec.kind.Shape == providers.ShapeSet {
		id = ""
	}
	err := f.call("revoke", func() error {
		if v != "" {
			f.ending(v)
		}
		for _, c := range f.creds {
			if id != "" && c.id == id || id == "" && c.value == v {
				f.end(c)
			}
		}
		return nil
	})
	if err == nil {
		err = f.says(f.instead, "revoke")
	}
	return err
}

func (f fake) Identify(_ context.Context, _ *providers.Call, cred *providers.Credential) error {
	var v secret.Value = cred.Value
	if c := f.byValue(text(v)); c != nil {
		cred.ID = c.id
		return nil
	}
	return providers.Not(providers.CodeNotFound, "there is no such credential")
}
