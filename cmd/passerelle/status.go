package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/state"
)

func pause(ctx context.Context, c *cli, args []string) error {
	var box control.Client
	var tomorrow bool
	_, err := c.flags("pause", args, 0, func(f *flag.FlagSet) {
		socketFlag(f, &box)
		f.BoolVar(&tomorrow, "until-tomorrow", false, "resume by itself when the desk opens on the next day, else when the loans do, else at six")
	})
	if err != nil {
		return err
	}
	act, until := box.Pause, ""
	if tomorrow {
		act, until = box.PauseUntilTomorrow, " until the next day (passerelle status says when)"
	}
	if err := act(ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "Sharing paused%s; residents see it on their page. To resume: passerelle resume\n", until)
	return nil
}

func resume(ctx context.Context, c *cli, args []string) error {
	return c.act(ctx, "resume", args, control.Client.Resume, "Sharing resumed. passerelle status shows the state.")
}

func reload(ctx context.Context, c *cli, args []string) error {
	var box control.Client
	if _, err := c.flags("reload", args, 0, func(f *flag.FlagSet) { socketFlag(f, &box) }); err != nil {
		return err
	}
	r, err := box.Reload(ctx)
	if err != nil {
		return err
	}
	return c.became(r, "passerelle status shows the state.")
}

// became reports the outcome of a configuration change, and what to do next if it is applied.
func (c *cli) became(r config.Result, next string) error {
	switch {
	case r.Problems != nil:
		return usageError{fmt.Errorf("the daemon says: %w", r.Problems)}
	case r.Outcome == config.Applied && r.Why == "":
		fmt.Fprintln(c.out, "Configuration applied.", next)
	case r.Outcome == config.Restart:
		fmt.Fprintf(c.out, "The daemon restarts to apply the configuration: %s. %s\n", r.Why, next)
	default:
		return fmt.Errorf("the daemon says: %s", r.Why)
	}
	return nil
}

// socketFlag declares the flag for the daemon's control socket.
func socketFlag(f *flag.FlagSet, box *control.Client) {
	f.StringVar(&box.Socket, "socket", defaultSocket, "the daemon's control socket, a `FILE`")
}

func (c *cli) act(ctx context.Context, what string, args []string, act func(control.Client, context.Context) error, done string) error {
	var box control.Client
	if _, err := c.flags(what, args, 0, func(f *flag.FlagSet) { socketFlag(f, &box) }); err != nil {
		return err
	}
	if err := act(box, ctx); err != nil {
		return err
	}
	fmt.Fprintln(c.out, done)
	return nil
}

// clockCommand shows the daemon's clock, and confirms it.
func clockCommand(ctx context.Context, c *cli, args []string) error {
	var box control.Client
	var confirm bool
	if _, err := c.flags("clock", args, 0, func(f *flag.FlagSet) {
		socketFlag(f, &box)
		f.BoolVar(&confirm, "confirm", false, "confirm that the machine's time is right: it is trusted until the next boot")
	}); err != nil {
		return err
	}
	if confirm {
		if err := box.ConfirmTime(ctx); err != nil {
			return err
		}
	}
	s, err := box.Status(ctx)
	if err != nil {
		return err
	}
	trust := "not trusted"
	if s.Clock.Trusted {
		trust = "trusted, by " + s.Clock.By
	}
	fmt.Fprintf(c.out, "%s, %s\n", s.Clock.Now.Format("Mon 2 Jan 2006 15:04:05 MST"), trust)
	return nil
}

func status(ctx context.Context, c *cli, args []string) error {
	var box control.Client
	var asJSON bool
	if _, err := c.flags("status", args, 0, func(f *flag.FlagSet) {
		socketFlag(f, &box)
		f.BoolVar(&asJSON, "json", false, "print JSON with stable fields")
	}); err != nil {
		return err
	}
	if asJSON {
		text, err := box.StatusJSON(ctx)
		if err == nil {
			_, err = c.out.Write(text)
		}
		return err
	}
	s, err := box.Status(ctx)
	if err == nil {
		_, err = c.out.Write(describe(s, time.Now()))
	}
	if err != nil {
		return err
	}
	// An older daemon has no setup code.
	if code, err := box.SetupCode(ctx); err == nil && code != "" {
		fmt.Fprintf(c.out, "\nNobody has chosen the technicians' password yet: open /admin/ on the box, and type the code %s\n", code)
	}
	return nil
}

