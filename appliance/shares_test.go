package appliance

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/state"
	"passerelle/netctl"
)

// device returns the IP and MAC address of the n-th device.
func (h *testBox) device(n int) (netip.Addr, netctl.MAC) {
	addr := netip.AddrFrom4([4]byte{10, 80, byte(n >> 8 & 3), byte(n)})
	mac := netctl.MAC{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)}
	h.kernel.SetNeighbor(addr, mac)
	return addr, mac
}

// pass sends a resident's bytes, and counts those that pass on the line.
func (h *testBox) pass(addr netip.Addr, bytes uint64) (passed uint64) {
	h.inLoop(func() {
		passed = h.kernel.Pass(addr, bytes)
		h.uplinks.status.RxBytes += passed
	})
	return passed
}

// used returns what devices used today.
func (h *testBox) used() (used map[netctl.MAC]uint64) {
	h.inLoop(func() {
		h.box.readSample()
		used = maps.Clone(h.box.residents.usage)
	})
	return used
}

// history is a random history of a box, and what its residents' devices used today by their own count.
type history struct {
	*testBox
	*rand.Rand
	cap, limit string
	after      string
	day        int
	passed     map[netctl.MAC]uint64 // bytes that reached the internet
	tried      map[netctl.MAC]uint64 // including those that may have been counted and then dropped
	lost       map[netctl.MAC]uint64 // bytes that may be uncounted, of sessions that ended while no daemon ran
	log        []string
}

func (h *history) say(format string, a ...any) {
	h.log = append(h.log, time.Now().UTC().Format("02 15:04:05 ")+fmt.Sprintf(format, a...))
}

func (h *history) text() string {
	text := strings.Replace(confText, `cap = "0"`, fmt.Sprintf("cap = %q", h.cap), 1)
	text = strings.Replace(text, `session = "2h"`, `session = "20m"`, 1)
	text = strings.Replace(text, `after = "0"`, fmt.Sprintf("after = %q", h.after), 1)
	return strings.Replace(text, `data = "500MB"`, fmt.Sprintf("data = %q", h.limit), 1)
}

func (h *history) choose(of ...string) string { return of[h.IntN(len(of))] }

// midnight resets the counts when another day has begun.
func (h *history) midnight() {
	if day := time.Now().In(h.box.config.Box.Timezone).YearDay(); day != h.day {
		h.day = day
		clear(h.passed)
		clear(h.tried)
		clear(h.lost)
		h.say("a new day")
	}
}

// traffic sends some bytes of a resident through pass.
func (h *history) traffic(pass func(addr netip.Addr, bytes uint64) uint64) {
	h.midnight()
	addr, mac := h.device(9 + h.IntN(4))
	bytes := 1000 * h.Uint64N(1+uint64(1)<<h.IntN(15))
	n := pass(addr, bytes)
	h.passed[mac] += n
	h.tried[mac] += bytes
	h.say("%v: %d of %d bytes pass", addr, n, bytes)
}

// act does a random action of a resident or a technician.
func (h *history) act() {
	addr, _ := h.device(9 + h.IntN(4))
	switch h.IntN(5) {
	case 0, 1, 2:
		s, err := h.box.Authorize(h.Context(), addr)
		h.say("%v presses: %d bytes, %v", addr, s.DataLeft, err)
	case 3:
		h.say("%v ends: %v", addr, h.box.End(h.Context(), addr))
	case 4:
		h.limit, h.after = h.choose("0", "3MB", "40MB", "500MB"), h.choose("0", "64kbit", "1mbit")
		_, err := h.box.Reconfigure(h.Context(), h.config(h.text()))
		h.say("limit %s, then %s: %v", h.limit, h.after, err)
	}
}

func (h *history) wait(most time.Duration) {
	d := time.Duration(h.Int64N(int64(most)))
	h.say("%v pass", d)
	time.Sleep(d)
}

// check compares the box's counts with the residents' own.
func (h *history) check() {
	h.Helper()
	h.settle()
	h.midnight()
	used := h.used()
	for n := range 4 {
		addr, mac := h.device(9 + n)
		if got := used[mac]; got+h.lost[mac] < h.passed[mac] || got > h.tried[mac] {
			h.Fatalf("%v used %d to %d bytes (%d may be lost), the box counted %d:\n%s", addr, h.passed[mac], h.tried[mac], h.lost[mac], got,
				strings.Join(h.log, "\n"))
		}
	}
}

