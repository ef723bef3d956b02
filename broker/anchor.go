package broker

import (
	"bytes"
	"context"
	"time"
)

// anchorDeadline bounds one run of the anchor command.
const anchorDeadline = 30 * time.Second

// anchor ships signed checkpoints off the box: what was shipped, nobody who
// owns this machine later can take back. Only the latest matters, so a command
// that is slow skips the ones between.
type anchor struct {
	b      *Broker
	latest chan []byte // holds at most the one checkpoint not shipped yet
}

func newAnchor(b *Broker) *anchor { return &anchor{b, make(chan []byte, 1)} }

// ship takes a checkpoint without ever blocking the log.
func (a *anchor) ship(note []byte) {
	note = bytes.Clone(note)
	for {
		select {
		case a.latest <- note:
			return
		default:
		}
		select {
		case <-a.latest:
		default:
		}
	}
}

// run runs the command for each checkpoint until ctx is done.
func (a *anchor) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case note := <-a.latest:
			if argv := a.b.settings.Load().Audit.Anchor; len(argv) > 0 {
				a.exec(ctx, argv, note)
			}
		}
	}
}

// exec runs the command with the note.
func (a *anchor) exec(ctx context.Context, argv []string, note []byte) {
	if err := a.b.command(ctx, "[audit] anchor", argv, note, anchorDeadline); err != nil && ctx.Err() == nil {
		a.b.Warn(err.Error())
	}
}
