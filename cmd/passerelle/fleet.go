package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"passerelle/appliance/control"
	"passerelle/appliance/daemon"
	fleetcommand "passerelle/appliance/fleet/command"
	"passerelle/appliance/fleet/handouts"
	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/fleet/trust"
	"passerelle/appliance/state"
	"passerelle/image/slot"
)

var fleetWords = []command{
	{"join", "[--bundle FILE] [--socket FILE] CODE", "ask for the box's membership in its fleet, with the code of a sticker", fleetJoin},
	{"leave", "[--socket FILE]", "forget the membership, and the box's key", fleetLeave},
	{"layers", "[--socket FILE]", "show what the fleet changes of the configuration, what it proposes, and what it asked for", fleetLayers},
	{"accept", "[--socket FILE] SERVICE", "open an essential service that the fleet proposes", fleetAccept},
	{"withdraw", "[--socket FILE] SERVICE", "close an essential service that was accepted", fleetWithdraw},
	{"take", "--from FOLDER|ADDRESS [--region NAME] [--association NAME] [--expired] [--root FILE] [--state DIR] [--socket FILE]",
		"take what the fleet has signed from a folder (a stick) or a mirror", fleetTake},
}

func fleetCommand(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "fleet", fleetWords, args)
}

// errNoFleet says that the box is in no fleet.
var errNoFleet = errors.New("the box is in no fleet: [fleet] hubs is empty in its configuration")

// maxCodeWords is the most words in which a code may be typed: one for each of its letters.
const maxCodeWords = 10

func fleetJoin(ctx context.Context, c *cli, args []string) error {
	var box control.Client
	var file string
	words, err := c.flags("fleet join", args, maxCodeWords, func(f *flag.FlagSet) {
		socketFlag(f, &box)
		f.StringVar(&file, "bundle", "", "the boxes' part of the fleet, a `FILE` that passerelle-hub init makes (default "+protocol.BundleFile+", else the one before)")
	})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{errors.New("passerelle fleet join: type the code of the sticker, as in 7K2QX-0M4TW")}
	}
	var bundle []byte
	if file != "" {
		if bundle, err = os.ReadFile(file); err != nil {
			return usageError{err}
		}
	}
	if err := box.JoinFleet(ctx, bundle, strings.Join(words, "")); err != nil {
		return err
	}
	s, err := box.Status(ctx)
	if err != nil {
		return err
	}
	if s.Fleet == nil {
		return errNoFleet
	}
	fmt.Fprintf(c.out, "This box is %s. It shows these words:\n\n    %s\n\n", s.Fleet.Box, strings.Join(s.Fleet.Words, " "))
	fmt.Fprintln(c.out, "Tell them to the person of your association. The box is a member once that person has compared them.")
	fmt.Fprintln(c.out, "passerelle status shows how far it has come; residents notice nothing.")
	return nil
}

func fleetLeave(ctx context.Context, c *cli, args []string) error {
	return c.act(ctx, "fleet leave", args, control.Client.LeaveFleet,
		"The box has forgotten its membership and its key. What the fleet has set stays until [fleet] hubs is empty.")
}

// describeFleet describes the box's place in its fleet.
func describeFleet(b *bytes.Buffer, f state.Fleet) {
	say := func(format string, a ...any) { fmt.Fprintf(b, "fleet: "+format+"\n", a...) }
	switch {
	case f.Revoked:
		say("box %s of %s: the hubs do not let it in any more", f.Box, f.Association)
	case f.Stage == "member":
		how := "not connected now"
		if f.Connected {
			how = "connected"
		} else if f.Mode == "visits" {
			how = "it visits some times a day"
		}
		say("box %s of %s, %s", f.Box, f.Association, how)
	case f.Stage == "waiting":
		say("box %s waits for the person who compares its words: %s", f.Box, strings.Join(f.Words, " "))
	case f.Stage == "asking":
		say("box %s asks for its membership; its words: %s", f.Box, strings.Join(f.Words, " "))
	default:
		say("no member yet; with a sticker's code: passerelle fleet join CODE")
	}
	if why := refusals[f.Refusal]; why != "" {
		say("the last code was not taken: %s", why)
	}
	if f.Waits != "" {
		say("it does not talk to the hubs now: %s", f.Waits)
	} else if f.Error != "" {
		say("the last try failed: %s", f.Error)
	}
	if f.Stage == "member" {
		last := "none since the daemon started"
		if !f.Contact.IsZero() {
			last = f.Contact.Format("Mon 2 Jan 15:04")
		}
		say("last contact %s; %s not shown by a hub yet", last, plural(f.Unshown, "day"))
	}
	if f.Files != "" {
		say("nothing that people signed is taken: %s", f.Files)
	}
	for _, h := range f.Handouts {
		say("%s", describeHandout(h))
	}
}