// restart ends the daemon, by a crash at a random call or by a stop, and starts another one.
func (h *history) restart() {
	gate := h.gate
	var left []netctl.Session
	var down time.Duration
	if h.IntN(2) == 0 {
		last := h.IntN(20)
		h.inLoop(func() { gate.last = last })
		h.say("it crashes after %d calls", last)
		h.act()
		h.act()
		h.inLoop(func() { gate.dead = true })
		h.stop()
		dead := map[netctl.MAC]uint64{}
		for range h.IntN(3) {
			h.traffic(func(addr netip.Addr, bytes uint64) uint64 {
				n := h.kernel.Pass(addr, bytes)
				h.uplinks.status.RxBytes += n
				dead[h.box.residents.sessions[addr].MAC] += n
				return n
			})
		}
		left, _ = h.kernel.Gate().Sessions()
		down = time.Duration(h.Int64N(int64(30 * time.Minute)))
		for _, s := range left {
			if s.Left < down+10*time.Second {
				h.lost[s.MAC] += dead[s.MAC] + netctl.UsageLag
			}
		}
	} else {
		h.handover = h.stop()
		left = h.handover.Sessions
		down = time.Duration(h.Int64N(int64(4 * time.Minute)))
	}
	time.Sleep(down)
	before := h.limit
	h.limit = h.choose(h.limit, h.limit, h.limit, "0", "3MB", "40MB", "500MB")
	h.start(h.text(), h.handover.After(down))
	h.say("after %v another daemon starts, with a limit of %s", down, h.limit)
	for _, s := range left {
		// Shares change with the hour, and small changes are ignored.
		if h.limit == before && s.Data > 4*minShare && s.Left > down+10*time.Second {
			if now, ok := h.box.residents.session(s.Addr); !ok || now.MAC != s.MAC {
				h.Fatalf("the session of %v, with %d bytes and %v left, is gone:\n%s", s.Addr, s.Data, s.Left-down, strings.Join(h.log, "\n"))
			}
		}
	}
}

// TestRestartKeepsUsage: at any cap and limit, and at any moment of a crash or stop, the next daemon knows what each device
// used today, and sessions continue.
func TestRestartKeepsUsage(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			withBox(t, 1+int(seed)%24, func(box *testBox) {
				h := &history{
					testBox: box, Rand: rand.New(rand.NewPCG(seed, 0)),
					passed: map[netctl.MAC]uint64{}, tried: map[netctl.MAC]uint64{}, lost: map[netctl.MAC]uint64{},
				}
				h.cap, h.limit = h.choose("0", "3GB", "30GB", "200GB"), h.choose("0", "3MB", "40MB", "500MB")
				h.after = h.choose("0", "64kbit", "1mbit")
				if _, err := h.box.Reconfigure(h.Context(), h.config(h.text())); err != nil {
					h.Fatal(err)
				}
				h.say("a cap of %s, a limit of %s", h.cap, h.limit)
				for range 30 {
					switch h.IntN(4) {
					case 0:
						h.traffic(h.pass)
					case 1:
						h.act()
					case 2:
						h.wait(15 * time.Minute)
					case 3:
						h.restart()
					}
					h.check()
				}
			})
		})
	}
}

// TestScarceRestart: under a cap that leaves little for each resident, a restart ends no session and grants no second share.
func TestScarceRestart(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash %t", crash), func(t *testing.T) {
			withBox(t, 10, func(h *testBox) {
				small := strings.Replace(confText, `cap = "0"`, `cap = "3GB"`, 1)
				if _, err := h.box.Reconfigure(h.Context(), h.config(small)); err != nil {
					h.Fatal(err)
				}
				h.state(state.Sharing)
				h.admit(anna)
				h.admit(bilo)
				gone, _ := h.device(11)
				share := h.admit(gone).Data
				if share > 50e6 {
					h.Fatalf("a share of %d bytes is not scarce", share)
				}
				// One device has used some, one nothing, one all.
				h.pass(anna, share/2)
				h.pass(gone, 2*share)
				h.settle()
				if _, err := h.box.Authorize(h.Context(), gone); !errors.Is(err, state.ErrDataSpent) {
					h.Fatalf("who used all presses: %v", err)
				}
				before := h.used()
				data := map[netip.Addr]uint64{}
				for _, addr := range []netip.Addr{anna, bilo} {
					s, _ := h.box.residents.session(addr)
					data[addr] = s.Data
				}
				h.inLoop(func() { h.gate.dead = crash })
				h.handover = h.stop()
				h.start(small, h.handover)
				if d := cmp.Diff(before, h.used()); d != "" {
					h.Errorf("what was used (-before +after):\n%s", d)
				}
				for addr, was := range data {
					if s, ok := h.box.residents.session(addr); !ok || max(s.Data, was)-min(s.Data, was) > was/8+minShare {
						h.Errorf("%v has %d bytes (%t), and had %d", addr, s.Data, ok, was)
					}
					if h.pass(addr, 1000) == 0 {
						h.Errorf("nothing of %v passes", addr)
					}
				}
				if _, err := h.box.Authorize(h.Context(), gone); !errors.Is(err, state.ErrDataSpent) {
					h.Errorf("who used all presses again: %v", err)
				}
			})
		})
	}
}

