// Package modem connects a mobile modem on USB (QMI, MBIM) to the network of its SIM. Such a modem does not connect on its own, as
// one that acts as a network card does. The package owns the commands to the tools of libqmi and libmbim, the rule for the PIN, and
// the file with which systemd-networkd configures the interface. It must not know what the line is lent for.
//
// # The PIN
//
// After three wrong PINs a SIM is locked and requires its PUK. The SIM itself keeps the count, even while it is unplugged, and the
// right PIN resets it. So a PIN is tried only while the SIM has all three tries left. A wrong PIN costs one try, once, and the box
// never locks a lender's SIM. The right PIN, entered in a phone, gives the lost try back.
package modem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// Settings are what the lender of a SIM knows about it.
type Settings struct {
	APN string // of the SIM's network; "": the modem is not used
	PIN string // "": none is known
}

// Address is what the network assigns to the modem.
type Address struct {
	Address netip.Prefix
	Gateway netip.Addr // not valid: the link is point-to-point
	DNS     []netip.Addr
	MTU     string // "": the interface's own
}

// Runner runs a program and returns its output.
type Runner func(ctx context.Context, program string, args ...string) (string, error)

// Modem is one modem. All fields are required.
type Modem struct {
	Name     string                            // of its device, "cdc-wdm0"
	Machine  fs.FS                             // with /sys
	Run      Runner                            // runs qmicli, mbimcli and networkctl
	Settings func(link string) Settings        // by the modem's network interface; called at every check
	Networkd string                            // folder of systemd-networkd's files
	Notes    string                            // folder of the notes, in memory: a file for each interface says why it has no connection
	Tick     func() (<-chan time.Time, func()) // starts a ticker for the checks; the function stops it
	Log      *slog.Logger
}

// Every is how often a modem is checked.
const Every = 30 * time.Second

// toolLimit is the timeout of a tool. A network may take a minute to answer.
const toolLimit = 90 * time.Second

// PINError is the reason why the PIN is not tried, or was refused.
type PINError string

func (e PINError) Error() string { return string(e) }

// The reasons.
const (
	NoPIN    PINError = "the SIM asks for its PIN: set pin in this donation"
	WrongPIN PINError = "the SIM refuses this PIN. It is not tried again. Put the SIM into a phone, and type the right PIN there once; then correct pin"
	UsedPIN  PINError = "a wrong PIN was typed before, so none is tried: put the SIM into a phone, and type its PIN there once"
	Blocked  PINError = "the SIM is locked, and asks for its PUK: unlock it in a phone"
)

// pinTries is how many tries a SIM has left if no wrong PIN was entered.
const pinTries = 3

// sim is the state of a SIM's PIN.
type sim struct {
	asks, blocked bool
	tries         int // tries left
}

// protocol is the protocol of a modem.
type protocol interface {
	sim(ctx context.Context) (sim, error)
	verify(ctx context.Context, pin string) error
	connect(ctx context.Context, apn string) (Address, error)
	up(ctx context.Context) (bool, error)
	disconnect(ctx context.Context) error
}

// Serve keeps the modem connected while it has settings, until ctx ends or the modem is unplugged.
func (m *Modem) Serve(ctx context.Context) error {
	link, p, err := m.find()
	if err != nil {
		return err
	}
	tick, stop := m.Tick()
	defer stop()
	s := session{Modem: m, link: link, protocol: p}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), toolLimit)
		defer cancel()
		s.end(ctx)
		_ = os.Remove(s.note()) // it is in memory, and may never have existed
	}()
	for m.plugged() {
		s.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
	}
	return nil
}

func (m *Modem) class() string { return path.Join("sys/class/usbmisc", m.Name) }

func (m *Modem) plugged() bool {
	_, err := fs.Stat(m.Machine, m.class())
	return err == nil
}

// find returns the modem's network interface and its protocol. The network interface belongs to the same USB interface as the
// device.
func (m *Modem) find() (link string, p protocol, err error) {
	driver, err := fs.ReadLink(m.Machine, path.Join(m.class(), "device/driver"))
	if err != nil {
		return "", nil, err
	}
	links, err := fs.ReadDir(m.Machine, path.Join(m.class(), "device/net"))
	if err != nil {
		return "", nil, err
	}
	if len(links) != 1 {
		return "", nil, fmt.Errorf("%s has %d network interfaces", m.Name, len(links))
	}
	link = links[0].Name()
	device := "--device=" + filepath.Join("/dev", m.Name)
	run := func(program string) func(context.Context, ...string) (string, error) {
		return func(ctx context.Context, args ...string) (string, error) {
			ctx, cancel := context.WithTimeout(ctx, toolLimit)
			defer cancel()
			return m.Run(ctx, program, append([]string{device}, args...)...)
		}
	}
	switch driver := path.Base(driver); driver {
	case "qmi_wwan":
		return link, &qmi{run: run("qmicli"), down: func(ctx context.Context) error {
			_, err := m.Run(ctx, "networkctl", "down", link)
			return err
		}}, nil
	case "cdc_mbim":
		return link, &mbim{run: run("mbimcli")}, nil
	default:
		return "", nil, fmt.Errorf("%s has the driver %s, which is not known", m.Name, driver)
	}
}

