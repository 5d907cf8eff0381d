package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/appliance/control"
)

// lendOptions holds the options of passerelle wifi lend.
type lendOptions struct {
	config, socket          string
	device, name, cap, each string // "": not given
	until                   string // likewise
	wifi                    config.WiFi
}

// wifiLend writes a lender's network into the configuration, and applies it. It never shows a passphrase.
func wifiLend(ctx context.Context, c *cli, args []string) error {
	var l lendOptions
	words, err := c.flags("wifi lend", args, 2, func(f *flag.FlagSet) {
		f.StringVar(&l.config, "config", defaultConfig, "the configuration `FILE`")
		f.StringVar(&l.socket, "socket", defaultSocket, "the daemon's control socket, a `FILE`")
		f.StringVar(&l.device, "interface", "", "the `INTERFACE` that joins the network")
		f.StringVar(&l.name, "name", "", "the donation's `NAME` (default: the network's name)")
		f.StringVar(&l.cap, "cap", "", "the cap per period, a `SIZE` such as 2GB; 0 for no cap")
		f.StringVar(&l.each, "period", "", "the cap's `PERIOD`: day, week, month (default) or once")
		f.StringVar(&l.until, "until", "", "the last `DAY` of the loan, such as 2026-12-31; then the password is forgotten")
	})
	if err != nil {
		return err
	}
	if l.wifi, err = c.network(ctx, words, os.Stdin); err != nil {
		return err
	}
	file := config.File{Path: l.config}
	text, revision, err := file.Read()
	if err != nil {
		return usageError{err}
	}
	old, err := config.Parse(l.config, text)
	if err != nil {
		return usageError{err}
	}
	d, edited, err := l.edit(old, text)
	if err != nil {
		return err
	}
	r, err := control.Client{Socket: l.socket}.Apply(ctx, l.config, edited, revision)
	idle := errors.Is(err, control.ErrNotRunning)
	if idle {
		_, err = file.Save(edited, revision)
	}
	if err != nil {
		return err
	}
	if idle || r.Outcome == config.Applied || r.Outcome == config.Restart {
		kind := "with its password"
		if l.wifi.Passphrase == "" {
			kind = "which is open"
		}
		fmt.Fprintf(c.out, "%s: \"%s\" gives %s through the Wi-Fi network \"%s\", %s, joined by %s.\n",
			l.config, d.Name, describeLentCap(d), d.WiFi.SSID, kind, d.Interface)
	}
	if idle {
		fmt.Fprintln(c.out, "passerelle is not running; the change takes effect at its next start.")
		return nil
	}
	return c.became(r, "passerelle status shows whether it has joined the network.")
}

// describeLentCap describes a donation's cap.
func describeLentCap(d config.Donation) string {
	if d.Cap == 0 {
		return "unlimited data"
	}
	if d.Period == "once" {
		return d.Cap.String() + " once"
	}
	return d.Cap.String() + " a " + d.Period
}

// network reads the lent network from the arguments: a name and a passphrase, or the text of a QR code. An argument that is "-" or
// missing is read from in, since every user can see arguments in the process list.
func (c *cli) network(ctx context.Context, words []string, in *os.File) (config.WiFi, error) {
	if len(words) == 0 {
		const advice = `name the network, or give the text of its QR code ("-": on standard input)`
		return config.WiFi{}, usageError{errors.New("passerelle wifi lend: " + advice)}
	}
	ssid := words[0]
	if ssid == "-" {
		var err error
		if ssid, err = c.line(ctx, in, "Text of the QR code: "); err != nil {
			return config.WiFi{}, err
		}
	}
	if words[0] == "-" || config.IsWiFiQR(ssid) {
		if len(words) > 1 {
			const advice = "the password is in the QR code's text; remove the second argument"
			return config.WiFi{}, usageError{errors.New("passerelle wifi lend: " + advice)}
		}
		w, err := config.ParseWiFiQR(ssid)
		if err != nil {
			return config.WiFi{}, usageError{fmt.Errorf("passerelle wifi lend: %w", err)}
		}
		return w, nil
	}
	name, err := config.ParseSSID(ssid)
	if err != nil {
		return config.WiFi{}, usageError{fmt.Errorf("passerelle wifi lend: the network's name: %w", err)}
	}
	if len(words) == 2 && words[1] != "-" {
		return config.WiFi{SSID: name, Passphrase: words[1]}, nil
	}
	secret, err := c.line(ctx, in, fmt.Sprintf("Password of \"%s\" (none for an open network): ", name))
	return config.WiFi{SSID: name, Passphrase: secret}, err
}

// line reads a line; from a terminal, it prompts and does not echo.
func (c *cli) line(ctx context.Context, in *os.File, question string) (string, error) {
	fd := int(in.Fd())
	if shown, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		hidden := *shown
		hidden.Lflag &^= unix.ECHO
		if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
			return "", fmt.Errorf("hide what is typed: %w", err)
		}
		defer fmt.Fprintln(c.err)
		defer func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, shown) }()
		fmt.Fprint(c.err, question)
	}
	type read struct {
		text string
		err  error
	}
	done := make(chan read, 1)
	go func() { // if there is no input, it ends with the program
		text, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
		done <- read{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case r := <-done:
		if r.err != nil && !errors.Is(r.err, io.EOF) {
			return "", fmt.Errorf("read standard input: %w", r.err)
		}
		return strings.TrimRight(r.text, "\r\n"), nil
	}
}

// edit returns the donation, and the configuration's text with the donation in it.
func (l lendOptions) edit(old *config.Config, text []byte) (d config.Donation, edited []byte, err error) {
	refuse := func(format string, a ...any) (config.Donation, []byte, error) {
		return config.Donation{}, nil, usageError{fmt.Errorf("passerelle wifi lend: "+format, a...)}
	}
	name := cmp.Or(l.name, l.wifi.SSID.String())
	edited, d, err = config.AddLoan(old, text, config.Loan{
		Name: l.name, Interface: l.device, WiFi: &l.wifi, Cap: l.cap, Period: l.each, Until: config.Day(l.until),
	}, func(config.Donation) bool { return false })
	var problems config.Problems
	switch {
	case errors.Is(err, config.ErrNotWiFi):
		return refuse("the donation \"%s\" is no Wi-Fi network; give this one another name: --name \"%s (Wi-Fi)\"", name, name)
	case errors.Is(err, config.ErrLent):
		return refuse("\"%s\" is lent already, with another password. If it is the same phone: --name \"%s\". "+
			"If it is another one of that name, give it its own, such as --name \"%s de Paul\" --cap 2GB", name, name, name)
	case errors.Is(err, config.ErrNoCap):
		return refuse("\"%s\" needs a cap, so that its lender gets no bill: --cap 2GB, or --cap 0 for no cap", name)
	case errors.Is(err, config.ErrNoRadio):
		return refuse("name the radio that joins the network, such as --interface wlan1 (ip link shows them)")
	case errors.As(err, &problems) && problems[0].Key != "":
		return refuse("%s", withoutLines(problems))
	case errors.As(err, &problems):
		return config.Donation{}, nil, err
	case err != nil:
		return refuse("%s: %w", l.config, err)
	}
	return d, edited, nil
}

// withoutLines formats the problems of a configuration that is not in a file yet.
func withoutLines(problems config.Problems) string {
	var list []string
	for _, p := range problems {
		list = append(list, strings.TrimPrefix(p.Key, "donation.")+": "+p.Msg)
	}
	return strings.Join(list, "; ")
}