// describe formats a status for people.
func describe(s state.Status, now time.Time) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s\n", s.State, s.Why)
	fmt.Fprintf(&b, "  since %s\n", ago(now.Sub(s.Since)))
	if !s.Opens.IsZero() {
		fmt.Fprintf(&b, "  opens %s\n", s.Opens.Format("Mon 2 Jan 15:04"))
	}
	if !s.Resets.IsZero() {
		fmt.Fprintf(&b, "  the first cap resets %s\n", s.Resets.Format("Mon 2 Jan 15:04"))
	}
	if !s.Setup.IsZero() {
		fmt.Fprintf(&b, "  technicians' access is open until %s: the button was pressed\n", s.Setup.Format("15:04"))
	}
	fmt.Fprintf(&b, "\n%s\n  hotspot %s, %s", s.Centre, s.Hotspot.Interface, s.Hotspot.Address)
	if s.Hotspot.Queue != "" {
		fmt.Fprintf(&b, ", %s queues", s.Hotspot.Queue)
	}
	if s.Hotspot.TrackedWanted != 0 {
		fmt.Fprintf(&b, "\n  the kernel tracks at most %d connections instead of %d, and the limit cannot be changed here: "+
			"each device may open fewer", s.Hotspot.Tracked, s.Hotspot.TrackedWanted)
	}
	if w := s.Hotspot.WiFi; w != nil {
		describeWiFi(&b, *w)
	}
	if s.Hotspot.Metered {
		fmt.Fprintf(&b, "\n  announced to devices as metered: %s", s.Hotspot.MeteredWhy)
	}
	fmt.Fprintf(&b, "\n  %s, each up to %s down, %s up, %s a day%s\n\n", residents(s),
		limit(config.Rate(s.Residents.Download)), limit(config.Rate(s.Residents.Upload)), limit(config.Size(s.Residents.Data)), slowLane(s))
	describeAdmin(&b, s.Admin)
	if s.Slots != nil {
		describeSlots(&b, *s.Slots)
		if s.Updates != nil {
			describeUpdates(&b, *s.Updates)
		}
		b.WriteString("\n")
	}
	describeSystem(&b, s.System)
	if s.Stick != nil {
		describeStickBackup(&b, *s.Stick)
	}
	if s.Fleet != nil {
		describeFleet(&b, *s.Fleet)
	}
	if s.Layers != nil {
		describeLayers(&b, *s.Layers)
		describeCommands(&b, s.Commands)
		b.WriteString("\n")
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DONATION\tINTERFACE\tSTATE\tUSED\tCAP\tGRANTED\tLEFT\tDAILY BUDGET\tRESETS")
	for _, d := range s.Donations {
		granted, left, daily, resets := "-", "-", "-", "-"
		if d.Cap != 0 {
			granted, left = round(d.Granted), round(d.Left)
			if d.Reserve != 0 {
				left += " and " + round(d.Reserve) + " for essential services"
			}
		}
		if d.Daily != 0 {
			daily = round(d.Daily)
		}
		if !d.Resets.IsZero() {
			resets = d.Resets.Format("Mon 2 Jan 15:04")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			d.Name, d.Interface, donationState(d), round(d.Used), describeCap(d), granted, left, daily, resets)
	}
	w.Flush()
	for _, d := range s.Donations {
		describeProofs(&b, d, s.Clock.Now)
	}
	for _, d := range s.Donations {
		if d.Rate != nil {
			fmt.Fprintf(&b, "\n%s: %s\n", d.Name, describeRate(*d.Rate))
		}
		if d.Overage != 0 {
			fmt.Fprintf(&b, "\n%s: %s were used beyond the cap; the margin grows by that amount\n", d.Name, round(d.Overage))
		}
		if d.Broadcasts != 0 && d.BroadcastsCount {
			fmt.Fprintf(&b, "\n%s: %s of broadcasts from the lender's network count as used\n", d.Name, round(d.Broadcasts))
		} else if d.Broadcasts != 0 {
			fmt.Fprintf(&b, "\n%s: %s of broadcasts from the lender's network are not counted\n", d.Name, round(d.Broadcasts))
		}
	}
	describeDownloads(&b, s)
	if !s.Clock.Trusted {
		b.WriteString("\nThe clock is not trusted: no time server has confirmed it. Until one does, caps don't reset\n" +
			"and hours aren't enforced. If the time is right, confirm it: passerelle clock --confirm\n")
	}
	failing, said := map[string]bool{}, s.Why
	for _, d := range s.Donations {
		said += "\n" + d.Why
	}
	for _, p := range s.Problems {
		failing[p.Args["child"]] = true
		if !strings.Contains(said, p.String()) {
			fmt.Fprintf(&b, "\nproblem: %s\n", p)
		}
	}
	for _, c := range s.Children {
		if !c.Running && !failing[c.Name] {
			fmt.Fprintf(&b, "\n%s is not running: %s\n", c.Name, c.LastExit)
		}
	}
	return b.Bytes()
}

