package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
)

// loan is what passerelle wifi lend was told.
type loan struct {
	config, socket          string
	device, name, cap, each string // "": not told
	wifi                    config.WiFi
}

// wifiLend writes a lender's network into the configuration, and has the daemon take it up. It never shows a passphrase.
func wifiLend(ctx context.Context, c *cli, args []string) error {
	var l loan
	words, err := c.flags("wifi lend", args, 2, func(f *flag.FlagSet) {
		f.StringVar(&l.config, "config", defaultConfig, "the configuration `FILE`")
		f.StringVar(&l.socket, "socket", defaultSocket, "the daemon's control socket")
		f.StringVar(&l.device, "interface", "", "the radio's `INTERFACE` that joins the network")
		f.StringVar(&l.name, "name", "", "what the lender and the centre call the donation; else the network's name")
		f.StringVar(&l.cap, "cap", "", `how much the lender gives in a period, as "2GB"; "0" for as much as comes`)
		f.StringVar(&l.each, "period", "", `"day", "week", "month" or "once"; else "month"`)
	})
	if err != nil {
		return err
	}
	if l.wifi, err = c.network(ctx, words, os.Stdin); err != nil {
		return err
	}
	old, text, err := readConfig(l.config)
	if err != nil {
		return err
	}
	d, edited, err := l.edit(old, text)
	if err != nil {
		return err
	}
	if err := writeSecret(l.config, edited); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	kind := "with its password"
	if l.wifi.Passphrase == "" {
		kind = "which is open"
	}
	fmt.Fprintf(c.out, "%s: \"%s\" gives %s through the Wi-Fi network \"%s\", %s, joined by %s.\n",
		l.config, d.Name, given(d), d.WiFi.SSID, kind, d.Interface)
	return c.takeUp(ctx, l)
}

// readConfig reads a configuration and its text.
func readConfig(path string) (*config.Config, []byte, error) {
	old, err := load(path)
	if err != nil {
		return nil, nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the configuration: %w", err)
	}
	return old, text, nil
}

