package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance"
	"passerelle/appliance/admin"
	"passerelle/appliance/config"
	"passerelle/appliance/decide"
)

// openControl opens the control socket, which only root may use.
func (d *daemon) openControl(ctx context.Context) (net.Listener, error) {
	if err := os.Remove(d.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove a stale control socket: %w", err)
	}
	// A socket's file gets the mode that the socket has when it is bound (unix_bind_bsd in net/unix/af_unix.c).
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		ctlErr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(ctlErr, err)
	}}
	l, err := private.Listen(ctx, "unix", d.socket)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	return l, nil
}

// serveControl serves the command line on the control socket.
func (d *daemon) serveControl(ctx context.Context, l net.Listener, tokens admin.Tokens) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(d.box.Status()); err != nil {
			d.log.Debug("status was not taken", "error", err)
		}
	})
	act := func(f func(context.Context) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if err := f(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		}
	}
	mux.Handle("POST /pause", act(func(ctx context.Context) error { return d.box.Pause(ctx, "the command line") }))
	mux.Handle("POST /resume", act(d.box.Resume))
	mux.Handle("POST /clock", act(func(ctx context.Context) error { return d.box.ConfirmTime(ctx, "a technician") }))
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		err := d.takeUp(ctx, r.Context())
		var refused wrong
		switch {
		case err == nil:
			fmt.Fprintln(w, d.paths.config)
		case errors.As(err, &refused):
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		case errors.Is(err, appliance.ErrStopped):
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("POST /tutorials", func(w http.ResponseWriter, _ *http.Request) {
		d.readLessons()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.Handle("POST /lender", issueLinks(tokens, func() *config.Config { return d.box.View().Config }, d.log))
	return serve(ctx, &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}, l)
}

// errNotRunning says that there is no daemon to ask.
var errNotRunning = errors.New("passerelle does not run")

// ask sends one request to the daemon.
func ask(ctx context.Context, socket, method, path string) ([]byte, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, "http://passerelle"+path, nil)
	if err != nil {
		return nil, err
	}
	reply, err := client.Do(r)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w (nobody answers at %s): start it with passerelle run", errNotRunning, socket)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s is root's: use sudo", socket)
	case err != nil:
		return nil, err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(io.LimitReader(reply.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	}
	if reply.StatusCode/100 == 2 {
		return body, nil
	}
	err = fmt.Errorf("the daemon says: %s", strings.TrimSpace(string(body)))
	if reply.StatusCode/100 == 4 {
		err = wrong{err}
	}
	return nil, err
}

func pause(ctx context.Context, c *cli, args []string) error {
	return c.act(ctx, "pause", args, "Paused. Residents see it on their page. passerelle resume shares again.")
}

func resume(ctx context.Context, c *cli, args []string) error {
	return c.act(ctx, "resume", args, "Not paused any more. passerelle status says what the box does now.")
}

func reload(ctx context.Context, c *cli, args []string) error {
	return c.act(ctx, "reload", args, "The configuration is taken up. passerelle status says what the box does now.")
}

func (c *cli) act(ctx context.Context, what string, args []string, done string) error {
	var socket string
	if _, err := c.flags(what, args, 0, func(f *flag.FlagSet) {
		f.StringVar(&socket, "socket", defaultSocket, "the daemon's control socket")
	}); err != nil {
		return err
	}
	if _, err := ask(ctx, socket, http.MethodPost, "/"+what); err != nil {
		return err
	}
	fmt.Fprintln(c.out, done)
	return nil
}

