package modem_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"passerelle/image/modem"
)

// stick is a modem with a SIM, as its tool shows it. The output is taken from the tools' source (libqmi 1.36, src/qmicli; libmbim
// 1.32, src/mbimcli).
type stick struct {
	mu       sync.Mutex
	pin      string // "": the SIM asks for none
	tries    int    // tries that the SIM has left
	unlocked bool
	up       bool
	calls    []string
}

func (s *stick) run(_ context.Context, program string, args ...string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, strings.Join(append([]string{program}, args...), " "))
	if program == "networkctl" {
		return "", nil
	}
	if args[0] != "--device=/dev/cdc-wdm0" {
		return "", fmt.Errorf("%s has no device: %q", program, args)
	}
	verify := func(pin string) error {
		if s.tries == 0 {
			return errors.New("error: couldn't verify PIN: PinBlocked")
		}
		if pin != s.pin {
			s.tries--
			return errors.New("error: couldn't verify PIN: IncorrectPin")
		}
		s.tries, s.unlocked = 3, true
		return nil
	}
	key, value, _ := strings.Cut(args[1], "=")
	asks := s.pin != "" && !s.unlocked
	switch key {
	case "--uim-get-card-status":
		state := "disabled"
		switch {
		case asks && s.tries == 0:
			state = "blocked"
		case asks:
			state = "enabled-not-verified"
		case s.pin != "":
			state = "enabled-verified"
		}
		return fmt.Sprintf("[/dev/cdc-wdm0] Successfully got card status\nSlot [1]:\n\tCard state: 'present'\n\tUPIN state: 'not-initialized'\n"+
			"\t\tUPIN retries: '0'\n\t\tUPUK retries: '0'\n\tApplication [1]:\n\t\tApplication type:  'usim (2)'\n\t\tUPIN replaces PIN1: 'no'\n"+
			"\t\tPIN1 state: '%s'\n\t\t\tPIN1 retries: '%d'\n\t\t\tPUK1 retries: '10'\n\t\tPIN2 state: 'enabled-not-verified'\n"+
			"\t\t\tPIN2 retries: '3'\n", state, s.tries), nil
	case "--uim-verify-pin":
		return "", verify(strings.TrimPrefix(value, "PIN1,"))
	case "--set-expected-data-format", "--wda-set-data-format":
		return "", nil
	case "--wds-start-network":
		if asks {
			return "", errors.New("error: couldn't start network: CallFailed")
		}
		s.up = value == "apn=orange.fr,ip-type=4"
		return "[/dev/cdc-wdm0] Network started\n\tPacket data handle: '3778126928'\n[/dev/cdc-wdm0] Client ID not released:\n" +
			"\tService: 'wds'\n\t    CID: '20'\n", nil
	case "--wds-get-current-settings":
		return "[/dev/cdc-wdm0] Current settings retrieved:\n           IP Family: IPv4\n        IPv4 address: 10.65.17.48\n" +
			"    IPv4 subnet mask: 255.255.255.224\nIPv4 gateway address: 10.65.17.49\n    IPv4 primary DNS: 31.3.32.1\n" +
			"  IPv4 secondary DNS: 37.152.96.1\n                 MTU: 1500\n             Domains: none\n", nil
	case "--wds-get-packet-service-status":
		if s.up {
			return "[/dev/cdc-wdm0] Connection status: 'connected'\n\tConnection status: 'connected'\n", nil
		}
		return "\tConnection status: 'disconnected'\n", nil
	case "--wds-stop-network":
		s.up = false
		return "[/dev/cdc-wdm0] Network stopped\n", nil

	case "--query-pin-state":
		state, kind, left := "unlocked", "unknown", s.tries
		switch {
		case asks && s.tries == 0:
			state, kind, left = "locked", "puk1", 10
		case asks:
			state, kind = "locked", "pin1"
		}
		return fmt.Sprintf("[/dev/cdc-wdm0] Pin Info:\n\t         PIN state: '%s'\n\t          PIN type: '%s'\n\tRemaining attempts: '%d'\n",
			state, kind, left) + open, nil
	case "--enter-pin":
		return open, verify(value)
	case "--attach-packet-service":
		if asks {
			return open, errors.New("error: operation failed: PinRequired")
		}
		return open, nil
	case "--connect":
		s.up = value == "apn=orange.fr,ip-type=ipv4"
		return "[/dev/cdc-wdm0] Successfully connected\n\n[/dev/cdc-wdm0] Connection status:\n\t      Session ID: '0'\n" +
			"\tActivation state: 'activated'\n\n[/dev/cdc-wdm0] IPv4 configuration available: 'address, gateway, dns, mtu'\n" +
			"     IP [0]: '10.65.17.48/27'\n    Gateway: '10.65.17.49'\n    DNS [0]: '31.3.32.1'\n    DNS [1]: '37.152.96.1'\n" +
			"        MTU: '1500'\n\n[/dev/cdc-wdm0] IPv6 configuration available: 'none'\n" + open, nil
	case "--query-connection-state":
		state := "deactivated"
		if s.up {
			state = "activated"
		}
		return "[/dev/cdc-wdm0] Connection status:\n\tActivation state: '" + state + "'\n" + open, nil
	case "--disconnect":
		s.up = false
		return "", nil
	}
	return "", fmt.Errorf("nobody knows %s %q", program, args)
}

