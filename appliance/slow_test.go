package appliance

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
)

// lane is the slow lane of slowText, in bytes a second.
const lane = 64_000 / 8

// withSlow runs a test with a box that has a slow lane.
func withSlow(t *testing.T, hour int, test func(h *testBox)) {
	withBox(t, hour, func(h *testBox) {
		if _, err := h.box.Reconfigure(h.Context(), h.config(slowText)); err != nil {
			h.Fatal(err)
		}
		test(h)
	})
}

// spend uses up a resident's share of the day.
func (h *testBox) spend(n int) {
	h.Helper()
	addr, _ := h.device(n)
	s := h.admit(addr)
	h.pass(addr, s.Data+1e6)
	h.settle()
}

// TestSlowLane: a resident who has used all data stays in the slow lane until the day ends.
func TestSlowLane(t *testing.T) {
	withSlow(t, 20, func(h *testBox) {
		time.Sleep(time.Hour) // the line opens
		h.spend(9)
		s, ok := h.box.Session(anna)
		if !ok || !s.Slow || !s.Limited || s.DataLeft != 0 {
			h.Errorf("with all data used the session is %+v (%t)", s, ok)
		}
		if r := h.box.Status().Residents; r.Slow != 1 || r.Sessions != 1 || r.After != 64e3 {
			h.Errorf("the status says %+v", r)
		}
		before := h.used()[macA]
		// Without pressing, pressing, and ending and pressing.
		for what, press := range map[string]func(){
			"nothing": func() {},
			"press": func() {
				if s := h.admit(anna); !s.Slow() || s.Left > 2*time.Hour-time.Minute {
					h.Errorf("a press of who has a session gives %d bytes for %v", s.Data, s.Left)
				}
			},
			"end and press": func() {
				if err := h.box.End(h.Context(), anna); err != nil {
					h.Fatal(err)
				}
				h.admit(anna)
			},
		} {
			time.Sleep(time.Minute)
			var passed uint64
			for range 60 {
				press()
				passed += h.pass(anna, 100e3)
				time.Sleep(time.Second)
			}
			if passed < 58*lane || passed > 60*lane {
				h.Errorf("%s: %d bytes passed in a minute, the lane has %d", what, passed, 60*lane)
			}
			if what == "end and press" {
				h.settle()
			}
		}
		h.settle()
		if n := h.used()[macA]; n < before+3*58*lane {
			h.Errorf("in the lane, what he used went from %d to %d", before, n)
		}
		if s := h.admit(bilo); s.Data != 500e6 {
			h.Errorf("another resident has %d bytes", s.Data)
		}
		time.Sleep(3 * time.Hour) // midnight
		h.settle()
		if s := h.admit(anna); s.Data != 500e6 {
			h.Errorf("the next day %d bytes", s.Data)
		}
	})
}

// TestSlowLaneRestart: across a crash or a stop, sessions stay in the lane and keep their usage. Without a daemon the kernel goes on.
func TestSlowLaneRestart(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash %t", crash), func(t *testing.T) {
			withSlow(t, 10, func(h *testBox) {
				h.spend(9)
				h.spend(10)
				if err := h.box.End(h.Context(), bilo); err != nil {
					h.Fatal(err)
				}
				before := h.used()
				h.inLoop(func() { h.gate.dead = crash })
				h.handover = h.stop()
				time.Sleep(time.Minute)
				var alone uint64
				if crash {
					if alone = h.kernel.Pass(anna, 100e3); alone == 0 || alone > lane {
						h.Errorf("while no daemon runs %d bytes pass", alone)
					}
				}
				h.start(slowText, h.handover.After(time.Minute))
				h.settle()
				s, ok := h.box.residents.session(anna)
				if !ok || !s.Slow() || s.Left > 119*time.Minute {
					h.Errorf("the next daemon has the session: %t, with %d bytes for %v", ok, s.Data, s.Left)
				}
				used := h.used()
				if used[macA] < before[macA]+alone || used[macB] < before[macB] {
					h.Errorf("what was used went from %v to %v", before, used)
				}
				if s := h.admit(bilo); !s.Slow() {
					h.Errorf("who had used all presses, and has %d bytes", s.Data)
				}
				time.Sleep(time.Minute)
				if n := h.pass(anna, 100e3); n == 0 || n > lane {
					h.Errorf("then %d bytes pass", n)
				}
				// Without a lane, the sessions end.
				if _, err := h.box.Reconfigure(h.Context(), h.config(confText)); err != nil {
					h.Fatal(err)
				}
				h.settle()
				if n := h.box.Status().Residents.Sessions; n != 0 {
					h.Errorf("without a lane there are %d sessions", n)
				}
				if _, err := h.box.Authorize(h.Context(), anna); !errors.Is(err, state.ErrDataSpent) {
					h.Errorf("without a lane a press: %v", err)
				}
			})
		})
	}
}