// session is the state of a modem that is served.
type session struct {
	*Modem
	protocol
	link      string
	connected bool
	with      Settings // of the connection, or of the PIN that was refused
	refused   error    // why the PIN was refused; nil: it was not
	said      string   // the last note
}

// look checks the connection, and connects if necessary.
func (s *session) look(ctx context.Context) {
	want := s.Settings(s.link)
	if s.connected {
		up, err := s.up(ctx)
		if err == nil && up && want == s.with {
			return
		}
		s.Log.Info("the connection is over", "modem", s.Name, "up", up, "error", err)
		s.end(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	if want != s.with {
		s.refused = nil
	}
	s.with = want
	switch {
	case want.APN == "":
		s.say("no donation has the apn of its network")
	case s.refused != nil:
	default:
		err := s.begin(ctx)
		if e, ok := errors.AsType[PINError](err); ok && e == WrongPIN {
			s.refused = err
		}
		if err != nil {
			s.say(err.Error())
			return
		}
		s.say("")
	}
}

// begin connects, and makes systemd-networkd configure the interface.
func (s *session) begin(ctx context.Context) error {
	if err := s.unlock(ctx); err != nil {
		return err
	}
	a, err := s.connect(ctx, s.with.APN)
	s.connected = true // even a partial connection has to be ended
	if err == nil {
		err = s.configure(ctx, a)
	}
	if err != nil {
		s.end(ctx)
		return fmt.Errorf("connect to %s: %w", s.with.APN, err)
	}
	s.Log.Info("connected", "modem", s.Name, "interface", s.link)
	return nil
}

// unlock enters the PIN, if the SIM asks for it.
func (s *session) unlock(ctx context.Context) error {
	card, err := s.sim(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("ask for the SIM: %w", err)
	case card.blocked:
		return Blocked
	case !card.asks:
		return nil
	case s.with.PIN == "":
		return NoPIN
	case card.tries < pinTries:
		return UsedPIN
	}
	if err := s.verify(ctx, s.with.PIN); err != nil {
		s.Log.Warn("the PIN", "modem", s.Name, "error", err)
		return WrongPIN
	}
	return nil
}

// end disconnects, and removes the address. If the modem is unplugged, only systemd-networkd's file is left to remove.
func (s *session) end(ctx context.Context) {
	if !s.connected {
		return
	}
	s.connected = false
	err := os.Remove(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // the interface was not configured yet
	}
	if s.plugged() {
		err = errors.Join(err, s.disconnect(ctx), s.reload(ctx))
	}
	if err != nil {
		s.Log.Warn("disconnect", "modem", s.Name, "error", err)
	}
}

// file returns the path of systemd-networkd's file for the interface. By its name it precedes the image's files for lines.
func (s *session) file() string { return filepath.Join(s.Networkd, "30-modem-"+s.link+".network") }

// configure gives the interface its address. A modem's link is point-to-point, without hardware addresses (ARP=no).
func (s *session) configure(ctx context.Context, a Address) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by passerelle boot modem.\n[Match]\nName=%s\n\n[Link]\nRequiredForOnline=no\nARP=no\n", s.link)
	if a.MTU != "" {
		fmt.Fprintf(&b, "MTUBytes=%s\n", a.MTU)
	}
	fmt.Fprintf(&b, "\n[Network]\nDescription=a line by a modem\nAddress=%s\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n", a.Address)
	for _, server := range a.DNS {
		fmt.Fprintf(&b, "DNS=%s\n", server)
	}
	b.WriteString("\n[Route]\nDestination=0.0.0.0/0\nMetric=300\n")
	if a.Gateway.IsValid() {
		fmt.Fprintf(&b, "Gateway=%s\nGatewayOnLink=yes\n", a.Gateway)
	} else {
		b.WriteString("Scope=link\n")
	}
	if err := os.MkdirAll(s.Networkd, 0o755); err != nil {
		return err
	}
	if err := renameio.WriteFile(s.file(), []byte(b.String()), 0o644); err != nil {
		return err
	}
	return s.reload(ctx)
}

// reload makes systemd-networkd reload its files, and apply them to the interface.
func (s *session) reload(ctx context.Context) error {
	if _, err := s.Run(ctx, "networkctl", "reload"); err != nil {
		return err
	}
	_, err := s.Run(ctx, "networkctl", "reconfigure", s.link)
	return err
}

func (s *session) note() string { return filepath.Join(s.Notes, s.link) }

// say writes the note, which status and pages show: why there is no connection, "" if there is one.
func (s *session) say(why string) {
	if why == s.said {
		return
	}
	s.said = why
	if why != "" {
		s.Log.Warn("no connection", "modem", s.Name, "why", why)
	}
	if err := renameio.WriteFile(s.note(), []byte(why), 0o644); err != nil {
		s.Log.Error("the note", "modem", s.Name, "error", err)
	}
}