// open is what mbimcli prints when it leaves the device open.
const open = "[/dev/cdc-wdm0] Session not closed:\n\t    TRID: '8'\n"

// count returns how many calls contain a text.
func (s *stick) count(text string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, call := range s.calls {
		if strings.Contains(call, text) {
			n++
		}
	}
	return n
}

func (s *stick) set(change func(*stick)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// world is a machine with the stick plugged in, and the settings of its donation.
type world struct {
	t       *testing.T
	stick   *stick
	machine string
	run     string // folder

	mu       sync.Mutex
	settings modem.Settings
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t *testing.T, driver string, s *stick, settings modem.Settings) *world {
	t.Helper()
	w := &world{t: t, stick: s, machine: t.TempDir(), run: t.TempDir(), settings: settings}
	device := filepath.Join(w.machine, "sys/class/usbmisc/cdc-wdm0/device")
	must(t, os.MkdirAll(filepath.Join(device, "net/wwan0"), 0o755))
	must(t, os.Symlink("../../../../bus/usb/drivers/"+driver, filepath.Join(device, "driver")))
	return w
}

// plug starts to serve the modem. look lets it check the connection again, and returns after that. end stops it.
func (w *world) plug() (look, end func()) {
	w.t.Helper()
	tick, done := make(chan time.Time), make(chan error, 1)
	ctx, cancel := context.WithCancel(w.t.Context())
	m := &modem.Modem{
		Name: "cdc-wdm0", Machine: os.DirFS(w.machine), Run: w.stick.run, Networkd: filepath.Join(w.run, "network"), Notes: w.run,
		Settings: func(link string) modem.Settings {
			w.mu.Lock()
			defer w.mu.Unlock()
			if link != "wwan0" {
				return modem.Settings{}
			}
			return w.settings
		},
		Tick: func() (<-chan time.Time, func()) { return tick, func() {} },
		Log:  slog.New(slog.DiscardHandler),
	}
	go func() { done <- m.Serve(ctx) }()
	end = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
	// The second tick is received when the check of the first one is over.
	look = func() {
		for range 2 {
			select {
			case tick <- time.Time{}:
			case err := <-done:
				done <- err
			}
		}
	}
	look()
	return look, end
}

func (w *world) change(s modem.Settings) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settings = s
}

// why returns the note.
func (w *world) why() string {
	text, _ := os.ReadFile(filepath.Join(w.run, "wwan0")) // "" if it does not exist, too
	return string(text)
}

// network returns systemd-networkd's file, "" if there is none.
func (w *world) network() string {
	text, _ := os.ReadFile(filepath.Join(w.run, "network/30-modem-wwan0.network"))
	return string(text)
}

