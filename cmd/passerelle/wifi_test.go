package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/netctl"
	"passerelle/netctl/radio"
)

// fakeScanner returns predefined scan results.
type fakeScanner struct {
	interfaces []netctl.RadioInterface
	heard      []netctl.ScanResult
	err        error
	by         string // the interface of the last scan
}

func (f *fakeScanner) Interfaces() ([]netctl.RadioInterface, error) { return f.interfaces, nil }

func (f *fakeScanner) Scan(_ context.Context, i netctl.RadioInterface) ([]netctl.ScanResult, []netctl.Survey, error) {
	f.by = i.Name
	return f.heard, nil, f.err
}

func lucie() *config.Config {
	return &config.Config{Donations: []config.Donation{
		{Name: "Fibre du centre", Interface: "eth0"},
		{Name: "Téléphone de Lucie", Interface: "wlan2", WiFi: &config.WiFi{SSID: "Chez Lucie \xe9"}},
	}}
}

func TestWiFiScan(t *testing.T) {
	t.Parallel()
	f := &fakeScanner{
		interfaces: []netctl.RadioInterface{{Name: "wlan0", Kind: netctl.RadioAccessPoint}},
		heard: []netctl.ScanResult{
			{SSID: "Ancien", MHz: 2412, Signal: -80, Security: netctl.SecurityOld},
			{SSID: "Chez Lucie \xe9", MHz: 2437, Signal: -70, Security: netctl.SecurityWPA2},
			{SSID: "Chez Lucie \xe9", MHz: 5180, Signal: -61, Security: netctl.SecurityWPA2},
			{SSID: "\x1b[31m\nrouge", MHz: 2462, Signal: -40, Security: netctl.SecurityOpen},
			{MHz: 60480, Signal: -90, Security: netctl.SecurityUnknown},
			{MHz: 2462, Signal: -91, Security: netctl.SecurityEnterprise},
		},
	}
	list, err := scan(t.Context(), f, lucie(), "")
	if err != nil {
		t.Fatal(err)
	}
	want := `NETWORK            SIGNAL           CHANNEL     SECURITY                           DONATION
\x1B[31m\x0Arouge  strong, -40 dBm  11, 2.4GHz  open
Chez Lucie \xE9    fair, -61 dBm    36, 5GHz    password (WPA2)                    Téléphone de Lucie
Ancien             weak, -80 dBm    1, 2.4GHz   broken encryption (not supported)
(hidden)           weak, -90 dBm    -           unknown
(hidden)           weak, -91 dBm    11, 2.4GHz  user account (not supported)
`
	if d := cmp.Diff(want, string(describeNetworks(list))); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	text, err := json.Marshal(list[1])
	const wantJSON = `{"ssid":"Chez Lucie \\xE9","signal":-61,"channel":36,"band":"5GHz","security":"WPA2","donation":"Téléphone de Lucie"}`
	if err != nil || string(text) != wantJSON {
		t.Errorf("%s, %v", text, err)
	}
	f.heard = nil
	if list, err = scan(t.Context(), f, lucie(), ""); err != nil || list == nil || len(list) != 0 {
		t.Errorf("an empty air is %v, %v", list, err)
	}
	if got := string(describeNetworks(list)); got != "No network is in range.\n" {
		t.Errorf("an empty air is %q", got)
	}
}

func TestWiFiScanChooses(t *testing.T) {
	t.Parallel()
	f := &fakeScanner{interfaces: []netctl.RadioInterface{
		{Name: "wlan0", Kind: netctl.RadioAccessPoint},
		{Name: "wlan1", Kind: netctl.RadioStation},
		{Name: "wlan2", Kind: netctl.RadioOther},
	}}
	for _, c := range []struct {
		conf         *config.Config
		device, want string
	}{
		{lucie(), "", "wlan2"}, {&config.Config{}, "", "wlan1"}, {lucie(), "wlan0", "wlan0"},
	} {
		if _, err := scan(t.Context(), f, c.conf, c.device); err != nil || f.by != c.want {
			t.Errorf("%q: %s listened, want %s; %v", c.device, f.by, c.want, err)
		}
	}
}

