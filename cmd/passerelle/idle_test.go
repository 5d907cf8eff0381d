package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"passerelle/appliance"
	"passerelle/netctl/netlab"
)

// TestIdle: while nothing is to be done, whatever wakes the loop, no program is run.
func TestIdle(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	r := b.scene.Residents[0]
	b.newcomer(r)
	b.waitSound()
	link, err := b.scene.Box.Netlink().LinkByName("eth0")
	b.must(err)
	rounds := func(n int) {
		t.Helper()
		for k := range n {
			s, err := b.status()
			b.must(err)
			b.must(b.echo(r, patience))                                               // the line's counter shows that a round was made
			b.must(b.scene.Box.Netlink().LinkSetAlias(link, fmt.Sprint("fibre ", k))) // an event
			b.waitStatus("another round", func(now appliance.Status) error {
				if now.Donations[0].Used <= s.Donations[0].Used {
					return fmt.Errorf("%d bytes are used", now.Donations[0].Used)
				}
				return nil
			})
		}
	}
	rounds(3) // what the admission brought about is over
	applied := strings.Count(b.said(), "msg=applied")
	faults, children := b.reaped(), b.offspring()
	if len(children) != 2 {
		t.Errorf("the daemon's children are %v", children)
	}
	rounds(20)
	b.run("iptables", "-N", "SOMEBODY") // another's change is looked at, and nothing comes of it
	rounds(3)
	if now := b.reaped(); now != faults {
		t.Errorf("programs were run and ended: their page faults went from %d to %d", faults, now)
	}
	if now := b.offspring(); fmt.Sprint(now) != fmt.Sprint(children) {
		t.Errorf("the daemon's children were %v and are %v", children, now)
	}
	if now := strings.Count(b.said(), "msg=applied"); now != applied {
		t.Errorf("%d changes were applied", now-applied)
	}
	b.run("iptables", "-t", "mangle", "-F")
	wait(t, "a program run", func() error { // or the test would prove nothing
		if b.reaped() == faults {
			return fmt.Errorf("still %d page faults", faults)
		}
		return nil
	})
}

// reaped returns the page faults of all children of the daemon that have ended and been waited for (cminflt of proc(5)):
// no program ends without some.
func (b *box) reaped() uint64 {
	b.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.proc.Pid()))
	b.must(err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	n, err := strconv.ParseUint(fields[8], 10, 64) // field 11; these begin with the third
	b.must(err)
	return n
}

// offspring returns the numbers of the daemon's children.
func (b *box) offspring() (pids []string) {
	b.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", b.proc.Pid()))
	b.must(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue // a thread that ended
		}
		b.must(err)
		pids = append(pids, strings.Fields(string(text))...)
	}
	return pids
}