// TestMidnightWhileStopped: a day that ends while no daemon runs is over for the next daemon.
func TestMidnightWhileStopped(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash %t", crash), func(t *testing.T) {
			withBox(t, 23, func(h *testBox) {
				time.Sleep(57*time.Minute + 30*time.Second)
				h.admit(anna)
				h.admit(bilo)
				h.pass(anna, 100e6)
				h.pass(bilo, 600e6)
				h.settle()
				h.inLoop(func() { h.gate.dead = crash })
				handover := h.stop()
				const down = 3 * time.Minute
				time.Sleep(down)
				h.start(confText, handover.After(down))
				if s, ok := h.box.residents.session(anna); !ok || s.Data != 500e6 {
					h.Errorf("who used some yesterday has a session (%t) with %d bytes", ok, s.Data)
				}
				if s := h.admit(bilo); s.Data != 500e6 {
					h.Errorf("who used all yesterday has %d bytes", s.Data)
				}
				for mac, n := range h.used() {
					if n != 0 {
						h.Errorf("today %v used %d bytes", mac, n)
					}
				}
			})
		})
	}
}

// TestClockSetBack: a clock that is set back over midnight, trusted or not, resets usage once, also across a crash or a stop.
// The next day resets it again, also after a clock that was far ahead.
func TestClockSetBack(t *testing.T) {
	for _, c := range []struct {
		what      string
		back      time.Duration // from five minutes after midnight
		untrusted bool
		reset     time.Duration // when usage is reset, after the clock was set
	}{
		{"by ten minutes", 10 * time.Minute, false, 24*time.Hour + 5*time.Minute},
		{"by ten minutes, unknown", 10 * time.Minute, true, 0},
		{"by nine days", 9 * 24 * time.Hour, false, 47*time.Hour + 55*time.Minute},
	} {
		for _, end := range []string{"none", "a crash", "a stop"} {
			t.Run(c.what+", "+end, func(t *testing.T) {
				withBox(t, 23, func(h *testBox) {
					data := func(when string, want uint64) {
						h.Helper()
						h.settle()
						if err := h.box.End(h.Context(), anna); err != nil {
							h.Fatal(err)
						}
						if s := h.admit(anna); s.Data != want {
							h.Errorf("%s a press is worth %d bytes, want %d", when, s.Data, want)
						}
					}
					open := strings.Replace(confText, `hours = "Mo-Su 00:00-20:00,21:00-24:00"`, "", 1)
					if _, err := h.box.Reconfigure(h.Context(), h.config(open)); err != nil {
						h.Fatal(err)
					}
					h.admit(anna)
					h.pass(anna, 400e6)
					data("in the evening", 100e6)
					// at sets the clock to that long after five minutes past midnight.
					at := func(after time.Duration) {
						h.inLoop(func() {
							h.clock.off = time.Until(time.Date(2000, 1, 2, 0, 5, 0, 0, h.box.config.Box.Timezone)) + after
						})
					}
					at(0)
					data("after midnight", 500e6)
					h.pass(anna, 300e6)
					data("after some use", 200e6)

					at(-c.back)
					if c.untrusted {
						h.inLoop(func() { h.clock.by = "" })
					}
					data("after the clock was set back", 200e6)
					if end != "none" {
						dies := end == "a crash"
						h.inLoop(func() { h.gate.dead = dies })
						handover := h.stop()
						time.Sleep(4 * time.Minute)
						h.start(open, handover.After(4*time.Minute))
						data("at the next daemon", 200e6)
					}
					at(15*time.Minute - c.back)
					data("after midnight came again", 200e6)
					if c.untrusted {
						at(25*time.Hour - c.back)
						data("on an untrusted day", 200e6)
						return
					}
					at(c.reset - time.Minute - c.back)
					data("on the same day", 200e6)
					if resets := h.box.Site().DataResets.Sub(h.box.Status().Clock.Now); resets > time.Minute {
						h.Errorf("pages say that usage is reset in %v", resets)
					}
					at(c.reset - c.back)
					data("on the next day", 500e6)
				})
			})
		}
	}
}