// describeHandout says what happened to a file that the fleet hands out.
func describeHandout(h state.FleetFile) string {
	became := fileStates[h.State]
	switch h.State {
	case handouts.Coming, handouts.Waits:
		became = fmt.Sprintf("%s, %.1f of %.1f MB", became, float64(h.Done)/1e6, float64(h.Size)/1e6)
	}
	if h.Why != "" {
		became += ": " + waits(h.Why)
	}
	return fmt.Sprintf("%s %s of %s %s", h.Kind, h.Name, h.By, became)
}

// fileStates are the states of a file that the fleet hands out, as text.
var fileStates = map[string]string{
	handouts.Here: "is here", handouts.Coming: "is coming", handouts.Waits: "waits", handouts.Failed: "is not taken",
	handouts.Own: "is not taken: the box has its own", handouts.Removed: "was removed here: its next version comes again",
}

// refusals are the reasons why a sticker's code was not accepted, as text.
var refusals = map[string]string{
	"unknown": "no sticker has it, or it is too old", "used": "another box has used it", "refused": "somebody has refused this box",
}

func fleetLayers(ctx context.Context, c *cli, args []string) error {
	var box control.Client
	if _, err := c.flags("fleet layers", args, 0, func(f *flag.FlagSet) { socketFlag(f, &box) }); err != nil {
		return err
	}
	s, err := box.Status(ctx)
	if err != nil {
		return err
	}
	if s.Layers == nil {
		return errNoFleet
	}
	var b bytes.Buffer
	describeLayers(&b, *s.Layers)
	describeCommands(&b, s.Commands)
	_, err = c.out.Write(b.Bytes())
	return err
}

// describeLayers says which layer set which key, what has no effect and why, and what waits for a technician.
func describeLayers(b *bytes.Buffer, l state.Layers) {
	if len(l.Set)+len(l.Refused)+len(l.Proposed)+len(l.Unread) == 0 {
		b.WriteString("the fleet changes nothing of the configuration\n")
		return
	}
	table := func(title string, rows [][3]string) {
		if len(rows) == 0 {
			return
		}
		fmt.Fprintf(b, "%s\n", title)
		w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
		for _, r := range rows {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", r[0], r[1], r[2])
		}
		w.Flush()
	}
	var set, refused, proposed [][3]string
	for _, x := range l.Set {
		set = append(set, [3]string{x.Key, x.Value, x.By})
	}
	for _, x := range l.Refused {
		refused = append(refused, [3]string{x.Key, x.Value, x.By + ": " + x.Why})
	}
	for _, x := range l.Proposed {
		state := "to open it: passerelle fleet accept " + x.Service
		if x.Accepted {
			state = "accepted"
		}
		proposed = append(proposed, [3]string{x.Service, x.By, state})
	}
	table("set by the fleet:", set)
	table("without effect:", refused)
	table("essential services that it proposes:", proposed)
	for _, x := range l.Unread {
		fmt.Fprintf(b, "refused as a whole, of %s: %s\n", x.By, x.Error)
	}
}

// verdicts are the outcomes of commands, as text.
var verdicts = map[fleetcommand.Verdict]string{
	fleetcommand.Done: "done", fleetcommand.Failed: "failed", fleetcommand.Expired: "too late, or for too late a day: nothing was done",
	fleetcommand.Undated: "nothing was done: the clock is not trusted", fleetcommand.Yields: "nothing was done: somebody here decided otherwise",
	fleetcommand.Nothing: "it was so already",
}

// describeCommands lists the last commands of the fleet.
func describeCommands(b *bytes.Buffer, all []state.FleetCommand) {
	if len(all) == 0 {
		return
	}
	b.WriteString("asked for by the fleet:\n")
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, x := range all {
		became := cmp.Or(verdicts[fleetcommand.Verdict(x.Verdict)], x.Verdict)
		if x.Why != "" {
			became += ": " + x.Why
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", x.At.Format("Mon 2 Jan 15:04"), x.Action, x.By, became)
	}
	w.Flush()
}

// service runs a request about one essential service.
func (c *cli) service(
	ctx context.Context, what string, args []string, act func(control.Client, context.Context, string) error, done string,
) error {
	var box control.Client
	words, err := c.flags(what, args, 1, func(f *flag.FlagSet) { socketFlag(f, &box) })
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{fmt.Errorf("passerelle %s: which service? passerelle fleet layers shows them", what)}
	}
	if err := act(box, ctx, words[0]); err != nil {
		return err
	}
	fmt.Fprintf(c.out, done+"\n", words[0])
	return nil
}

