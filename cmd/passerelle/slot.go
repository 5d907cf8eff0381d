package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"passerelle/appliance/clock"
	"passerelle/appliance/control"
	"passerelle/appliance/health"
	"passerelle/appliance/state"
	"passerelle/image/proof"
	"passerelle/image/slot"
	"passerelle/image/update"
)

func slotCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "slot", []command{
		{"status", "", "show the two systems on the card: which runs, which is proven, and which is booted next", slotStatus},
		{"other", "[--yes] [--socket FILE]", "boot the other one at the next restart", otherSlot},
		{"prove", "", "", proveSlot}, // for its unit
	}, args)
}

// findCard returns the card of this machine.
func findCard() (slot.Card, error) { return slot.Find(os.DirFS("/")) }

func slotStatus(_ context.Context, c *cli, args []string) error {
	if _, err := c.flags("slot status", args, 0, func(*flag.FlagSet) {}); err != nil {
		return err
	}
	card, err := c.card()
	if err != nil {
		return err
	}
	s, copies, err := card.Read()
	if err != nil {
		return err
	}
	n := slot.NoteOf(card.Running, s)
	var b bytes.Buffer
	describeSlots(&b, state.Slots{Running: string(n.Running), Good: string(n.Good), Next: string(n.Slot), Tries: n.Tries, Failed: string(n.Failed)})
	switch empty, err := card.Empty(card.Running.Other()); {
	case err != nil:
		fmt.Fprintf(&b, "  %v\n", err)
	case empty:
		fmt.Fprintf(&b, "  slot %s is empty: nothing was installed in it\n", card.Running.Other())
	}
	if copies < 2 {
		fmt.Fprintf(&b, "  of the two copies of this state on %s, %d can be read; the next change writes another\n", card.Device, copies)
	}
	_, err = c.out.Write(b.Bytes())
	return err
}

// describeSlots describes the slots of the card.
func describeSlots(b *bytes.Buffer, s state.Slots) {
	fmt.Fprintf(b, "slot %s is running, and ", s.Running)
	switch {
	case s.Proven():
		b.WriteString("has proved itself\n")
	case s.Good == "":
		b.WriteString("counts as on trial: the state of the slots cannot be read\n")
	default:
		fmt.Fprintf(b, "is on trial; slot %s was the last to prove itself\n", s.Good)
	}
	switch {
	case s.Next == "":
	case s.Next != s.Good && s.Next == s.Running && s.Tries == 0:
		fmt.Fprintf(b, "  at the next restart the box goes back to slot %s, unless %s has proved itself by then\n", s.Good, s.Running)
	case s.Next != s.Good:
		fmt.Fprintf(b, "  at the next restart the box boots slot %s, %s, and then slot %s unless %[1]s has proved itself\n",
			s.Next, plural(s.Tries, "more time"), s.Good)
	case s.Next != s.Running:
		fmt.Fprintf(b, "  at the next restart the box boots slot %s\n", s.Next)
	}
	if s.Failed != "" {
		fmt.Fprintf(b, "  slot %s was tried and did not work: the box went back by itself\n", s.Failed)
	}
}

func otherSlot(ctx context.Context, c *cli, args []string) error {
	var yes bool
	var box control.Client
	if _, err := c.flags("slot other", args, 0, func(f *flag.FlagSet) {
		socketFlag(f, &box)
		f.BoolVar(&yes, "yes", false, "do not ask")
	}); err != nil {
		return err
	}
	card, err := c.card()
	if err != nil {
		return err
	}
	s, _, err := card.Read()
	if err != nil {
		return err
	}
	to := card.Running.Other()
	empty, err := card.Empty(to)
	switch {
	case err != nil:
		return err
	case empty:
		return usageError{fmt.Errorf("slot %s is empty: nothing was installed in it; slot %s stays", to, card.Running)}
	case card.Running != s.Good && to != s.Good:
		return usageError{fmt.Errorf("neither slot has proved itself; slot %s stays", card.Running)}
	}
	if s.Failed == to {
		fmt.Fprintf(c.out, "Slot %s was tried before, and did not work.\n", to)
	}
	if to == s.Good {
		fmt.Fprintf(c.out, "At its next restart the box goes back to slot %s, which has proved itself.\n", to)
	} else {
		fmt.Fprintf(c.out, "At its next restart the box boots slot %s, at most %d times. It goes back to slot %s by itself, unless %[1]s works within %v.\n",
			to, update.Tries, s.Good, health.TrialLimit)
	}
	if !yes && !c.confirm("Do that?") {
		return usageError{errors.New("nothing was changed; --yes does not ask")}
	}
	return c.boot(ctx, box, card, to)
}

// boot chooses the slot to boot next.
func (c *cli) boot(ctx context.Context, box control.Client, card slot.Card, to slot.Name) error {
	// Going back must work on a full disk, too: the switch does not depend on the backup.
	if path, err := box.KeepBackup(ctx); err == nil {
		fmt.Fprintf(c.out, "The box as it is now is kept: passerelle restore %s\n", path)
	} else if !errors.Is(err, control.ErrRefused) {
		fmt.Fprintln(c.err, "the box as it is now is not kept:", err)
	}
	switch s, err := box.Status(ctx); {
	case err != nil || s.Stick == nil: // there is no stick for backups
	default:
		if err := box.WriteStick(ctx); err != nil {
			fmt.Fprintln(c.err, "no backup is written to the USB stick:", err)
			break
		}
		fmt.Fprintln(c.out, "A backup is written to the USB stick.")
	}
	if _, err := card.Update(func(s slot.State) slot.State { return s.Choose(to, update.Tries) }); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "Done. To restart the box now: systemctl reboot")
	return nil
}

// confirm asks a question; without an answer, the result is no.
func (c *cli) confirm(question string) bool {
	fmt.Fprintf(c.out, "%s [y/N] ", question)
	answer, err := bufio.NewReader(io.LimitReader(os.Stdin, 80)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes", "o", "oui":
		return true
	}
	return false
}

// proveSlot waits until the running slot has proved itself, and then marks it good on the card. It runs apart from the daemon, which may
// hang, and which has no access to the card, because it could write anything there. If the slot does not prove itself in time, and only
// then, proveSlot fails, and its unit restarts the box.
func proveSlot(ctx context.Context, c *cli, args []string) error {
	var box control.Client
	note, dir := slot.NotePath, defaultState
	if _, err := c.flags("slot prove", args, 0, func(f *flag.FlagSet) {
		socketFlag(f, &box)
		f.StringVar(&note, "note", note, "tell others the state of the slots in this `FILE`")
		f.StringVar(&dir, "state", dir, "the daemon's state `DIR`, for why a slot did not prove itself")
	}); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(c.err, nil))
	ready := func(about string) { health.NewNotifier(log).Ready(about) }
	card, err := c.card()
	if err != nil {
		log.Error("no slot is on trial", "error", err)
		ready("no slot is on trial")
		return nil
	}
	return proof.Prover{
		Card: card, Note: note, State: dir, Uptime: clock.SinceBoot, Ready: ready, Log: log,
		Works: func(ctx context.Context) error { return proof.BoxWorks(ctx, box, health.Pages) },
	}.Run(ctx)
}
