package check_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"passerelle/image/check"
	"passerelle/image/slot"
)

// twice returns a card that has the system in both slots.
func twice(t *testing.T) check.Card {
	t.Helper()
	c := newCard(t)
	must(t, c.FillB())
	return c
}

// held returns the slot state in effect on a card: that of the valid copy with the higher serial.
func held(t *testing.T, c check.Card) (holds slot.State) {
	t.Helper()
	copies, err := c.Copies()
	must(t, err)
	known := false
	for _, b := range copies {
		if s, err := slot.Parse(b); err == nil && (!known || s.Serial > holds.Serial) {
			holds, known = s, true
		}
	}
	if !known {
		t.Fatal("no copy of the slots' state is whole")
	}
	return holds
}

// choose does what the boot script does on a board. TestFallback and TestNoKernel test the script itself.
func choose(t *testing.T, c check.Card) check.Fast {
	t.Helper()
	s := held(t, c).Boot()
	b, err := slot.Format(s)
	must(t, err)
	if s != held(t, c) {
		must(t, c.WriteCopies(b))
	}
	return check.Fast{Slot: string(s.Slot)}
}

// restarts waits until the machine restarts on its own, which ends a fast machine.
func restarts(t *testing.T, m *check.Machine, limit time.Duration) {
	t.Helper()
	select {
	case <-m.Ended():
	case <-time.After(limit):
		t.Fatalf("the machine did not restart within %v", limit)
	}
}

// TestOther checks that the technician can make the box boot the other slot, which proves itself and then is the good slot.
func TestOther(t *testing.T) {
	long(t)
	c := twice(t)
	m := start(t, c, choose(t, c))
	code := setup(t, m)
	if got := shell(t, m, "passerelle slot other --yes"); !strings.Contains(got, "Done.") {
		t.Fatalf("slot other says:\n%s", got)
	}
	must(t, m.Type("systemctl reboot\n"))
	restarts(t, m, bootLimit)

	m = start(t, c, choose(t, c))
	if got := setup(t, m); got != code {
		t.Errorf("the setup code was %s, and in the other slot is %s", code, got)
	}
	if got := shell(t, m, "passerelle slot status"); !strings.Contains(got, "slot b is running") {
		t.Errorf("slot status says:\n%s", got)
	}
	for until := time.Now().Add(bootLimit); held(t, c).Good != slot.B; time.Sleep(time.Second) {
		if time.Now().After(until) {
			t.Fatalf("slot b does not prove itself: %s", shell(t, m, "passerelle slot status; journalctl --no-pager -u passerelle-slot"))
		}
	}
}

// TestUnhealthy checks that a slot whose daemon never runs restarts the box when its time is over, and that the box falls back to
// the previous slot when no tries are left.
func TestUnhealthy(t *testing.T) {
	long(t)
	c := twice(t)
	must(t, c.WriteState("good=a serial=10 slot=b tries=1"))
	f := choose(t, c)
	f.Arguments = "systemd.mask=passerelle.service"
	m := start(t, c, f)
	wait(t, m, `systemd|initrd|#`, bootLimit)
	restarts(t, m, 20*time.Minute)
	if got := choose(t, c); got.Slot != "a" {
		t.Fatalf("slot %s is booted", got.Slot)
	}
	m = start(t, c, check.Fast{Slot: "a"})
	setup(t, m)
	if got := shell(t, m, "passerelle slot status"); !strings.Contains(got, "slot b was tried and did not work") {
		t.Errorf("slot status says:\n%s", got)
	}
	if got := shell(t, m, "cat /var/lib/passerelle/trial.json"); !strings.Contains(got, `"slot":"b"`) || strings.Contains(got, `"why":""`) {
		t.Errorf("of its trial slot b said %s", got)
	}
}