// clockCommand shows the daemon's clock, and confirms it.
func clockCommand(ctx context.Context, c *cli, args []string) error {
	var socket string
	var confirm bool
	if _, err := c.flags("clock", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&socket, "socket", defaultSocket, "the daemon's control socket")
		f.BoolVar(&confirm, "confirm", false, "the machine's time of day is right: trust it until it starts anew")
	}); err != nil {
		return err
	}
	if confirm {
		if _, err := ask(ctx, socket, http.MethodPost, "/clock"); err != nil {
			return err
		}
	}
	_, s, err := askStatus(ctx, socket)
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
	var socket string
	var asJSON bool
	if _, err := c.flags("status", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&socket, "socket", defaultSocket, "the daemon's control socket")
		f.BoolVar(&asJSON, "json", false, "print JSON; its fields are stable")
	}); err != nil {
		return err
	}
	body, s, err := askStatus(ctx, socket)
	if err == nil && !asJSON {
		body = describe(s, time.Now())
	}
	if err == nil {
		_, err = c.out.Write(body)
	}
	return err
}

// askStatus returns the daemon's status, as it came and as it is meant.
func askStatus(ctx context.Context, socket string) (body []byte, s appliance.Status, err error) {
	if body, err = ask(ctx, socket, http.MethodGet, "/status"); err != nil {
		return nil, s, err
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, s, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return body, s, nil
}

// describe says a status in words.
func describe(s appliance.Status, now time.Time) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s\n", s.State, s.Why)
	fmt.Fprintf(&b, "  since %s\n", ago(now.Sub(s.Since)))
	if s.Opens != nil {
		fmt.Fprintf(&b, "  opens %s\n", s.Opens.Format("Mon 2 Jan 15:04"))
	}
	if s.Refills != nil {
		fmt.Fprintf(&b, "  the first cap begins anew %s\n", s.Refills.Format("Mon 2 Jan 15:04"))
	}
	if s.Setup != nil {
		fmt.Fprintf(&b, "  technicians may come in until %s: the button asked for it\n", s.Setup.Format("15:04"))
	}
	fmt.Fprintf(&b, "\n%s\n  hotspot %s, %s", s.Centre, s.Hotspot.Interface, s.Hotspot.Address)
	if s.Hotspot.Queue != "" {
		fmt.Fprintf(&b, ", %s queues", s.Hotspot.Queue)
	}
	if s.Hotspot.TrackedWanted != 0 {
		fmt.Fprintf(&b, "\n  the kernel has room for %d tracked connections, where there should be %d, and it may not be changed from here: "+
			"each device may open fewer", s.Hotspot.Tracked, s.Hotspot.TrackedWanted)
	}
	if w := s.Hotspot.WiFi; w != nil {
		describeWiFi(&b, *w)
	}
	if s.Hotspot.Metered {
		fmt.Fprintf(&b, "\n  devices are told that the line is metered: %s", s.Hotspot.MeteredWhy)
	}
	fmt.Fprintf(&b, "\n  %s, each up to %s down, %s up, %s a day\n\n", residents(s),
		limit(config.Rate(s.Residents.Download)), limit(config.Rate(s.Residents.Upload)), limit(config.Size(s.Residents.Data)))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DONATION\tLINE\tSTATE\tUSED\tCAP\tGRANTED\tLEFT\tTODAY MAY USE\tBEGINS ANEW")
	for _, d := range s.Donations {
		granted, left, daily, anew := "-", "-", "-", "-"
		if d.Cap != 0 {
			granted, left = round(d.Granted), round(d.Left)
			if d.Reserve != 0 {
				left += " and " + round(d.Reserve) + " for essential services"
			}
		}
		if d.Daily != 0 {
			daily = round(d.Daily)
		}
		if d.Refills != nil {
			anew = d.Refills.Format("Mon 2 Jan 15:04")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			d.Name, d.Interface, stateOfLine(d), round(d.Used), perPeriod(d), granted, left, daily, anew)
	}
	w.Flush()
	for _, d := range s.Donations {
		describeLine(&b, d, s.Clock.Now)
	}
	for _, d := range s.Donations {
		if d.Over != 0 {
			fmt.Fprintf(&b, "\n%s: %s crossed the line beyond the cap; the margin grows by it\n", d.Name, round(d.Over))
		}
		if d.Broadcasts != 0 && d.BroadcastsCount {
			fmt.Fprintf(&b, "\n%s: %s of broadcasts came from its own network, which count as used\n", d.Name, round(d.Broadcasts))
		} else if d.Broadcasts != 0 {
			fmt.Fprintf(&b, "\n%s: %s of broadcasts came from its own network, which don't count\n", d.Name, round(d.Broadcasts))
		}
		if d.Lost {
			fmt.Fprintf(&b, "\n%s: the account was lost, so that the cap counts as spent until the period is over\n", d.Name)
		}
	}
	if !s.Clock.Trusted {
		b.WriteString("\nThe clock is not trusted: no time server was reached since the machine started. Until one is, no cap begins anew\n" +
			"and no opening hour closes. If the time is right, say so: passerelle clock --confirm\n")
	}
	for _, complaint := range s.Board.Complaints {
		fmt.Fprintf(&b, "\nproblem: %s\n", complaint)
	}
	for _, c := range s.Children {
		if !c.Running {
			fmt.Fprintf(&b, "\n%s is not running: %s\n", c.Name, c.LastExit)
		}
	}
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "\nproblem: %s\n", p)
	}
	return b.Bytes()
}