func fleetAccept(ctx context.Context, c *cli, args []string) error {
	return c.service(ctx, "fleet accept", args, control.Client.AcceptService,
		"%s is an essential service now: open to everybody, as long as the fleet proposes it.")
}

func fleetWithdraw(ctx context.Context, c *cli, args []string) error {
	return c.service(ctx, "fleet withdraw", args, control.Client.WithdrawService, "%s is no essential service any more.")
}

func fleetTake(ctx context.Context, c *cli, args []string) error {
	var u updateFlags
	var region, association string
	if _, err := c.flags("fleet take", args, 0, func(f *flag.FlagSet) {
		u.defineSource(f)
		f.StringVar(&region, "region", "", "the `NAME` of the box's region; without, what a region says does not hold here")
		f.StringVar(&association, "association", "", "the `NAME` of its association, likewise")
	}); err != nil {
		return err
	}
	from, err := u.source()
	if err != nil {
		return err
	}
	s, err := u.box.Status(ctx)
	if err != nil {
		return err
	}
	if s.Layers == nil {
		return errNoFleet
	}
	box, err := newUpdateBox(slot.Card{}, u.state, u.root)
	if err != nil {
		return err
	}
	t, err := box.Trust(u.expired)
	if err != nil {
		return err
	}
	if err := t.Refresh(ctx, from); err != nil {
		return u.advise(err)
	}
	names := map[layer.Level]string{layer.Region: region, layer.Association: association}
	texts := make([][]byte, len(layer.Levels)) // all layers are verified before one is used
	for i, level := range layer.Levels {
		if names[level] == "" && level != layer.All {
			continue
		}
		if texts[i], err = daemon.SignedLayer(ctx, t, from, level, names[level], nil); err != nil {
			return u.advise(err)
		}
	}
	files, err := handouts.List(ctx, t, from, names)
	if err != nil {
		return u.advise(err)
	}
	for i, level := range layer.Levels {
		what := layer.Whose(level, names[level])
		switch err := u.box.TakeLayer(ctx, string(level), names[level], texts[i]); {
		case err != nil:
			return err
		case len(texts[i]) > 0:
			fmt.Fprintf(c.out, "Taken: what %s says.\n", what)
		case level == layer.All || names[level] != "":
			fmt.Fprintf(c.out, "%s has signed nothing here: what %[1]s said before does not hold any more.\n", what)
		}
	}
	fmt.Fprintln(c.out, "passerelle fleet layers shows what has changed.")
	return u.takeFiles(ctx, c, from, files)
}

// takePatience is how long a command waits while the daemon fetches files through a hub, which may take hours.
const takePatience = 10 * time.Second

// takeFiles imports what the fleet hands out, as the owner of the state folder.
func (u *updateFlags) takeFiles(ctx context.Context, c *cli, from trust.Source, files handouts.Wanted) error {
	if err := becomeOwnerOf(u.state); err != nil {
		return err
	}
	if len(files) > 0 {
		fmt.Fprintf(c.out, "Taking %s ...\n", plural(len(files), "file"))
	}
	shelves := daemon.ContentOf(u.state, func(share string) error { return refresh(ctx, c, u.box, share) }, time.Now)
	h := daemon.HandoutsOf(u.state, shelves, handouts.Options{
		May: func() string { return "" }, Log: slog.New(slog.NewTextHandler(c.err, nil)), Patience: takePatience,
	})
	err := h.Take(ctx, from, files)
	if errors.Is(err, handouts.ErrBusy) {
		return fmt.Errorf("%w: the daemon fetches them through a hub, which may take hours; try again later", handouts.ErrBusy)
	}
	failed := 0
	for _, f := range h.Status() {
		fmt.Fprintln(c.out, describeHandout(f))
		if f.State == handouts.Failed {
			failed++
		}
	}
	if failed > 0 {
		err = errors.Join(err, fmt.Errorf("%s not taken: see above", plural(failed, "file")))
	}
	return err
}
