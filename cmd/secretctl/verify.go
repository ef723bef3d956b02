package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"secretctl/broker"
	"secretctl/broker/audit"
	"secretctl/sock"
)

const verifyHelp = `Checks the audit log against its own chain and signatures, and against
checkpoints that were kept elsewhere: what [audit] anchor in the config was
given. It says what is proven and what cannot be excluded.

It needs no broker. Exit code 1 when the log is not what was written.`

func verifyCommand(w *world) *cobra.Command {
	v := &verifying{w: w}
	c := &cobra.Command{
		Use:     "verify",
		Short:   "check that nobody changed the log",
		Long:    verifyHelp,
		Example: "  secretctl audit verify --checkpoint /mnt/elsewhere/checkpoint",
		Args:    takes(),
		RunE:    func(c *cobra.Command, _ []string) error { return v.run(c) },
	}
	c.Flags().StringArrayVar(&v.checkpoints, "checkpoint", nil, "a file with a checkpoint that was kept elsewhere; may be given more than once")
	jsonFlag(c, &v.json)
	return c
}

// verifying is what audit verify was asked for.
type verifying struct {
	w           *world
	checkpoints []string
	json        bool
}

func (v *verifying) run(c *cobra.Command) error {
	report, err := v.verify(c)
	if err != nil {
		return err
	}
	if v.json {
		err = v.w.printJSON(report)
	} else {
		err = v.print(&report)
	}
	if err == nil && !report.OK {
		err = errors.New(*report.Reason)
	}
	return err
}

// verify has the broker check the log, or checks what is on the disk: when no
// broker runs, and when there are checkpoints, which the broker does not take.
func (v *verifying) verify(c *cobra.Command) (report audit.Report, err error) {
	if len(v.checkpoints) > 0 {
		return v.fromDisk()
	}
	err = v.w.asOwner(c.Context(), func(client *broker.Client) (err error) {
		report, err = client.Verify(c.Context())
		return err
	})
	if errors.Is(err, sock.ErrNotRunning) {
		notRunning := err
		if report, err = v.fromDisk(); errors.Is(err, errNoHome) {
			return report, notRunning
		}
	}
	return report, err
}

func (v *verifying) fromDisk() (audit.Report, error) {
	h, err := v.w.home()
	if err != nil {
		return audit.Report{}, err
	}
	disk, err := h.read()
	if err != nil {
		return audit.Report{}, err
	}
	var kept [][]byte
	for _, path := range v.checkpoints {
		note, err := os.ReadFile(path)
		if err != nil {
			return audit.Report{}, fmt.Errorf("reading a checkpoint: %w", err)
		}
		kept = append(kept, note)
	}
	return audit.Verify(disk, broker.AuditDir, kept...)
}

func (v *verifying) print(r *audit.Report) error {
	paint := v.w.paints(v.w.stdout)
	verdict := paint.paint(green, "the log is what was written")
	if !r.OK {
		verdict = paint.paint(red, "the log is not what was written")
	}
	if err := v.w.printf("%s: %d records\n", verdict, r.Records); err != nil {
		return err
	}
	if r.FirstBadSeq != nil {
		if err := v.w.printf("not to be trusted from record %d on\n", *r.FirstBadSeq); err != nil {
			return err
		}
	}
	return errors.Join(v.list("proven", r.Proven), v.list("cannot be excluded", r.NotExcluded))
}

func (v *verifying) list(title string, sentences []string) error {
	if len(sentences) == 0 {
		return nil
	}
	text := v.w.paints(v.w.stdout).paint(bold, title) + "\n"
	for _, s := range sentences {
		text += "  - " + shown(s) + "\n"
	}
	return v.w.printf("%s", text)
}
