package radios

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"passerelle/appliance/config"
	"passerelle/netctl"
	"passerelle/netctl/wpa"
)

// sky is a fake of a machine's radios, and of a hostapd that follows the manager's State a second later. It records what is done to
// them, and when.
type sky struct {
	*Manager
	began time.Time
	stop  func()

	mu         sync.Mutex
	radios     []netctl.Radio
	interfaces []netctl.RadioInterface
	stations   map[string]int // of each interface
	heard      []netctl.ScanResult
	country    string
	takes      time.Duration    // how long a regulatory domain takes to be applied; 0 for never
	fails      map[string]error // errors of calls, by the method's name
	deaf       bool             // scans do not end
	stuck      bool             // hostapd does not switch, although it answered OK
	off        bool             // the radio is switched off
	slow       time.Duration    // how long hostapd takes beyond its second
	done       []string
	asked      int // how often their capabilities were read
	opened     int
	wakes      int
	log        strings.Builder
}

// radio returns a radio that can be an access point and a station at the same time.
func radio(index int) netctl.Radio {
	r := netctl.Radio{
		Index: index, Name: fmt.Sprintf("phy%d", index), AccessPoint: true, STA: true,
		BSS: 1, BSSWithSTA: 1, Channels: 1,
		Bands: []netctl.Band{{Name: netctl.Band24, HT: true}, {Name: netctl.Band5, HT: true, VHT: true}},
	}
	for n := 1; n <= 13; n++ {
		c := netctl.Channel{Number: n, MHz: 2407 + 5*n, Allowed: n <= 11, Power: 20}
		r.Bands[0].Channels = append(r.Bands[0].Channels, c)
	}
	for n := 36; n <= 48; n += 4 {
		c := netctl.Channel{Number: n, MHz: 5000 + 5*n, Power: 20}
		r.Bands[1].Channels = append(r.Bands[1].Channels, c)
	}
	return r
}

// wlan returns an interface of a radio that is not in use yet.
func wlan(n, radio int) netctl.RadioInterface {
	return netctl.RadioInterface{Name: fmt.Sprintf("wlan%d", n), Index: 3 + n, Radio: radio, Kind: netctl.RadioStation}
}

// under runs f with a manager without a configuration, in a sky with one radio that has wlan0.
func under(t *testing.T, f func(*sky)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sky{
			began: time.Now(), takes: time.Millisecond, fails: map[string]error{}, stations: map[string]int{},
			radios: []netctl.Radio{radio(0)}, interfaces: []netctl.RadioInterface{wlan(0, 0)},
		}
		s.Manager = New(Options{
			Log: slog.New(slog.NewTextHandler(s, nil)), Open: s.open, SwitchChannel: s.move, Wake: s.woken,
		})
		ctx, stop := context.WithCancel(t.Context())
		s.stop = stop
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		synctest.Wait()
		f(s)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// hotspot returns the configuration of a hotspot on wlan0, in 2.4 GHz.
func hotspot(channel int) config.Hotspot {
	return config.Hotspot{
		Interface: "wlan0", Radio: "hostapd", SSID: "Partage", Country: "FR", Band: netctl.Band24, Channel: channel,
	}
}

func (s *sky) note(format string, a ...any) {
	s.done = append(s.done, fmt.Sprintf("%v ", time.Since(s.began))+fmt.Sprintf(format, a...))
}

func (s *sky) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(line)
}

func (s *sky) open() (Driver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	return s, s.fails["Open"]
}

func (s *sky) Radios() ([]netctl.Radio, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	list := slices.Clone(s.radios)
	for n, r := range list {
		list[n].Bands = slices.Clone(r.Bands)
		for m, b := range r.Bands {
			list[n].Bands[m].Channels = slices.Clone(b.Channels)
			for c := range b.Channels {
				if b.Name == netctl.Band5 { // no network may be started there without a country's rules
					list[n].Bands[m].Channels[c].Allowed = s.country == "FR"
				}
			}
		}
	}
	return list, s.fails["Radios"]
}