// TestZoneIsNoNewDay: another time zone in the configuration does not reset usage.
func TestZoneIsNoNewDay(t *testing.T) {
	withBox(t, 12, func(h *testBox) {
		h.admit(anna)
		h.pass(anna, 300e6)
		for _, zone := range []string{"America/Martinique", "Europe/Paris", "Indian/Reunion"} {
			there := strings.Replace(confText, "[hotspot]", fmt.Sprintf("timezone = %q\n[hotspot]", zone), 1)
			if _, err := h.box.Reconfigure(h.Context(), h.config(there)); err != nil {
				h.Fatal(err)
			}
			h.settle()
			if n := h.used()[macA]; n != 300e6 {
				h.Errorf("in %s %d of 300 MB were used", zone, n)
			}
		}
	})
}

// TestStoppedAtOnce: a daemon that is stopped before it could restore a handover passes it on.
func TestStoppedAtOnce(t *testing.T) {
	withBox(t, 10, func(h *testBox) {
		h.admit(anna)
		h.pass(anna, 100e6)
		h.settle()
		h.handover = h.stop()
		h.kernel.Fail(errors.New("hotspot interface wlan0: Link not found"))
		for range 2 {
			h.start(confText, h.handover)
			time.Sleep(time.Minute)
			h.handover = h.stop()
		}
		h.kernel.Fail(nil)
		h.start(confText, h.handover)
		s, ok := h.box.residents.session(anna)
		if !ok || s.Data != 400e6 || s.Left > 118*time.Minute || s.Left < 117*time.Minute {
			h.Errorf("restored: %t, with %d bytes for %v", ok, s.Data, s.Left)
		}
	})
}

// TestSpoofedDevices: devices with spoofed MAC addresses do not count as residents. Usage records are bounded, a heavy user's
// is not evicted, and a newcomer is authorized with the same share as without them.
func TestSpoofedDevices(t *testing.T) {
	const most = 1<<10 - 3 // devices of a network of 22 bits
	for size, presses := range map[string]int{"3GB": 2000, "30GB": 2000, "200GB": 20_000} {
		t.Run(size, func(t *testing.T) {
			withBox(t, 9, func(h *testBox) {
				if _, err := h.box.Reconfigure(h.Context(), h.config(strings.Replace(confText, `cap = "0"`, fmt.Sprintf("cap = %q", size), 1))); err != nil {
					h.Fatal(err)
				}
				h.state(state.Sharing)
				// day returns what a newcomer may use today.
				newcomers := 500
				day := func() float64 {
					newcomers++
					addr, _ := h.device(newcomers)
					s := h.admit(addr)
					if err := h.box.End(h.Context(), addr); err != nil {
						h.Fatal(err)
					}
					return float64(s.Data)
				}
				residents := func() (n uint32) {
					h.settle()
					h.inLoop(func() { n = h.box.lines.all[0].account.Balance(h.box.lines.all[0].policy).Today.Residents })
					return n
				}
				h.admit(anna)
				h.pass(anna, 5e6)
				h.settle()
				if err := h.box.End(h.Context(), anna); err != nil {
					h.Fatal(err)
				}
				honest := residents()
				left := h.donation()
				before := day()
				near := func(what string, passed uint64) {
					h.Helper()
					// What they used is charged, as for any device.
					gone := float64(passed) / float64(left.Daily-5e6)
					if now := day(); now < before*(0.95-gone) || now > before*1.05 {
						h.Errorf("%s, a newcomer has %.0f bytes, before %.0f", what, now, before)
					}
					if n := residents(); n != honest {
						h.Errorf("%s, %d residents have come, before %d", what, n, honest)
					}
					if n := len(h.used()); n > most {
						h.Errorf("%s, %d devices are known", what, n)
					}
				}
				var passed uint64
				for n := range 150 {
					addr, _ := h.device(1<<16 + 16 + n)
					h.admit(addr)
					passed += h.pass(addr, 20e3)
				}
				near("with 150 that use 20 kB each", passed)
				for n := range 150 {
					addr, _ := h.device(1<<16 + 16 + n)
					if err := h.box.End(h.Context(), addr); err != nil {
						h.Fatal(err)
					}
				}
				near("after their sessions", passed)
				for n := range presses {
					h.kernel.SetNeighbor(bilo, netctl.MAC{6, 0, 0, 0, byte(n >> 8), byte(n)})
					h.admit(bilo)
					if n%1000 == 999 {
						near(fmt.Sprintf("with %d that press", n+1), passed)
					}
				}
				if n := h.used()[macA]; n != 5e6 {
					h.Errorf("an honest resident used 5 MB, and %d bytes are recorded", n)
				}
				if s := h.admit(anna); s.Used != 5e6 {
					h.Errorf("when that resident returns, %d bytes are recorded", s.Used)
				}
			})
		})
	}
}