func TestWiFiScanFails(t *testing.T) {
	t.Parallel()
	wlan0 := []netctl.RadioInterface{{Name: "wlan0"}}
	for want, f := range map[string]*fakeScanner{
		"no radio":                  {},
		"another radio's interface": {interfaces: wlan0, err: fmt.Errorf("scan: %w", radio.ErrScanWhileAP)},
		"use sudo":                  {interfaces: wlan0, err: fmt.Errorf("scan: %w", unix.EPERM)},
		"ip link set wlan0 up":      {interfaces: wlan0, err: fmt.Errorf("scan: %w", unix.ENETDOWN)},
		"try again":                 {interfaces: wlan0, err: fmt.Errorf("scan: %w", unix.EBUSY)},
		"input/output error":        {interfaces: wlan0, err: unix.EIO},
	} {
		if list, err := scan(t.Context(), f, lucie(), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v; want %q", list, err, want)
		}
	}
	_, err := scan(t.Context(), &fakeScanner{interfaces: wlan0}, lucie(), "eth0")
	var w usageError
	if !errors.As(err, &w) || !strings.Contains(err.Error(), "wlan0") {
		t.Errorf("an interface without a radio: %v", err)
	}
}

// TestWiFiLendAsks reads a network from arguments and from standard input.
func TestWiFiLendAsks(t *testing.T) {
	t.Parallel()
	want := config.WiFi{SSID: "Chez Lucie", Passphrase: "trois petits chats"}
	for _, c := range []struct {
		words []string
		in    string
		want  config.WiFi
	}{
		{[]string{"Chez Lucie", "trois petits chats"}, "", want},
		{[]string{"Chez Lucie", "-"}, "trois petits chats\nmore", want},
		{[]string{"Chez Lucie"}, "trois petits chats", want},
		{[]string{"Chez Lucie", ""}, "unread", config.WiFi{SSID: "Chez Lucie"}},
		{[]string{"Chez Lucie"}, "\n", config.WiFi{SSID: "Chez Lucie"}},
		{[]string{"-"}, "WIFI:S:Chez Lucie;P:trois petits chats;;\r\n", want},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteString(c.in); err != nil {
			t.Fatal(err)
		}
		w.Close()
		got, err := (&cli{out: io.Discard, err: io.Discard}).network(t.Context(), c.words, r)
		if err != nil || got != c.want {
			t.Errorf("%q and %q: %q, %v", c.words, c.in, got, err)
		}
		r.Close()
	}
}

// TestWiFiLendHides types a password into a terminal, which must not show it.
func TestWiFiLendHides(t *testing.T) {
	t.Parallel()
	master, terminal := openTerminal(t)
	var errs strings.Builder
	done := make(chan config.WiFi)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		defer close(done)
		w, err := (&cli{err: &errs}).network(ctx, []string{"Chez Lucie"}, terminal)
		if err != nil {
			t.Error(err)
		}
		done <- w
	}()
	for {
		now, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if now.Lflag&unix.ECHO == 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the terminal goes on showing what is typed")
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := master.WriteString("trois petits chats\n"); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.Passphrase != "trois petits chats" {
		t.Errorf("read %q", got)
	}
	if !strings.Contains(errs.String(), `Password of "Chez Lucie"`) {
		t.Errorf("asked %q", errs.String())
	}
	now, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil || now.Lflag&unix.ECHO == 0 {
		t.Errorf("the terminal does not show what is typed any more; %v", err)
	}
}

// TestInitIsPrivate checks who may read a new configuration, which will contain passwords.
func TestInitIsPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "passerelle.toml")
	if code := runMain(t.Context(), []string{"init", path}, io.Discard, io.Discard); code != exitOK {
		t.Fatalf("exit status %d", code)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// openTerminal opens a terminal and its master side (pty(7)).
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return master, terminal
}
