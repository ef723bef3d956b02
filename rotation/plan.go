package rotation

import (
	"context"
	"fmt"
	"strings"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Plan returns what rotating the secret would do, a line a step, and does none
// of it: nothing is called.
func (e *Engine) Plan(_ context.Context, name secret.Name) ([]string, error) {
	setup, ok := e.Setup(name)
	if !ok {
		return nil, ErrNoSetup
	}
	current, err := e.Vault.Current(name)
	if err != nil {
		return nil, err
	}
	k := &setup.Kind
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if p, err := e.Get(name); err == nil {
		add("nothing new: rotation %s is under way (%s), and goes on", p.ID, p.State)
		return lines, nil
	}
	add("check: provider %s%s, version %d", k.Name, plain(&setup), current.Number)
	switch k.Shape {
	case providers.ShapeManual:
		add("ask you for the new value, made at %s: secretctl rotate --stdin %s", k.Page, name)
	case providers.ShapeSet:
		add("make a new value, seal it in the journal, and set it at the service")
	case providers.ShapeCreate:
		add("ask the service for another credential, called secretctl/%s/…, and seal it in the journal", name)
	default:
		add("ask the service for a new credential, which ends the old one at once, and seal it in the journal")
	}
	if !k.Blind {
		add("verify: use the new one, %s", times(max(k.Proofs, 1)))
	}
	add("publish: the new version is current, new leases get it")
	for _, command := range setup.Announce {
		add("announce: run %s", command)
	}
	switch {
	case current.Number == 0:
	case k.Shape == providers.ShapeRoll || k.Shape == providers.ShapeRefresh:
		add("forget version %d", current.Number)
	default:
		moving, copied, pinned := e.Vault.Holders(name, current.Number)
		hard := "for as long as they live"
		if setup.Hard > 0 {
			hard = "for " + setup.Hard.String()
		}
		add("drain: wait at most %s for leases on version %d (%d now), and for consumers that took a copy (%d now) %s",
			setup.Grace, current.Number, moving+copied, pinned, hard)
		if setup.Confirm {
			add("confirm: your command must succeed")
		}
		add("retire: end version %d at the service%s, and forget it", current.Number, proven(k))
	}
	return lines, nil
}

func proven(k *providers.Kind) string {
	if k.Blind {
		return ""
	}
	return ", see that it is refused"
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// plain lists the options that are set, none of which is a value.
func plain(s *Setup) string {
	var words []string
	for _, o := range s.Kind.Options {
		if !s.Options.IsSet(o.Name) {
			continue
		}
		var v any
		switch o.Type {
		case providers.Text, providers.File:
			v = s.Options.Text(o.Name)
		case providers.List:
			v = strings.Join(s.Options.List(o.Name), ",")
		case providers.Number:
			v = s.Options.Number(o.Name)
		case providers.Switch:
			v = s.Options.Switch(o.Name)
		case providers.Span:
			v = s.Options.Span(o.Name)
		case providers.Own:
			v = s.Options.Own(o.Name)
		}
		words = append(words, fmt.Sprintf("%s=%v", o.Name, v))
	}
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, " ") + ")"
}
