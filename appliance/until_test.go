package appliance

import (
	"strings"
	"testing"
	"time"
)

// TestUntil: a donation with a last day is used until that day is over, is joined but not used while the day is not known, and
// comes back if the clock turns out to have been ahead.
func TestUntil(t *testing.T) {
	l := newTestLines(t, donationText("Lucie", "wlan1", "until = \"2026-03-04\"\ncap = \"2GB\"\nperiod = \"once\"\n"+
		`wifi = { ssid = "Lucie", passphrase = "trois petits chats" }`)+donationText("Mairie", "eth1", ""))
	zone := l.lines.config.Box.Timezone
	for _, c := range []struct {
		what           string
		at             time.Time
		trusted        bool
		open, ended    bool
		undated, joins bool
	}{
		{"on its last day", time.Date(2026, 3, 4, 23, 59, 59, 0, zone), true, true, false, false, true},
		{"after it", time.Date(2026, 3, 5, 0, 0, 0, 0, zone), true, false, true, false, false},
		{"before, by a clock that is not trusted", time.Date(2026, 3, 1, 0, 0, 0, 0, zone), false, false, false, true, true},
		{"after, by a clock that is not trusted", time.Date(2027, 3, 1, 0, 0, 0, 0, zone), false, false, false, true, true},
		{"on its last day again, by a clock that was ahead", time.Date(2026, 3, 4, 12, 0, 0, 0, zone), true, true, false, false, true},
	} {
		l.setTime(c.at, c.trusted)
		l.reconcile()
		l.probe(false)
		x := l.observations()
		if x[0].Open != c.open || x[0].Ended != c.ended || x[0].Undated != c.undated {
			t.Errorf("%s: %+v", c.what, x[0])
		}
		if !x[1].Open || x[1].Ended || x[1].Undated {
			t.Errorf("%s, the other one: %+v", c.what, x[1])
		}
		joins := len(l.joins()) == 1 && len(l.lentNetworks("/run")) == 1 && len(l.radios()) == 1
		if none := len(l.joins()) == 0 && len(l.lentNetworks("/run")) == 0 && len(l.radios()) == 0; joins != c.joins || none == c.joins {
			t.Errorf("%s: it is joined: %v", c.what, joins)
		}
		probed := false
		for _, p := range l.prober.lines {
			probed = probed || p.Interface == "wlan1"
		}
		if probed != c.open {
			t.Errorf("%s: it is probed: %v", c.what, probed)
		}
	}
}

// TestUntilInStatus: the status has the last day, and the reason why nothing is shared.
func TestUntilInStatus(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		text := strings.Replace(confText, `cap = "0"`, "cap = \"0\"\nuntil = \"2026-12-31\"", 1)
		at := func(day string, by string) {
			h.Helper()
			when, err := time.ParseInLocation(time.DateOnly, day, time.UTC)
			if err != nil {
				h.Fatal(err)
			}
			h.inLoop(func() { h.clock.off, h.clock.by = time.Until(when.Add(12*time.Hour)), by })
			if _, err := h.box.Reconfigure(h.Context(), h.config(text)); err != nil {
				h.Fatal(err)
			}
		}
		at("2026-12-31", "a time server")
		if s := h.box.Status(); s.State != "sharing" || s.Donations[0].Ended || s.Donations[0].Until.Format(time.DateOnly) != "2026-12-31" {
			h.Errorf("on the last day: %s, %+v", s.State, s.Donations[0])
		}
		at("2027-01-01", "a time server")
		if s := h.box.Status(); s.State != "closed" || s.Why != "the last day of every donation is over" || !s.Donations[0].Ended {
			h.Errorf("after it: %s, %s, %+v", s.State, s.Why, s.Donations[0])
		}
		at("2026-06-01", "")
		if s := h.box.Status(); s.State != "closed" || !strings.Contains(s.Why, "the time of day is not trusted") || s.Donations[0].Ended || !s.Donations[0].Undated {
			h.Errorf("without a clock: %s, %s, %+v", s.State, s.Why, s.Donations[0])
		}
	})
}
