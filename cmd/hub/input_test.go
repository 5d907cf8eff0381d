package main

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/protocol"
)

// TestFlood: the hub cuts off a box that sends as much as its line carries, and keeps it out for a while. The box can fill only its own
// reports, and other boxes' reports are still stored.
func TestFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "")
	bad, good := w.box(quick), w.box(quick)
	bad.enrol(d, "lilas")
	good.enrol(d, "lilas")
	name, m := bad.Status().Box, bad.membership()
	bad.stop()
	c := w.connect(name, m.Token, m.Seed)
	body := make([]byte, protocol.MaxReport)
	reports := protocol.Reports()
	var flood sync.WaitGroup
	sent := make(chan int, 1)
	flood.Go(func() {
		n := 0
		for ; !c.IsClosed(); n++ { // until the hub hangs up
			// Publish waits for no acknowledgement.
			if c.Publish(protocol.SubjectUp("lilas", name, reports[n%len(reports)]), body) != nil {
				break
			}
		}
		sent <- n
	})
	eventually(t, "the flood is cut off", c.IsClosed)
	flood.Wait()
	bad.start(quick)
	bad.SetLine(fleet.Line{Name: "fibre", Mode: fleet.Connected})
	eventually(t, "the box stays out", func() bool { return bad.Status().Revoked && !bad.Status().Connected })
	bad.stop()
	if n := <-sent; n < 2*len(reports) {
		t.Errorf("that was no flood: %d messages", n)
	}
	streams, err := d.Streams(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range streams {
		if s.Name == protocol.StreamUp && s.Messages > uint64(len(reports)+1) {
			t.Errorf("%d reports are stored of two boxes", s.Messages)
		}
	}
	good.report(protocol.Done, "fine")
	good.delivered()
	if members, _, err := d.Members(t.Context()); err != nil || len(members.Revoked) != 0 {
		t.Errorf("it is out for ever: %+v, %v", members, err)
	}
}

// TestOldDisk: a box comes back with an old copy of its disk: from when it waited for its person, and from when it had reported fewer days.
// It is the same box, and the hub loses nothing. If the box was revoked meanwhile, it is refused.
func TestOldDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "")
	b := w.box(quick)
	code, err := d.MakeSticker(t.Context(), "ana", "lilas", w.clock.now().AddDate(0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Enrol(code); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the box waits", func() bool { return b.Status().Stage == fleet.Waiting })
	file := filepath.Join(b.dir, "membership.json")
	read := func() []byte {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	waited := read()
	words := b.Status().Words
	if err := d.Confirm(t.Context(), "ana", b.Status().Box, words[:]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the box is a member", func() bool { return b.Status().Stage == fleet.Member })
	name, member := b.Status().Box, read()
	b.report("day.0104", "four")
	b.report("day.0105", "five")
	b.delivered()

	back := func(disk []byte) {
		t.Helper()
		b.stop()
		if err := os.WriteFile(file, disk, 0o600); err != nil {
			t.Fatal(err)
		}
		b.start(quick)
		b.SetLine(fleet.Line{Name: "fibre", Mode: fleet.Connected})
	}
	for what, disk := range map[string][]byte{"as it waited": waited, "as a member": member} {
		b.stop()
		b.locked(func() { b.reports = map[string]string{"day.0104": "four"} }) // it does not remember that it reported this
		back(disk)
		eventually(t, "the box is connected "+what, func() bool { return b.Status().Connected })
		b.delivered()
		if b.Status().Box != name {
			t.Errorf("%s it is another box", what)
		}
		for report, want := range map[string]string{"day.0104": "four", "day.0105": "five"} {
			if got := w.show(d, b, report); got != want {
				t.Errorf("%s the hub shows %q of %s", what, got, report)
			}
		}
	}
	if err := d.Revoke(t.Context(), "ana", name); err != nil {
		t.Fatal(err)
	}
	back(member)
	eventually(t, "the old disk is refused", func() bool { return b.Status().Revoked })
	back(waited)
	eventually(t, "its old question is refused", func() bool { return b.Status().Refusal == protocol.Refused })
}