// TestSlowLaneOfACap: the lane's bytes are charged to the cap. It closes when an eighth of what the day has left was used beyond
// the shares, however many devices are made up to use it, and a newcomer's share stays. A spent cap ends it.
func TestSlowLaneOfACap(t *testing.T) {
	withSlow(t, 9, func(h *testBox) {
		if _, err := h.box.Reconfigure(h.Context(), h.config(strings.Replace(slowText, `cap = "0"`, `cap = "3GB"`, 1))); err != nil {
			h.Fatal(err)
		}
		h.state(state.Sharing)
		newcomers := 500
		share := func() float64 {
			newcomers++
			addr, _ := h.device(newcomers)
			s := h.admit(addr)
			if err := h.box.End(h.Context(), addr); err != nil {
				h.Fatal(err)
			}
			return float64(s.Data)
		}
		before, left := share(), h.donation()
		h.spend(9)
		charged := h.donation().Used
		closed := false
		for minute := 0; minute < 240 && !closed; minute++ {
			for range 60 {
				h.pass(anna, lane)
				time.Sleep(time.Second)
			}
			h.settle()
			_, err := h.box.Authorize(h.Context(), anna)
			closed = errors.Is(err, state.ErrDataSpent)
			if !closed && err != nil {
				h.Fatal(err)
			}
		}
		if !closed {
			h.Fatal("the lane stays open for hours")
		}
		if h.box.Status().Residents.Slow != 0 {
			h.Error("it is closed, and somebody is in it")
		}
		slow := h.donation().Used - charged
		if slow < left.Daily/20 || slow > left.Daily/7 {
			h.Errorf("%d bytes of a day of %d were used in the lane", slow, left.Daily)
		}
		if now := share(); now < before*0.87 {
			h.Errorf("then a newcomer has %.0f bytes, before %.0f", now, before)
		}
		// Made-up devices use their shares, as any device may, but then find the lane closed.
		for n := range 100 {
			addr, _ := h.device(1<<16 + 16 + n)
			s, err := h.box.Authorize(h.Context(), addr)
			if errors.Is(err, state.ErrDataSpent) {
				continue
			}
			if err != nil {
				h.Fatal(err)
			}
			if s.Slow {
				h.Fatalf("made-up device %d is in the lane", n)
			}
		}
		h.inLoop(func() { h.uplinks.status.RxBytes += 4e9 }) // the lender's own traffic
		h.settle()
		h.state(state.Exhausted)
		if n := h.pass(anna, 1000); n != 0 {
			h.Errorf("at a spent cap %d bytes pass", n)
		}
	})
}

// TestSpentSessionIsNotRestored: where there is no slow lane, a session that a stopped daemon left in it ends.
func TestSpentSessionIsNotRestored(t *testing.T) {
	withSlow(t, 10, func(h *testBox) {
		h.spend(9)
		h.handover = h.stop()
		h.start(confText, h.handover.After(time.Minute))
		h.state(state.Sharing)
		if _, ok := h.box.Session(anna); ok || h.pass(anna, 1000) != 0 {
			t.Error("it is restored")
		}
	})
}