// describeStickBackup says when a backup was last written to a USB stick, and why none was written since.
func describeStickBackup(b *bytes.Buffer, s state.StickBackup) {
	b.WriteString("backups to a USB stick: ")
	if s.Done.IsZero() {
		b.WriteString("none yet\n")
	} else {
		fmt.Fprintf(b, "the last one %s\n", s.Done.Format("Mon 2 Jan 15:04"))
	}
	if s.Why != "" {
		fmt.Fprintf(b, "  not written %s: %s\n", s.Failed.Format("Mon 2 Jan 15:04"), s.Error)
	}
	b.WriteString("\n")
}

// describeAdmin describes technicians' access. An older daemon does not report it.
func describeAdmin(b *bytes.Buffer, a state.Admin) {
	if a.Pages == nil {
		return
	}
	open := map[string]string{
		string(config.Wired): ", only from the networks of the connections", string(config.AfterPress): ", only after a long press of the button",
	}[a.Access]
	pages := cmp.Or(strings.Join(a.Pages, " "), "nowhere yet, without a Wi-Fi radio or a cable to a network; plug one in")
	fmt.Fprintf(b, "technicians' pages%s: %s\n", open, pages)
	if a.Fingerprint != "" {
		fmt.Fprintf(b, "  SHA-256 of their certificate %s\n", strings.ReplaceAll(a.Fingerprint, " ", "\n                               "))
	}
	b.WriteString("\n")
}

// residents says how many residents have a session, and what they can reach.
func residents(s state.Status) string {
	n := plural(s.Residents.Sessions, "resident")
	switch {
	case s.State == state.Sharing:
		return n + " online"
	case slices.ContainsFunc(s.Donations, func(d state.Donation) bool { return d.Essential }):
		return n + " authorized, essential services only"
	case s.Residents.Sessions == 0:
		return "nobody online"
	}
	return n + " authorized, nobody online"
}

// slowLane says what residents have whose data of the day is used up.
func slowLane(s state.Status) string {
	switch {
	case s.Residents.Data == 0 || s.Residents.After == 0:
		return ""
	case s.Residents.Slow == 0:
		return fmt.Sprintf(", then %v", config.Rate(s.Residents.After))
	}
	return fmt.Sprintf(", then %v (%s now)", config.Rate(s.Residents.After), plural(s.Residents.Slow, "resident"))
}