// residents says how many have a session, and how far they get with it.
func residents(s appliance.Status) string {
	n := plural(s.Residents.Sessions, "resident")
	switch {
	case s.State == decide.Sharing:
		return n + " online"
	case slices.ContainsFunc(s.Donations, func(d appliance.DonationStatus) bool { return d.Essential }):
		return n + " admitted, to essential services only"
	case s.Residents.Sessions == 0:
		return "nobody online"
	}
	return n + " admitted, nobody online"
}

// describeLine says whom a donation's line asks for names, and what it was last proved by.
func describeLine(b *bytes.Buffer, d appliance.DonationStatus, now time.Time) {
	fmt.Fprintf(b, "\n%s: names by %s", d.Name, cmp.Or(strings.Join(d.Servers, ", "), "nobody"))
	if d.Slow {
		b.WriteString(", slowly")
	}
	b.WriteString("\n")
	for _, p := range []*appliance.ProofStatus{d.ProvedNames, d.ProvedPage, d.ProvedTraffic} {
		if p != nil {
			when := ago(now.Sub(p.At))
			if now.Sub(p.At) >= time.Second {
				when += " ago"
			}
			fmt.Fprintf(b, "  proved %s: %s\n", when, p.What)
		}
	}
}

// describeWiFi says what the box's own network is, and what its radio cannot do.
func describeWiFi(b *bytes.Buffer, w appliance.WiFiStatus) {
	fmt.Fprintf(b, "\n  Wi-Fi %q, ", w.SSID)
	if !w.On {
		fmt.Fprintf(b, "off: %s", cmp.Or(w.Why, "the access point is being started"))
		return
	}
	fmt.Fprintf(b, "%s, channel %d of %s, %s", w.Security, w.Channel, w.Band, plural(w.Stations, "device"))
	if w.Most != 0 {
		fmt.Fprintf(b, " of %d that its radio serves", w.Most)
	}
	switch {
	case w.Full:
		b.WriteString("\n  a device was turned away: the radio serves no more at once; a second box, or another Wi-Fi adapter, would")
	case w.Most != 0 && w.Stations*5 >= w.Most*4:
		b.WriteString("\n  soon the radio serves no more devices")
	}
	if w.Follows {
		b.WriteString("\n  the radio joins a lender's network too: each has half its time, and both are on the lender's channel")
	}
	if !w.Isolates {
		b.WriteString("\n  this radio may let devices of the Wi-Fi network reach each other: it does not take the order to keep them apart")
	}
}

// stateOfLine says in a word what a donation does, or why it does nothing.
func stateOfLine(d appliance.DonationStatus) string {
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
		return "counts as spent: the account was lost"
	case d.Spent:
		return "spent"
	}
	return "ready"
}

func perPeriod(d appliance.DonationStatus) string {
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

// round says a size to three digits.
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