// writeSecret writes a file anew, at once, for root only; a link to it stays one.
func writeSecret(path string, text []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	// Beside it, not in /tmp, which may be another file system. renameio's WriteFile would keep the mode that it had.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// given says what a donation gives.
func given(d config.Donation) string {
	if d.Cap == 0 {
		return "as much as comes"
	}
	if d.Period == "once" {
		return d.Cap.String() + " once"
	}
	return d.Cap.String() + " a " + d.Period
}

// takeUp has the daemon read the configuration again.
func (c *cli) takeUp(ctx context.Context, l loan) error {
	body, err := ask(ctx, l.socket, http.MethodPost, "/reload")
	if errors.Is(err, errNotRunning) {
		fmt.Fprintln(c.out, "Passerelle does not run: it takes this up when it is started.")
		return nil
	}
	if err != nil {
		return fmt.Errorf("the configuration is written, but not taken up: %w", err)
	}
	if read := strings.TrimSpace(string(body)); !sameFile(read, l.config) {
		return fmt.Errorf("the configuration is written, but the box that runs reads another one, %s", read)
	}
	fmt.Fprintln(c.out, "The box has taken it up. passerelle status says whether it has joined the network.")
	return nil
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// network reads which network is lent from the command's words: a name and a passphrase, or a QR code's text. What is "-"
// or left out comes from in, unseen by others: in a process list stands every word of a command.
func (c *cli) network(ctx context.Context, words []string, in *os.File) (config.WiFi, error) {
	if len(words) == 0 {
		const advice = `name the network, or give the text of its QR code ("-": on standard input)`
		return config.WiFi{}, wrong{errors.New("passerelle wifi lend: " + advice)}
	}
	ssid := words[0]
	if ssid == "-" {
		var err error
		if ssid, err = c.line(ctx, in, "Text of the QR code: "); err != nil {
			return config.WiFi{}, err
		}
	}
	if words[0] == "-" || len(ssid) >= 5 && strings.EqualFold(ssid[:5], "WIFI:") {
		if len(words) > 1 {
			const advice = "the password is in the QR code's text; take the second word away"
			return config.WiFi{}, wrong{errors.New("passerelle wifi lend: " + advice)}
		}
		w, err := config.ParseWiFiQR(ssid)
		if err != nil {
			return config.WiFi{}, wrong{fmt.Errorf("passerelle wifi lend: %w", err)}
		}
		return w, nil
	}
	name, err := config.ParseSSID(ssid)
	if err != nil {
		return config.WiFi{}, wrong{fmt.Errorf("passerelle wifi lend: the network's name: %w", err)}
	}
	if len(words) == 2 && words[1] != "-" {
		return config.WiFi{SSID: name, Passphrase: words[1]}, nil
	}
	secret, err := c.line(ctx, in, fmt.Sprintf("Password of \"%s\" (none for an open network): ", name))
	return config.WiFi{SSID: name, Passphrase: secret}, err
}

// line reads a line, from a terminal after a question and without showing what is typed.
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
	go func() { // it ends with the program, if nobody types
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

// edit returns the donation and the text of a configuration that has it. Everything else stays as people wrote it,
// comments included: a new donation comes at the end, of one with the same name only the lines change that say it.
func (l loan) edit(old *config.Config, text []byte) (d config.Donation, edited []byte, err error) {
	refuse := func(format string, a ...any) (config.Donation, []byte, error) {
		return config.Donation{}, nil, wrong{fmt.Errorf("passerelle wifi lend: "+format, a...)}
	}
	if l.name == "" {
		l.name = l.wifi.SSID.String()
	}
	want := *old
	want.Donations = slices.Clone(old.Donations)
	at := slices.IndexFunc(old.Donations, func(d config.Donation) bool { return d.Name == l.name })
	isNew := at < 0
	if isNew {
		switch {
		case l.cap == "":
			return refuse("say how much \"%s\" gives, so that its lender gets no bill: --cap 2GB, or --cap 0 for no end", l.name)
		case l.device == "" && old.Hotspot.Radio != "hostapd":
			return refuse("say which radio joins the network, as --interface wlan1 (ip link shows them)")
		case l.device == "":
			l.device = freeInterface(old)
		}
		at = len(old.Donations)
		want.Donations = append(want.Donations, config.Donation{Name: l.name, Metered: config.Auto, Period: "month", Priority: 1})
	}
	d = want.Donations[at]
	d.WiFi = &l.wifi
	if l.device != "" {
		d.Interface = l.device
	}
	if l.cap != "" {
		if d.Cap, err = config.ParseSize(l.cap); err != nil {
			return refuse("--cap: %w", err)
		}
	}
	if l.each != "" {
		d.Period = l.each
	}
	if d.Period == "month" || d.Period == "week" {
		d.Resets = max(1, d.Resets)
	}
	want.Donations[at] = d

	canonical := config.Format(&want)
	var keys []string
	for _, k := range []struct {
		key  string
		told bool
	}{{"name", isNew}, {"interface", l.device != ""}, {"wifi", true}, {"cap", l.cap != ""}, {"period", l.each != ""}} {
		if k.told {
			keys = append(keys, k.key)
		}
	}
	edited = []byte(put(string(text), string(canonical), at, keys))
	got, err := config.Parse(l.config, edited)
	var problems config.Problems
	switch {
	case errors.As(err, &problems) && problems[0].Key != "":
		return refuse("%s", withoutLines(problems))
	case err != nil || string(config.Format(got)) != string(canonical):
		return refuse("%s writes this donation in a way of its own: change it there, by hand", l.config)
	}
	return d, edited, nil
}

// freeInterface names an interface that no donation has yet. The box makes it on the hotspot's radio.
func freeInterface(c *config.Config) string {
	for n := 0; ; n++ {
		name := fmt.Sprint("lend", n)
		if !slices.ContainsFunc(c.Donations, func(d config.Donation) bool { return d.Interface == name }) {
			return name
		}
	}
}

// withoutLines says what is wrong with a configuration that is in no file yet.
func withoutLines(problems config.Problems) string {
	var list []string
	for _, p := range problems {
		list = append(list, strings.TrimPrefix(p.Key, "donation.")+": "+p.Msg)
	}
	return strings.Join(list, "; ")
}

var (
	donationLine = regexp.MustCompile(`(?m)^[ \t]*\[\[[ \t]*donation[ \t]*\]\].*\n?`)
	tableLine    = regexp.MustCompile(`(?m)^[ \t]*\[`)
)

// donationBlock returns where the keys of a donation, counted from 0, stand in a configuration's text.
func donationBlock(text string, at int) (from, to int, ok bool) {
	headers := donationLine.FindAllStringIndex(text, -1)
	if at >= len(headers) {
		return 0, 0, false
	}
	from, to = headers[at][1], len(text)
	if next := tableLine.FindStringIndex(text[from:]); next != nil {
		to = from + next[0]
	}
	return from, to, true
}

// keyLine finds the line of a key.
func keyLine(key string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[ \t]*` + key + `[ \t]*=.*(?:\n|\z)`)
}

// put writes lines of the canonical text's donation into another text: over those that are there, else below the header
// of the donation, else below one of its own at the end.
func put(text, canonical string, at int, keys []string) string {
	from, to, _ := donationBlock(canonical, at)
	source := canonical[from:to]
	from, to, ok := donationBlock(text, at)
	if !ok {
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		text += "\n[[donation]]\n"
		from, to = len(text), len(text)
	}
	block := text[from:to]
	added := ""
	for _, key := range keys {
		line := keyLine(key).FindString(source)
		if was := keyLine(key).FindStringIndex(block); was != nil {
			block = block[:was[0]] + line + block[was[1]:]
		} else {
			added += line
		}
	}
	return text[:from] + added + block + text[to:]
}