func (s *sky) Interfaces() ([]netctl.RadioInterface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.interfaces), s.fails["Interfaces"]
}

func (s *sky) Stations(list []netctl.RadioInterface) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range list {
		n += s.stations[i.Name]
	}
	return n, s.fails["Stations"]
}

func (s *sky) Country() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.country, "00"), s.fails["Country"]
}

func (s *sky) SetCountry(alpha2 string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("country %s", alpha2)
	if s.takes > 0 {
		time.AfterFunc(s.takes, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.country = alpha2
		})
	}
	return s.fails["SetCountry"]
}

func (s *sky) SetUp(i netctl.RadioInterface) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off {
		return errors.New("the radio is switched off")
	}
	return s.fails["SetUp"]
}

func (s *sky) Add(r netctl.Radio, name string, kind netctl.RadioKind) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("add %s %s to %s", kind, name, r.Name)
	if err := s.fails["Add"]; err != nil {
		return err
	}
	i := netctl.RadioInterface{Name: name, Index: 20 + len(s.interfaces), Radio: r.Index, Kind: kind}
	s.interfaces = append(s.interfaces, i)
	return nil
}

func (s *sky) Remove(i netctl.RadioInterface) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("remove %s", i.Name)
	s.interfaces = slices.DeleteFunc(s.interfaces, func(j netctl.RadioInterface) bool { return j.Name == i.Name })
	return s.fails["Remove"]
}

func (s *sky) Scan(ctx context.Context, i netctl.RadioInterface) ([]netctl.ScanResult, []netctl.Survey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("listen with %s", i.Name)
	if j := find(s.interfaces, i.Name); j == nil || j.Kind == netctl.RadioAccessPoint && j.MHz != 0 {
		return nil, nil, errors.New("it is an access point")
	}
	if s.deaf {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return nil, nil, ctx.Err()
	}
	return s.heard, nil, s.fails["Scan"]
}

func (s *sky) move(_ context.Context, device string, to wpa.Channel) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("move %s to %d", device, to.MHz)
	if err := s.fails["Switch"]; err != nil {
		return err
	}
	if !s.stuck {
		time.AfterFunc(7*time.Second, func() { s.air(device, to.MHz) })
	}
	return nil
}

func (s *sky) woken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakes++
	time.AfterFunc(time.Second+s.slow, s.hostapd)
}

// hostapd starts an access point, stops it or moves it to another band, as the State says.
func (s *sky) hostapd() {
	a := s.State().AccessPoint
	if a == nil || s.off {
		s.air("wlan0", 0)
		return
	}
	band, _ := a.Radio.Band(a.Band)
	to, _ := band.Channel(a.Channel)
	s.mu.Lock()
	now := 0
	if i := find(s.interfaces, a.Interface); i != nil {
		now = i.MHz
	}
	s.mu.Unlock()
	if _, is := netctl.ChannelNumber(now); !a.WithSTA || is != a.Band {
		s.air(a.Interface, to.MHz)
	}
}

// air makes an access point send on a frequency; 0 for none.
func (s *sky) air(device string, mhz int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := find(s.interfaces, device)
	if i == nil || i.MHz == mhz {
		return
	}
	i.Kind, i.MHz = netctl.RadioAccessPoint, mhz
	if mhz == 0 {
		i.Kind = netctl.RadioStation
	}
	s.note("%s sends on %d", device, mhz)
}

// change changes the sky.
func (s *sky) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// expect fails the test unless exactly these actions were recorded since the last call.
func (s *sky) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := gocmp.Diff(want, s.done, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
	s.done = nil
}

// complained fails the test unless the log has the text that many times.
func (s *sky) complained(t *testing.T, what string, times int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := strings.Count(s.log.String(), what); n != times {
		t.Errorf("the log says %q %d times, want %d:\n%s", what, n, times, &s.log)
	}
}

func TestNothingIsWanted(t *testing.T) {
	under(t, func(s *sky) {
		s.Set(Config{Hotspot: config.Hotspot{Interface: "eth1", Radio: "none", Country: "FR"}})
		time.Sleep(time.Hour)
		s.expect(t)
		if s.opened != 0 || s.wakes != 0 {
			t.Errorf("the radios were opened %d times, the loop was woken %d times", s.opened, s.wakes)
		}
	})
}