// describeRate says what a line carries now, and what limits it.
func describeRate(r state.Rate) string {
	held := map[string]string{
		"nothing": "residents ask for no more", "limit": "the lent rate", "line": "the phone, the line or its network gives no more",
		"lender": "somebody else uses it: its lender, perhaps",
	}
	text := fmt.Sprintf("%s down (%s), %s up (%s)",
		roundRate(r.Down), cmp.Or(held[r.DownHeld], r.DownHeld), roundRate(r.Up), cmp.Or(held[r.UpHeld], r.UpHeld))
	if r.Delay != nil {
		text += fmt.Sprintf(", %.0f ms of waiting beyond the box", *r.Delay)
	}
	if r.Unprobed {
		text += "; measured by residents' connections alone"
	}
	return text
}

// roundRate rounds a rate to three digits.
func roundRate(bits uint64) string {
	if bits >= 1e6 {
		return fmt.Sprintf("%.3g Mbit/s", float64(bits)/1e6)
	}
	return fmt.Sprintf("%.3g kbit/s", float64(bits)/1e3)
}

// describeProofs lists a donation's DNS servers, and the last evidence that its line works.
func describeProofs(b *bytes.Buffer, d state.Donation, now time.Time) {
	fmt.Fprintf(b, "\n%s: DNS servers: %s", d.Name, cmp.Or(strings.Join(d.Servers, ", "), "none"))
	if d.Slow {
		b.WriteString(", slow")
	}
	b.WriteString("\n")
	for _, p := range []state.Proof{d.ProvedNames, d.ProvedPage, d.ProvedTraffic} {
		if !p.At.IsZero() {
			when := ago(now.Sub(p.At))
			if now.Sub(p.At) >= time.Second {
				when += " ago"
			}
			fmt.Fprintf(b, "  proved %s: %s\n", when, p.What)
		}
	}
}

// describeWiFi describes the hotspot's Wi-Fi network and its radio's limitations.
func describeWiFi(b *bytes.Buffer, w state.WiFi) {
	fmt.Fprintf(b, "\n  Wi-Fi %q, ", w.SSID)
	if !w.On {
		fmt.Fprintf(b, "off: %s", cmp.Or(w.Why, "the access point is starting"))
		return
	}
	fmt.Fprintf(b, "%s, channel %d of %s, %s", w.Security, w.Channel, w.Band, plural(w.Stations, "device"))
	if w.MaxStations != 0 {
		fmt.Fprintf(b, " of %d that its radio supports", w.MaxStations)
	}
	switch {
	case w.AtCapacity:
		b.WriteString("\n  a device was rejected: the radio is full; add a second box or another Wi-Fi adapter")
	case w.MaxStations != 0 && w.Stations*5 >= w.MaxStations*4:
		b.WriteString("\n  the radio is almost full")
	}
	if w.SharedChannel {
		b.WriteString("\n  the radio also joins a lender's network: both share its airtime, on the lender's channel")
	}
	if !w.ClientIsolation {
		b.WriteString("\n  the driver does not support client isolation: devices on the Wi-Fi network may reach each other")
	}
}

// donationState says in one word what a donation does, or why it is not in use.
func donationState(d state.Donation) string {
	switch {
	case d.Chosen:
		return "in use"
	case d.PausedBy != "":
		return "paused by " + d.PausedBy
	case !d.Open:
		return "closed"
	case !d.Works:
		return d.Why
	case d.Essential:
		return "spent, essential services only"
	case d.Lost:
		return "counts as spent: the account was lost; to state what was used: passerelle restore --used NAME=SIZE"
	case d.Spent:
		return "spent"
	}
	return "ready"
}

func describeCap(d state.Donation) string {
	switch {
	case d.Cap == 0:
		return "none"
	case d.Period == "once":
		return config.Size(d.Cap).String() + " once"
	}
	return config.Size(d.Cap).String() + " a " + d.Period
}

func limit[T interface {
	~uint64
	String() string
}](v T) string {
	if v == 0 {
		return "unlimited"
	}
	return v.String()
}

// round formats a size with three digits.
func round(n uint64) string {
	for _, u := range []struct {
		name string
		size float64
	}{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if v := float64(n) / u.size; v >= 1 {
			return fmt.Sprintf("%.3g%s", v, u.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func ago(d time.Duration) string {
	if d < time.Second {
		return "just now"
	}
	return d.Round(time.Second).String()
}