const configured = `# Written by passerelle boot modem.
[Match]
Name=wwan0

[Link]
RequiredForOnline=no
ARP=no
MTUBytes=1500

[Network]
Description=a line by a modem
Address=10.65.17.48/27
LinkLocalAddressing=no
IPv6AcceptRA=no
DNS=31.3.32.1
DNS=37.152.96.1

[Route]
Destination=0.0.0.0/0
Metric=300
Gateway=10.65.17.49
GatewayOnLink=yes
`

var drivers = []string{"qmi_wwan", "cdc_mbim"}

// TestConnects checks that a modem is connected with the APN, is reconnected when the connection is lost or the settings change, and
// is not connected without settings. When it is unplugged, nothing of it is left.
func TestConnects(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			s := &stick{pin: "1234", tries: 3}
			w := newWorld(t, driver, s, modem.Settings{})
			look, end := w.plug()
			if n := s.count("cdc-wdm0"); n != 0 || !strings.Contains(w.why(), "apn") {
				t.Errorf("without an APN the modem is asked %d times, and the note is %q", n, w.why())
			}
			w.change(modem.Settings{APN: "orange.fr", PIN: "1234"})
			look()
			if got := w.network(); got != configured || w.why() != "" {
				t.Errorf("systemd-networkd is told\n%s\nand the note is %q", got, w.why())
			}
			if n := s.count("networkctl reconfigure wwan0"); n != 1 {
				t.Errorf("systemd-networkd is told %d times", n)
			}
			s.set(func(s *stick) { s.up = false })
			look()
			if got := w.network(); got != configured || s.count("orange.fr") != 2 {
				t.Errorf("after a loss systemd-networkd is told\n%s", got)
			}
			w.change(modem.Settings{})
			look()
			if got := w.network(); got != "" || s.up {
				t.Errorf("without a donation it is connected: %s", got)
			}
			w.change(modem.Settings{APN: "orange.fr", PIN: "1234"})
			look()
			must(t, os.Rename(filepath.Join(w.machine, "sys"), filepath.Join(w.machine, "unplugged")))
			look()
			end()
			if got := w.network(); got != "" {
				t.Errorf("unplugged, systemd-networkd is told\n%s", got)
			}
			if n := s.count("1234"); n != 1 {
				t.Errorf("the SIM was told its PIN %d times", n)
			}
		})
	}
}

// TestWrongPIN checks that, whatever is configured and however often the box starts, a wrong PIN costs the SIM only one of its three
// tries. After the right PIN was entered in a phone, the right one connects.
func TestWrongPIN(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			s := &stick{pin: "1234", tries: 3}
			w := newWorld(t, driver, s, modem.Settings{APN: "orange.fr"})
			look, end := w.plug()
			if w.why() != modem.NoPIN.Error() || s.tries != 3 {
				t.Errorf("without a PIN the note is %q, and %d tries are left", w.why(), s.tries)
			}
			for _, pin := range []string{"0000", "0000", "1111", "1234"} {
				w.change(modem.Settings{APN: "orange.fr", PIN: pin})
				look()
				look()
				if !slices.Contains([]string{modem.WrongPIN.Error(), modem.UsedPIN.Error()}, w.why()) || s.tries != 2 || w.network() != "" {
					t.Fatalf("after %s the note is %q, and %d tries are left", pin, w.why(), s.tries)
				}
			}
			end()
			look, end = w.plug() // the box restarts
			look()
			if w.why() != modem.UsedPIN.Error() || s.tries != 2 {
				t.Errorf("after a restart the note is %q, and %d tries are left", w.why(), s.tries)
			}
			s.set(func(s *stick) { s.tries = 3 }) // the right PIN is entered in a phone
			look()
			if w.why() != "" || w.network() != configured {
				t.Errorf("with the right PIN the note is %q", w.why())
			}
			end()
			if w.network() != "" || s.up {
				t.Error("at its end it stays connected")
			}

			s.set(func(s *stick) { s.tries, s.unlocked = 0, false })
			_, end = w.plug()
			if w.why() != modem.Blocked.Error() {
				t.Errorf("of a locked SIM the note is %q", w.why())
			}
			end()
		})
	}
}