// TestRulesOfTheCountry: 5 GHz is forbidden until the radios follow the country's rules.
func TestRulesOfTheCountry(t *testing.T) {
	for what, c := range map[string]struct {
		takes time.Duration
		fails error
		want  []string
		why   string
	}{
		"soon":   {takes: 120 * time.Millisecond, want: []string{"0s country FR", "150ms listen with wlan0", "1.15s wlan0 sends on 5180"}},
		"never":  {want: []string{"0s country FR"}, why: "the rules of FR allow no network on 5GHz with this radio: write the other band"},
		"denied": {fails: errors.New("operation not permitted"), why: "operation not permitted", want: []string{"0s country FR", "5s country FR"}},
	} {
		t.Run(what, func(t *testing.T) {
			under(t, func(s *sky) {
				h := hotspot(0)
				h.Band = netctl.Band5
				s.takes, s.fails["SetCountry"] = c.takes, c.fails
				s.Set(Config{Hotspot: h})
				time.Sleep(9 * time.Second)
				s.expect(t, c.want...)
				if got := s.State(); got.Why != c.why || got.Failed != (c.why != "") || got.Beaconing != (c.why == "") {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// TestSwitchedOff: a radio that is switched off while it serves is a fault, until it is on again.
func TestSwitchedOff(t *testing.T) {
	under(t, func(s *sky) {
		s.Set(Config{Hotspot: hotspot(6)})
		time.Sleep(time.Minute)
		s.expect(t, "0s country FR", "1.05s wlan0 sends on 2437")
		s.change(func() { s.off = true })
		s.air("wlan0", 0)
		time.Sleep(startTimeout)
		if got := s.State(); got.Failed || got.AccessPoint == nil {
			t.Errorf("hostapd has no time to begin: %+v", got)
		}
		time.Sleep(2 * pollInterval)
		if got := s.State(); !got.Failed || got.AccessPoint != nil || got.Why != "the radio is switched off" {
			t.Errorf("%+v", got)
		}
		s.change(func() { s.off = false })
		time.Sleep(3 * pollInterval)
		if got := s.State(); !got.Beaconing || got.Failed {
			t.Errorf("it is on again: %+v", got)
		}
	})
}

// TestAnotherCountry: another country is configured while the access point sends on a channel that the country's rules forbid.
func TestAnotherCountry(t *testing.T) {
	under(t, func(s *sky) {
		h := hotspot(0)
		h.Band = netctl.Band5
		s.Set(Config{Hotspot: h})
		time.Sleep(10 * time.Second)
		s.expect(t, "0s country FR", "50ms listen with wlan0", "1.05s wlan0 sends on 5180")
		h.Country = "ZZ"
		s.Set(Config{Hotspot: h, InUse: true})
		time.Sleep(10 * time.Second)
		s.expect(t, "10s country ZZ", "11.05s wlan0 sends on 0")
		h.Band = netctl.Band24
		s.Set(Config{Hotspot: h, InUse: true})
		time.Sleep(2 * time.Second)
		s.expect(t, "20s listen with wlan0", "21s wlan0 sends on 2412")
	})
}

// TestChannelIsForbidden: the access point's channel is forbidden, but not those beside it. It must switch, even if stations are
// connected.
func TestChannelIsForbidden(t *testing.T) {
	under(t, func(s *sky) {
		s.Set(Config{Hotspot: hotspot(0)})
		time.Sleep(10 * time.Second)
		s.expect(t, "0s country FR", "50ms listen with wlan0", "1.05s wlan0 sends on 2412")
		s.Set(Config{Hotspot: hotspot(0), InUse: true})
		s.change(func() { s.radios[0].Bands[0].Channels[0].Allowed = false })
		time.Sleep(2 * staleAfter)
		s.expect(t, "1m6s wlan0 sends on 0", "1m10s listen with wlan0", "1m11s wlan0 sends on 2437")
	})
}

func TestNoAccessPoint(t *testing.T) {
	for want, spoil := range map[string]func(*sky, *config.Hotspot){
		"no radio at all": func(s *sky, _ *config.Hotspot) { s.fails["Open"] = errors.New("no radio at all") },
		"they are mute":   func(s *sky, _ *config.Hotspot) { s.fails["Radios"] = errors.New("they are mute") },
		"there is no radio wlan1: plug its adapter in, or write another interface": func(_ *sky, h *config.Hotspot) {
			h.Interface = "wlan1"
		},
		"the radio of wlan0 cannot be an access point: another Wi-Fi adapter can": func(s *sky, _ *config.Hotspot) {
			s.radios[0].AccessPoint = false
		},
		"the radio of wlan0 does not have the band 5GHz": func(s *sky, h *config.Hotspot) {
			s.radios[0].Bands, h.Band = s.radios[0].Bands[:1], netctl.Band5
		},
		"channel 13 is not allowed here: write another one, or 0": func(_ *sky, h *config.Hotspot) {
			h.Channel = 13
		},
		"the rules of FR allow no network on 2.4GHz with this radio: write the other band": func(s *sky, _ *config.Hotspot) {
			for n := range s.radios[0].Bands[0].Channels {
				s.radios[0].Bands[0].Channels[n].Allowed = false
			}
		},
	} {
		t.Run(want, func(t *testing.T) {
			under(t, func(s *sky) {
				h := hotspot(0)
				spoil(s, &h)
				s.Set(Config{Hotspot: h})
				time.Sleep(time.Hour)
				missing := strings.HasPrefix(want, "no radio") || strings.HasPrefix(want, "there is no radio")
				if diff := gocmp.Diff(State{Why: want, Failed: true, Missing: missing}, s.State()); diff != "" {
					t.Errorf("state (-want +got):\n%s", diff)
				}
				synctest.Wait()
				if strings.Contains(fmt.Sprint(s.done), "listen") {
					t.Errorf("it listens for a channel that it cannot use: %q", s.done)
				}
				if s.wakes != 1 || strings.Count(s.log.String(), "\n") > 1 {
					t.Errorf("the loop was woken %d times; log:\n%s", s.wakes, &s.log)
				}
			})
		})
	}
}

func TestChannelThatIsNamed(t *testing.T) {
	under(t, func(s *sky) {
		s.Set(Config{Hotspot: hotspot(9)})
		time.Sleep(48 * time.Hour)
		s.expect(t, "0s country FR", "1.05s wlan0 sends on 2452")
		if got := s.State(); !got.Beaconing || got.MHz != 2452 || got.AccessPoint.Channel != 9 {
			t.Errorf("%+v", got)
		}
		if s.wakes != 2 { // for the access point to start, and for its start
			t.Errorf("the loop was woken %d times", s.wakes)
		}
		s.Set(Config{Hotspot: hotspot(0)})
		time.Sleep(time.Hour)
		s.expect(t) // the running access point stays
	})
}

// TestChannelThatIsChosen: a channel is chosen before there is an access point, and again after a day, once no station is connected
// and the access point has ended.
func TestChannelThatIsChosen(t *testing.T) {
	under(t, func(s *sky) {
		s.heard = []netctl.ScanResult{{MHz: 2412, Signal: -40}, {MHz: 2437, Signal: -50}}
		s.Set(Config{Hotspot: hotspot(0)})
		time.Sleep(time.Minute)
		s.expect(t, "0s country FR", "50ms listen with wlan0", "1.05s wlan0 sends on 2462")
		s.change(func() { s.heard = []netctl.ScanResult{{MHz: 2462, Signal: -40}} })
		s.Set(Config{Hotspot: hotspot(0), InUse: true})
		time.Sleep(36 * time.Hour)
		s.expect(t)

		s.change(func() { s.slow = 20 * time.Second })
		s.Set(Config{Hotspot: hotspot(0)})
		time.Sleep(19 * time.Second)
		s.expect(t)
		if got := s.State(); got.AccessPoint != nil || got.Failed || got.Why == "" {
			t.Errorf("before it listens: %+v", got)
		}
		time.Sleep(time.Minute)
		s.expect(t, "36h1m21s wlan0 sends on 0", "36h1m25s listen with wlan0", "36h1m46s wlan0 sends on 2412")
		time.Sleep(23 * time.Hour)
		s.expect(t)
	})
}

// TestSomebodyComes: a station connects when the channel is about to be chosen again, before the access point has ended.
func TestSomebodyComes(t *testing.T) {
	under(t, func(s *sky) {
		s.Set(Config{Hotspot: hotspot(0)})
		time.Sleep(time.Hour)
		s.expect(t, "0s country FR", "50ms listen with wlan0", "1.05s wlan0 sends on 2412")
		s.change(func() { s.slow = time.Minute })
		time.Sleep(rescanAfter - time.Hour + 10*time.Second)
		if s.State().AccessPoint != nil {
			t.Error("the channel is not chosen again")
		}
		s.Set(Config{Hotspot: hotspot(0), InUse: true})
		time.Sleep(time.Hour)
		s.expect(t)
		if got := s.State(); !got.Beaconing || got.AccessPoint == nil {
			t.Errorf("%+v", got)
		}
	})
}

func TestListeningFails(t *testing.T) {
	for what, spoil := range map[string]func(*sky){
		"not up":      func(s *sky) { s.fails["SetUp"] = errors.New("no way") },
		"no scan":     func(s *sky) { s.fails["Scan"] = errors.New("no way") },
		"without end": func(s *sky) { s.deaf = true },
	} {
		t.Run(what, func(t *testing.T) {
			under(t, func(s *sky) {
				spoil(s)
				s.Set(Config{Hotspot: hotspot(0)})
				time.Sleep(time.Hour)
				if got := s.State(); !got.Beaconing || got.AccessPoint == nil || got.AccessPoint.Channel != 1 {
					t.Errorf("%+v", got)
				}
				s.complained(t, "WARN", 1)
			})
		})
	}
}

// TestNobodyWaits: the loop never blocks on the manager, and Run ends with its context, without an error.
func TestNobodyWaits(t *testing.T) {
	under(t, func(s *sky) {
		s.deaf = true
		s.Set(Config{Hotspot: hotspot(0)})
		time.Sleep(time.Second)
		s.expect(t, "0s country FR", "50ms listen with wlan0")
		began := time.Now()
		for n := range 3 {
			s.Set(Config{Hotspot: hotspot(n)})
			s.AssociationRejected()
			s.State()
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("the loop waited %v", d)
		}
		s.stop()
		synctest.Wait()
		s.complained(t, "WARN", 0)
	})
}

func TestMissingInterfaces(t *testing.T) {
	join := []Uplink{{Interface: "wlan1"}}
	for _, c := range []struct {
		what   string
		there  []netctl.RadioInterface
		serves string
		joins  []Uplink
		alone  bool // the radio cannot be an access point and a station at the same time
		fails  error
		want   []string
		said   string
	}{
		{
			what: "to join", there: []netctl.RadioInterface{wlan(0, 0)}, serves: "hostapd", joins: join,
			want: []string{"50ms add station wlan1 to phy0"},
		},
		{
			what: "to serve", there: []netctl.RadioInterface{wlan(1, 0)}, serves: "hostapd", joins: join,
			want: []string{"50ms add ap wlan0 to phy0"},
		},
		{
			what: "two to join", there: []netctl.RadioInterface{wlan(0, 0)}, serves: "hostapd",
			joins: []Uplink{{Interface: "wlan2"}, {Interface: "wlan1"}},
			want:  []string{"50ms add station wlan2 to phy0", "50ms add station wlan1 to phy0"},
		},
		{what: "none", there: []netctl.RadioInterface{wlan(0, 0), wlan(1, 1)}, serves: "hostapd", joins: join},
		{what: "of a radio that cannot", there: []netctl.RadioInterface{wlan(0, 0)}, serves: "hostapd", joins: join, alone: true},
		{
			what: "of no access point", there: []netctl.RadioInterface{wlan(2, 0)}, serves: "none",
			joins: []Uplink{{Interface: "wlan2"}, {Interface: "wlan1"}},
		},
		{
			what: "in vain", there: []netctl.RadioInterface{wlan(0, 0)}, serves: "hostapd", joins: join,
			fails: errors.New("device busy"), said: "device busy",
			want: []string{"50ms add station wlan1 to phy0", "5s add station wlan1 to phy0", "10s add station wlan1 to phy0"},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			under(t, func(s *sky) {
				s.radios = append(s.radios, radio(1))
				s.interfaces = c.there
				s.fails["Add"] = c.fails
				if c.alone {
					s.radios[0].BSSWithSTA = 0
				}
				h := hotspot(6)
				h.Radio = c.serves
				s.Set(Config{Hotspot: h, Uplinks: c.joins})
				time.Sleep(14 * time.Second)
				s.change(func() {
					s.done = slices.DeleteFunc(s.done, func(d string) bool { return !strings.Contains(d, " add ") })
				})
				s.expect(t, c.want...)
				times := 0
				if c.said != "" {
					times = 1
				}
				s.complained(t, "WARN", times)
				s.complained(t, cmp.Or(c.said, "error"), times)
				if got := s.State(); got.Beaconing != (c.serves == "hostapd") {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// TestTakesAwayWhatItMade: the manager removes the interfaces that it created when they are no longer wanted, or when it ends.
// Interfaces that existed before stay.
func TestTakesAwayWhatItMade(t *testing.T) {
	under(t, func(s *sky) {
		join := Config{Hotspot: hotspot(6), Uplinks: []Uplink{{Interface: "wlan1"}}}
		s.Set(join)
		time.Sleep(10 * time.Second)
		s.expect(t, "0s country FR", "50ms add station wlan1 to phy0", "1.05s wlan0 sends on 2437")
		s.Set(Config{Hotspot: hotspot(6)})
		s.expect(t, "10s remove wlan1")
		s.Set(join)
		time.Sleep(10 * time.Second)
		s.expect(t, "10s add station wlan1 to phy0")
		s.stop()
		s.expect(t, "20s remove wlan1")
	})
}

// TestFollowsALender: the access point follows the channel of a lender's network that the same radio joins.
func TestFollowsALender(t *testing.T) {
	at := func(mhz int) Config {
		return Config{Hotspot: hotspot(6), Uplinks: []Uplink{{Interface: "wlan1", MHz: mhz}}, InUse: true}
	}
	under(t, func(s *sky) {
		s.interfaces = append(s.interfaces, wlan(1, 0))
		s.Set(at(0))
		time.Sleep(10 * time.Second)
		s.expect(t, "0s country FR", "1.05s wlan0 sends on 2437") // the lender's channel is not known yet
		if got := s.State(); !got.SharedChannel || !got.AccessPoint.WithSTA {
			t.Errorf("%+v", got)
		}
		s.Set(at(2462))
		time.Sleep(time.Minute)
		s.expect(t, "10s move wlan0 to 2462", "17s wlan0 sends on 2462")
		if got := s.State(); got.MHz != 2462 || got.AccessPoint.Channel != 11 {
			t.Errorf("%+v", got)
		}

		s.change(func() { s.fails["Switch"] = errors.New("hostapd is busy") })
		s.Set(at(2412)) // if hostapd refuses to switch, it is restarted
		time.Sleep(time.Minute)
		s.expect(t, "1m10s move wlan0 to 2412", "1m11s wlan0 sends on 0", "1m16s wlan0 sends on 2412")
		s.complained(t, "hostapd is busy", 1)
		s.change(func() { s.fails, s.stuck = nil, true })
		s.Set(at(2437)) // likewise if it answers OK and does not switch
		time.Sleep(time.Minute)
		s.expect(t, "2m10s move wlan0 to 2437", "2m21s wlan0 sends on 0", "2m26s wlan0 sends on 2437")
		s.change(func() { s.stuck = false })

		s.Set(at(5180)) // a change of the band needs a restart
		time.Sleep(time.Minute)
		s.expect(t, "3m11s wlan0 sends on 5180")
		if a := s.State().AccessPoint; a.Band != netctl.Band5 || a.Channel != 36 {
			t.Errorf("%+v", a)
		}
	})
}

func TestDoesNotFollow(t *testing.T) {
	for what, c := range map[string]struct {
		mhz     int
		change  func(*sky)
		follows bool // it shares the radio nevertheless
	}{
		"another radio":        {2462, func(s *sky) { s.interfaces[1].Radio = 1 }, false},
		"two channels at once": {2462, func(s *sky) { s.radios[0].Channels = 2 }, true},
		"where it may not":     {2467, func(*sky) {}, true},
		"an unknown band":      {5955, func(*sky) {}, true},
	} {
		t.Run(what, func(t *testing.T) {
			under(t, func(s *sky) {
				s.radios, s.interfaces = append(s.radios, radio(1)), append(s.interfaces, wlan(1, 0))
				c.change(s)
				s.Set(Config{Hotspot: hotspot(6), Uplinks: []Uplink{{Interface: "wlan1", MHz: c.mhz}}})
				time.Sleep(time.Hour)
				s.expect(t, "0s country FR", "1.05s wlan0 sends on 2437")
				if got := s.State(); got.SharedChannel != c.follows {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// TestRadioComesBack: a USB adapter is pulled out and plugged in again. To the kernel it is another radio, with another interface.
func TestRadioComesBack(t *testing.T) {
	under(t, func(s *sky) {
		s.Set(Config{Hotspot: hotspot(6)})
		time.Sleep(12 * time.Second)
		s.expect(t, "0s country FR", "1.05s wlan0 sends on 2437")
		s.change(func() { s.radios, s.interfaces = nil, nil })
		time.Sleep(10 * time.Second)
		if got := s.State(); got.AccessPoint != nil || !got.Failed {
			t.Errorf("without a radio: %+v", got)
		}
		s.change(func() {
			i := wlan(0, 7)
			i.Index = 9
			s.interfaces = append(s.interfaces, i) // the driver is slow to report the rest
		})
		time.Sleep(5 * time.Second)
		if got := s.State(); got.AccessPoint != nil || got.Failed || got.Why != "the radio has just appeared" {
			t.Errorf("with half a radio: %+v", got)
		}
		s.change(func() { s.radios = append(s.radios, radio(7)) })
		time.Sleep(10 * time.Second)
		s.expect(t, "31s wlan0 sends on 2437")
		if a := s.State().AccessPoint; a == nil || a.Index != 9 || a.Radio.Name != "phy7" {
			t.Errorf("%+v", a)
		}
	})
}

// TestAsksSeldom: the radios' capabilities are not read all the time.
func TestAsksSeldom(t *testing.T) {
	under(t, func(s *sky) {
		s.Set(Config{Hotspot: hotspot(6)})
		time.Sleep(time.Hour)
		synctest.Wait()
		if s.asked > 60 || s.asked < 50 {
			t.Errorf("asked %d times in an hour", s.asked)
		}
		if s.opened != 1 {
			t.Errorf("opened %d times", s.opened)
		}
	})
}

// TestRadiosDoNotAnswer: a failed read says nothing about the radio. It is a fault only after a while.
func TestRadiosDoNotAnswer(t *testing.T) {
	under(t, func(s *sky) {
		s.Set(Config{Hotspot: hotspot(6)})
		time.Sleep(12 * time.Second)
		good := s.State()
		s.change(func() { s.fails["Interfaces"] = errors.New("no buffer space") })
		time.Sleep(50 * time.Second)
		if diff := gocmp.Diff(good, s.State()); diff != "" {
			t.Errorf("for a moment (-before +now):\n%s", diff)
		}
		time.Sleep(20 * time.Second)
		if got := s.State(); !got.Failed || got.Why != "no buffer space" || got.AccessPoint != nil {
			t.Errorf("for a while: %+v", got)
		}
		s.complained(t, "no buffer space", 1)
		s.change(func() { s.fails = nil })
		time.Sleep(20 * time.Second)
		if diff := gocmp.Diff(good, s.State()); diff != "" {
			t.Errorf("again (-before +now):\n%s", diff)
		}
		s.change(func() { s.fails = map[string]error{"Interfaces": errors.New("no buffer space")} })
		time.Sleep(20 * time.Second)
		s.complained(t, "no buffer space", 2) // it is a new error
	})
}

func TestStationsAreCounted(t *testing.T) {
	under(t, func(s *sky) {
		s.Set(Config{Hotspot: hotspot(6)})
		time.Sleep(10 * time.Second)
		for _, c := range []struct {
			what     string
			stations int
			refused  bool
			fails    error
			most     int
			full     bool
		}{
			{what: "three", stations: 3},
			{what: "no answer", stations: 9, fails: errors.New("no answer")},
			{what: "eight", stations: 8},
			{what: "one is turned away", stations: 8, refused: true, most: 8, full: true},
			{what: "still eight", stations: 8, most: 8, full: true},
			{what: "one leaves", stations: 7, most: 8},
			{what: "and comes back", stations: 8, most: 8},
			{what: "more than was thought", stations: 10, most: 10},
			{what: "fewer than was thought", stations: 6, refused: true, most: 6, full: true},
			{what: "one more all the same", stations: 7, most: 7},
		} {
			before := s.State().Stations
			s.change(func() { s.stations["wlan0"], s.fails["Stations"] = c.stations, c.fails })
			if c.refused {
				s.AssociationRejected()
			} else {
				time.Sleep(pollInterval)
			}
			synctest.Wait()
			want := c.stations
			if c.fails != nil {
				want = before
			}
			if got := s.State(); got.Stations != want || got.MaxStations != c.most || got.Full != c.full {
				t.Errorf("%s: %+v", c.what, got)
			}
		}
		s.complained(t, "no answer", 1)
	})
}

// TestMostIsKnown: the maximum of stations is the one that the radio reports, or the one known for the board. The twin of an open
// network counts too.
func TestMostIsKnown(t *testing.T) {
	under(t, func(s *sky) {
		s.opt.Stations = func(string) int { return 19 }
		s.radios[0].OWE, s.radios[0].BSS = true, 2
		s.stations = map[string]int{"wlan0": 3, oweInterface: 2, "wlan1": 7}
		s.interfaces = append(s.interfaces, wlan(1, 0), netctl.RadioInterface{Name: oweInterface, Index: 30})
		s.Set(Config{Hotspot: hotspot(6)})
		time.Sleep(10 * time.Second)
		if got := s.State(); got.Stations != 5 || got.MaxStations != 19 || got.AccessPoint.MaxStations != 19 {
			t.Errorf("%+v", got)
		}
		s.change(func() { s.radios[0].MaxStations = 32 })
		time.Sleep(2 * staleAfter)
		s.AssociationRejected()
		synctest.Wait()
		if got := s.State(); got.MaxStations != 32 || got.AccessPoint.MaxStations != 32 || !got.Full {
			t.Errorf("%+v", got)
		}
	})
}

// TestWakes: the loop is woken once for each change, and for nothing else.
func TestWakes(t *testing.T) {
	under(t, func(s *sky) {
		s.Set(Config{Hotspot: hotspot(6)})
		time.Sleep(10 * time.Second)
		woken := func(want int) {
			t.Helper()
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.wakes != want {
				t.Errorf("woken %d times, want %d", s.wakes, want)
			}
			s.wakes = 0
		}
		woken(2)
		time.Sleep(time.Hour)
		woken(0)
		s.change(func() { s.stations["wlan0"] = 1 })
		time.Sleep(time.Minute)
		woken(1)
		h := hotspot(6)
		h.SSID = "Partage de Co"
		s.Set(Config{Hotspot: h})
		woken(1)
		s.Set(Config{Hotspot: h})
		woken(0)
		s.change(func() { s.radios[0].Bands[0].Channels[5].Power = 30 }) // the rules changed
		time.Sleep(2 * staleAfter)
		woken(1)
	})
}
