package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"secretctl/broker"
	"secretctl/broker/config"
	"secretctl/broker/secret"
	"secretctl/broker/shape"
	"secretctl/cmd/secretctl/dotenv"
)

// What becomes of an entry: what the broker says, such as actionUpdated, or one of
// the others.
const (
	actionCreated  = "created"
	actionUpdated  = "updated"
	actionLeft     = "left"     // in the file
	actionRestored = "restored" // to the file, by --undo
)

// plan is what is to be done with one file.
type plan struct {
	path   string
	file   *dotenv.File
	moves  []move
	remain []remain
	done   bool // the file was rewritten
}

// move is what becomes of one entry.
type move struct {
	entry  *dotenv.Entry
	index  int         // of the entry
	name   secret.Name // "" where it is left and is no reference
	env    string      // the name it is offered under in an environment; "": none
	action string      // "": it is to be imported
	why    string
}

func (m *move) taken() bool { return m.action != actionLeft }

func (m *move) leave(why string) { m.action, m.why = actionLeft, why }

// choosing is how it is decided what goes in, and under which name.
type choosing struct {
	prefix string
	names  map[string]secret.Name // by key, from --map
	all    bool
}

// plan decides what becomes of the entries of a file.
func (c *choosing) plan(path string, f *dotenv.File) (*plan, error) {
	p := &plan{path: path, file: f}
	for i := range f.Entries() {
		e := &f.Entries()[i]
		m := move{entry: e, index: i}
		c.decide(&m)
		p.moves = append(p.moves, m)
	}
	for i := range p.moves {
		if m := &p.moves[i]; m.taken() {
			if err := c.name(p, m); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

// decide settles whether an entry is taken.
func (c *choosing) decide(m *move) {
	_, mapped := c.names[m.entry.Key]
	name, isReference := dotenv.Reference(m.entry.Value)
	rule, looks := shape.LooksSecret(m.entry.Key, m.entry.Value)
	switch {
	case isReference:
		m.leave("it is in the vault already")
		m.name = secret.Name(name) // as it is written there; nothing is done with it
	case len(m.entry.Value) == 0:
		m.leave("it is empty")
	case len(m.entry.Value) > broker.MaxValue:
		m.leave("it is longer than 1 MiB")
	case mapped:
		m.why = "--map"
	case looks:
		m.why = ruleWhat(rule)
	case c.all:
		m.why = "--all"
	case shape.NamesSecret(m.entry.Key):
		m.leave("its name says secret, its value looks like an example; --map " + m.entry.Key + "=NAME takes it")
	default:
		m.leave("it does not look secret")
	}
}

// ruleWhat says to a person why something looks like a secret.
func ruleWhat(rule string) string {
	switch rule {
	case "secret-name":
		return "its name says so"
	case "high-entropy":
		return "it looks random"
	}
	for _, r := range shape.Rules() {
		if r.ID == rule {
			return r.What
		}
	}
	return rule
}

// name settles the name of a secret. Where a key is assigned to several times, the
// last has its name and its place in the environment, since that one is in force,
// and the others are kept under names of their own.
func (c *choosing) name(p *plan, m *move) error {
	text := string(c.names[m.entry.Key])
	if text == "" {
		text = c.prefix + keyName(m.entry.Key)
	}
	last := p.last(m.entry.Key)
	if m != last && !bytes.Equal(m.entry.Value, last.entry.Value) {
		text = fmt.Sprintf("%s.%d", text, p.nth(m))
		m.why += fmt.Sprintf("; not in force: line %d assigns it again", last.entry.Line)
	} else if config.IsEnv(m.entry.Key) {
		m.env = m.entry.Key
	}
	name, err := secret.ParseName(text)
	if err != nil {
		return hinted(fmt.Errorf("%s: line %d: %w", p.path, m.entry.Line, err), "secretctl import --map "+m.entry.Key+"=NAME "+p.path)
	}
	m.name = name
	return nil
}

// last returns the move of the last entry with a key.
func (p *plan) last(key string) *move {
	for i := range slices.Backward(p.moves) {
		if p.moves[i].entry.Key == key {
			return &p.moves[i]
		}
	}
	return nil
}

// nth returns which of the entries with its key a move is of, from 1.
func (p *plan) nth(m *move) (n int) {
	for i := range p.moves[:m.index+1] {
		if p.moves[i].entry.Key == m.entry.Key {
			n++
		}
	}
	return n
}

// keyName makes the name of a secret from the key of a variable: OPENAI_API_KEY
// becomes openai-api-key.
func keyName(key string) string {
	words := strings.FieldsFunc(strings.ToLower(key), func(r rune) bool { return r == '_' || r == '-' })
	return strings.Join(words, "-")
}

// differ refuses to give two values one name.
func differ(plans []*plan) error {
	type place struct {
		p *plan
		m *move
	}
	first := make(map[secret.Name]place)
	for _, p := range plans {
		for i := range p.moves {
			m := &p.moves[i]
			if !m.taken() {
				continue
			}
			was, ok := first[m.name]
			if !ok {
				first[m.name] = place{p, m}
				continue
			}
			if bytes.Equal(was.m.entry.Value, m.entry.Value) {
				continue
			}
			err := fmt.Errorf("%s would have two values: of %s (%s, line %d) and of %s (%s, line %d)",
				m.name, was.m.entry.Key, was.p.path, was.m.entry.Line, m.entry.Key, p.path, m.entry.Line)
			if was.m.entry.Key != m.entry.Key {
				return hinted(err, fmt.Sprintf("give one of them another name: --map %s=NAME", m.entry.Key))
			}
			return hinted(err, "import the files one by one, with --prefix: secretctl import --prefix NAME "+p.path)
		}
	}
	return nil
}

// replace has the references written that stand for what is taken, and looks
// whether they will be read, and the values put back as they were.
func (p *plan) replace() error {
	for i := range p.moves {
		m := &p.moves[i]
		if !m.taken() {
			continue
		}
		spelling, exact := p.file.Spelling(m.index)
		if !exact {
			return hinted(fmt.Errorf("%s: line %d: the value of %s is written in more than one way, so that --undo could not put back these bytes", p.path, m.entry.Line, m.entry.Key),
				"write its line ends, quotes and backslashes all in one way; or take it and leave the file as it is: --keep")
		}
		if !p.file.Replace(m.index, dotenv.AppendReference(nil, string(m.name), spelling)) {
			return hinted(fmt.Errorf("%s: line %d: %s cannot be replaced without changing another entry", p.path, m.entry.Line, m.entry.Key),
				"a quote is open somewhere before it: close it")
		}
	}
	return nil
}

// rewritten returns what the file is to be, which says the same as before of
// everything that is left.
func (p *plan) rewritten() ([]byte, error) {
	b := p.file.Bytes()
	again, err := dotenv.Parse(bytes.Clone(b))
	if err != nil {
		return nil, err
	}
	defer again.Clear()
	same := len(again.Entries()) == len(p.moves)
	for i := 0; same && i < len(p.moves); i++ {
		m, e := &p.moves[i], &again.Entries()[i]
		name, isReference := dotenv.Reference(e.Value)
		if m.taken() {
			same = e.Key == m.entry.Key && isReference && name == string(m.name)
		} else {
			same = e.Key == m.entry.Key && bytes.Equal(e.Value, m.entry.Value)
		}
	}
	if !same {
		clear(b)
		return nil, errors.New("what would be written would be read as something else")
	}
	return b, nil
}

// takes returns the indices of the entries that are taken.
func (p *plan) takes() (taken []int) {
	for _, m := range p.moves {
		if m.taken() {
			taken = append(taken, m.index)
		}
	}
	return taken
}