// TestHealthyTooLate checks that a slot is not marked good if its daemon does not work for long enough before its trial is over.
func TestHealthyTooLate(t *testing.T) {
	long(t)
	c := twice(t)
	must(t, c.WriteState("good=a serial=10 slot=b tries=1"))
	f := choose(t, c)
	f.Arguments = "systemd.mask=passerelle.service"
	m := start(t, c, f)
	wait(t, m, `systemd|initrd|#`, bootLimit)
	// The same service starts under another name half a minute before the end (health.TrialLimit). It needs two minutes to be good.
	const late = `while [ "$(cut -d . -f 1 /proc/uptime)" -lt 570 ]; do sleep 5; done; ` +
		`cp /usr/lib/systemd/system/passerelle.service /run/systemd/system/late.service; systemctl daemon-reload; systemctl start --no-block late`
	must(t, m.Type("("+late+") &\n"))
	restarts(t, m, 20*time.Minute)
	if got := held(t, c); got.Good != slot.A {
		t.Errorf("the state is %+v", got)
	}
	if got := choose(t, c); got.Slot != "a" {
		t.Errorf("slot %s is booted", got.Slot)
	}
}

// TestDiesAfterMarking cuts the power as soon as the slot is marked good on the card, and checks that this slot is booted and works.
func TestDiesAfterMarking(t *testing.T) {
	long(t)
	c := twice(t)
	must(t, c.WriteState("good=a serial=10 slot=b tries=1"))
	m := start(t, c, choose(t, c))
	code := setup(t, m)
	for until := time.Now().Add(bootLimit); held(t, c).Good != slot.B; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("slot b does not prove itself: %s", shell(t, m, "passerelle slot status; journalctl --no-pager -u passerelle-slot"))
		}
	}
	m.Kill()
	f := choose(t, c)
	if got := held(t, c); f.Slot != "b" || got.Good != slot.B || got.Failed != "" {
		t.Fatalf("slot %s is booted, of %+v", f.Slot, got)
	}
	if got := setup(t, start(t, c, f)); got != code {
		t.Errorf("the setup code was %s, and now is %s", code, got)
	}
}

// TestManyPowerCuts cuts the power 20 times at random: in first boots, when the data partition grows, while the box waits for its
// technician, in the command that switches the slot, and in the boots after it. It checks that the slot state is valid each time,
// and that the box comes up with the data that it had.
func TestManyPowerCuts(t *testing.T) {
	long(t)
	blank := twice(t)
	for i := range 5 {
		t.Run(fmt.Sprint("card ", i), func(t *testing.T) {
			c, err := blank.Copy(t.TempDir() + "/card")
			must(t, err)
			code := ""
			same := func(m *check.Machine) {
				t.Helper()
				got := setup(t, m)
				if code != "" && got != code {
					t.Errorf("the setup code was %s, and now is %s", code, got)
				}
				code = got
			}
			cut := func(what string, m *check.Machine, longest time.Duration) {
				t.Helper()
				pause := rand.N(longest)
				t.Logf("%s: the power is cut after %v", what, pause)
				select {
				case <-m.Ended():
				case <-time.After(pause):
				}
				m.Kill()
			}
			m := start(t, c, choose(t, c))
			wait(t, m, `initrd|systemd|#`, bootLimit)
			cut("first boot and growth", m, 25*time.Second)

			m = start(t, c, choose(t, c))
			same(m)
			if got := shell(t, m, "df -m /data | tail -1 | tr -s ' ' | cut -d ' ' -f 2"); !strings.HasPrefix(got, "4") {
				t.Errorf("the data partition has %s MiB", got)
			}
			must(t, m.Type("passerelle slot other --yes; systemctl reboot\n"))
			cut("switch of the slot", m, 3*time.Second)

			m = start(t, c, choose(t, c))
			wait(t, m, `initrd|systemd|#`, bootLimit)
			cut("boot after the switch", m, 40*time.Second)

			m = start(t, c, choose(t, c))
			same(m)
			cut("in use", m, 10*time.Second)

			m = start(t, c, choose(t, c))
			same(m)
			if failed := shell(t, m, "systemctl --failed --no-legend --plain"); failed != "" {
				t.Errorf("after the power cuts these units fail: %s", failed)
			}
			m.Kill()
		})
	}
}
