package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"passerelle/appliance/config"
	"passerelle/captive/admin"
	"passerelle/netctl"
	"passerelle/netctl/radio"
	"passerelle/netctl/uplink"
)

const (
	linesWait = 3 * time.Second // how long a page waits for the tests of lines
	linesKept = time.Minute     // how long lines are tested after a page last asked
)

// machine is the machine as the pages of the first start see it. It tests lines with a prober of its own, and only while somebody
// looks at them: no lender has agreed to that traffic yet.
type machine struct {
	reader  *uplink.Reader
	hotspot string // the interface of the hotspot
	zones   []uplink.Zone
	prober  *uplink.Prober
	tested  chan struct{} // has one if a line's health has changed
	radios  func() (radioReader, error)
	// stations returns how many stations the radio of an interface serves, for radios where the kernel does not know; 0 if unknown
	stations func(device string) int

	mu   sync.Mutex
	idle *time.Timer // ends the tests
}

// radioReader is what a machine needs of radio.Reader.
type radioReader interface {
	Radios() ([]netctl.Radio, error)
	Interfaces() ([]netctl.RadioInterface, error)
}

func newMachine(reader *uplink.Reader, c *config.Config, stations func(string) int, log *slog.Logger) *machine {
	m := &machine{reader: reader, hotspot: c.Hotspot.Interface, tested: make(chan struct{}, 1), stations: stations}
	for _, z := range c.Health.Zones {
		m.zones = append(m.zones, uplink.Zone{Name: z.Name, In: z.Network})
	}
	m.prober = uplink.NewProber(uplink.ProberOptions{Log: log, Wake: func() {
		select {
		case m.tested <- struct{}{}:
		default: // one is pending
		}
	}})
	m.idle = time.AfterFunc(linesKept, func() { m.prober.Set(nil, m.zones) })
	m.radios = openRadios
	return m
}

func openRadios() (radioReader, error) {
	r, err := radio.Open()
	if err != nil {
		return nil, err // not a nil *Reader
	}
	return r, nil
}

// readRadios reads the radios and their interfaces. A machine without radios has none.
func readRadios(open func() (radioReader, error)) (all []netctl.Radio, interfaces []netctl.RadioInterface, err error) {
	r, err := open()
	if errors.Is(err, radio.ErrNone) {
		return nil, nil, nil
	}
	if err == nil {
		all, err = r.Radios()
	}
	if err == nil {
		interfaces, err = r.Interfaces()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the radios: %w", err)
	}
	return all, interfaces, nil
}

// FindLines implements admin.Machine.
func (m *machine) FindLines(ctx context.Context) ([]admin.Line, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all, err := m.reader.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("read the machine's interfaces: %w", err)
	}
	all = slices.DeleteFunc(all, func(i uplink.Interface) bool {
		return i.Interface == m.hotspot || i.Interface == netctl.Bridge || i.Port || !i.Wired && !i.Phone && !i.Bridge
	})
	var candidates []uplink.Candidate
	for _, i := range all {
		if i.Works {
			candidates = append(candidates, uplink.Candidate{Status: i.Status})
		}
	}
	m.prober.Set(candidates, m.zones)
	m.idle.Reset(linesKept)
	m.wait(ctx, candidates)
	lines := make([]admin.Line, 0, len(all))
	for _, i := range all {
		lines = append(lines, lineOf(i, m.prober.Health(i.Interface)))
	}
	return lines, nil
}

// wait waits until the lines are tested, for linesWait at most.
func (m *machine) wait(ctx context.Context, lines []uplink.Candidate) {
	limit := time.NewTimer(linesWait)
	defer limit.Stop()
	for slices.ContainsFunc(lines, func(l uplink.Candidate) bool { return !m.prober.Health(l.Interface).Known }) {
		select {
		case <-m.tested:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// lineOf returns an interface as a page shows it.
func lineOf(i uplink.Interface, h uplink.Health) admin.Line {
	l := admin.Line{Interface: i.Interface, Kind: admin.Cable}
	switch {
	case i.Phone:
		l.Interface, l.Kind = config.USB, admin.Phone
	case i.Bridge:
		l.Kind = admin.Bridge
	}
	if i.Address.IsValid() {
		l.Address = i.Address.String()
	}
	switch {
	case !i.Carrier:
		l.State = admin.Unplugged
	case !i.Address.IsValid():
		l.State = admin.NoAddress
	case !i.Works:
		l.State = admin.NoRoute
	case !h.Known:
		l.State = admin.Testing
	case h.Works:
		l.State = admin.Works
	default:
		l.State = admin.NoInternet
	}
	return l
}

// FindRadios implements admin.Machine.
func (m *machine) FindRadios() ([]admin.Radio, error) {
	all, interfaces, err := readRadios(m.radios)
	if err != nil {
		return nil, err
	}
	list := radiosOf(all, interfaces, m.hotspot)
	for i, r := range list {
		list[i].Stations = cmp.Or(r.Stations, m.stations(r.Interface))
	}
	return list, nil
}

// radiosOf returns the radios that can be the hotspot, each with the hotspot's interface or its first one.
func radiosOf(all []netctl.Radio, interfaces []netctl.RadioInterface, hotspot string) (list []admin.Radio) {
	slices.SortFunc(interfaces, func(a, b netctl.RadioInterface) int { return a.Index - b.Index })
	for _, r := range all {
		its := slices.DeleteFunc(slices.Clone(interfaces), func(i netctl.RadioInterface) bool { return i.Radio != r.Index })
		if !r.AccessPoint || len(its) == 0 {
			continue
		}
		_, fast := r.Band(netctl.Band5)
		one := admin.Radio{Interface: its[0].Name, Stations: r.MaxStations, Fast: fast, Encrypts: r.OWE, Client: r.MaxBSS(true) > 0}
		for _, i := range its {
			if i.Name == hotspot {
				one.Interface = hotspot
			}
		}
		list = append(list, one)
	}
	return list
}
