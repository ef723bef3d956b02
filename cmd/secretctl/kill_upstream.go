package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"secretctl/broker"
)

// killUpstream ends at their services what agents were given, after the kill
// switch is on, and prints a receipt for each.
func (w *world) killUpstream(ctx context.Context, agent string, asJSON bool) error {
	receipts := []broker.Receipt{}
	err := w.asOwner(ctx, func(client *broker.Client) error {
		return client.Upstream(ctx, agent, func(r broker.Receipt) {
			receipts = append(receipts, r)
			w.say("%s version %d: %s", r.Secret, r.Version, r.State)
		})
	})
	if err != nil {
		return err
	}
	if len(receipts) == 0 {
		w.say("agents were given nothing that could be ended")
	}
	slices.SortFunc(receipts, func(a, b broker.Receipt) int { // they come as they are done
		return cmp.Or(cmp.Compare(a.Secret, b.Secret), cmp.Compare(a.Version, b.Version))
	})
	if asJSON {
		err = w.printJSON(receipts)
	} else {
		err = w.printTable([]string{"SECRET", "VERSION", "STATE", "PROVEN", "WHY"}, receiptRows(receipts))
	}
	if err == nil {
		err = w.leftOver(receipts)
	}
	return err
}

// leftOver says what to do about what was not ended, and fails when there is any,
// or any of which it is not proven.
func (w *world) leftOver(receipts []broker.Receipt) error {
	left, unproven := 0, 0
	for _, r := range receipts {
		switch {
		case r.State == "not-revoked":
			left++
		case !r.Proven:
			unproven++
		}
		if r.Hint != "" {
			w.hint(fmt.Sprintf("%s version %d: %s", r.Secret, r.Version, r.Hint))
		}
	}
	switch {
	case left > 0:
		return fmt.Errorf("%d of %d may still be valid", left, len(receipts))
	case unproven > 0:
		return fmt.Errorf("%d of %d were ended, and it is not proven that they are refused", unproven, len(receipts))
	}
	return nil
}

func receiptRows(receipts []broker.Receipt) (rows [][]cell) {
	for _, r := range receipts {
		why := ""
		if r.Error != nil {
			why = *r.Error
		}
		proven := "no"
		if r.Proven {
			proven = "yes"
		}
		row := cells(r.Secret, fmt.Sprint(r.Version), r.State, proven, why)
		row[2].style, row[3].style = good(r.State != "not-revoked"), good(r.Proven)
		rows = append(rows, row)
	}
	return rows
}
