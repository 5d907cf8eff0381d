package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/hub/registry"
)

var (
	crowd     = flag.Int("crowd", 30, "how many boxes TestCrowd has")
	crowdHubs = flag.Int("crowd-hubs", 1, "how many hubs TestCrowd has")
)

// TestCrowd: many boxes, which run the client's code in one process, enrol, get a region, lose all hubs at once, and come back. It logs
// times, which include the client's random delays, and the hubs' memory.
func TestCrowd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, *crowdHubs)
	hubs := make([]func(), *crowdHubs)
	for i := range hubs {
		hubs[i] = w.process(i)
	}
	d := w.desk(0)
	eventually(t, "the association is there", func() bool { return d.AddAssociation(t.Context(), "ana", "lilas", "") == nil })
	pace := fleet.Pace{Ask: time.Second, Retry: time.Second, Most: 4 * time.Second, Spread: 2 * time.Second, Timeout: 20 * time.Second}
	codes := make([]string, *crowd)
	for i := range codes {
		var err error
		if codes[i], err = d.MakeSticker(t.Context(), "ana", "lilas", time.Now().AddDate(0, 0, 1)); err != nil {
			t.Fatal(err)
		}
	}
	boxes := make([]*box, *crowd)
	for i := range boxes {
		boxes[i] = w.box(pace)
	}
	all := func(what string, ok func(*box) bool) time.Duration {
		t.Helper()
		start := time.Now()
		eventually(t, what, func() bool { return !slices.ContainsFunc(boxes, func(b *box) bool { return !ok(b) }) })
		return time.Since(start)
	}

	start := time.Now()
	for i, b := range boxes {
		if err := b.Enrol(codes[i]); err != nil {
			t.Fatal(err)
		}
	}
	confirmAll(t, d, boxes)
	all("all are members and had a round", func(b *box) bool { return b.Status().Stage == fleet.Member && !b.Status().Round.IsZero() })
	enrolled := time.Since(start)
	idle := w.rss()

	start = time.Now()
	w.association(d, "lilas", "nord")
	all("all have the region", func(b *box) bool { return b.Status().Region == "nord" })
	wanted := time.Since(start)

	for _, kill := range hubs {
		kill()
	}
	all("all have noticed", func(b *box) bool { return !b.Status().Connected })
	for i := range hubs {
		hubs[i] = w.process(i)
	}
	for _, b := range boxes {
		b.report(protocol.Done, "after the storm")
		b.Look()
	}
	back := all("all are back", func(b *box) bool { return b.Status().Connected })
	storm := w.rss()
	shown := back + all("all reports are shown", func(b *box) bool {
		b.Look()
		return b.pending() == 0
	})
	t.Logf("%d boxes, %d hubs: enrolled in %s, region %s (chance up to %s), all back %s and their reports shown %s after all hubs were killed (chance up to %s); hubs %s before, %s after",
		*crowd, *crowdHubs, enrolled.Round(time.Millisecond), wanted.Round(time.Millisecond), pace.Spread, back.Round(time.Millisecond), shown.Round(time.Millisecond), pace.Most, idle, storm)
}

// confirmAll confirms the boxes as 64 people would who work at the same time.
func confirmAll(t *testing.T, d *registry.Registry, boxes []*box) {
	t.Helper()
	var people sync.WaitGroup
	left := make(chan *box)
	for range 64 {
		people.Go(func() {
			for b := range left {
				for end := time.Now().Add(waitFor); b.Status().Stage == fleet.Asking && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				}
				words := b.Status().Words
				if err := d.Confirm(t.Context(), "ana", b.Status().Box, words[:]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, b := range boxes {
		left <- b
	}
	close(left)
	people.Wait()
}

// stat returns the CPU time and the resident memory, in bytes, of a hub that runs as a program.
func (w *world) stat(i int) (cpu time.Duration, memory int) {
	w.Helper()
	dir := fmt.Sprintf("/proc/%d/", w.pids[i])
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		w.Fatal(err)
	}
	statm, err := os.ReadFile(dir + "statm")
	if err != nil {
		w.Fatal(err)
	}
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			w.Fatal(err)
		}
		return n
	}
	// proc(5): the name, in parentheses, may have spaces; fields 14 and 15, utime and stime, are in ticks of 10 ms.
	_, after, _ := strings.Cut(string(stat), ") ")
	ticks := strings.Fields(after)[11:13]
	cpu = time.Duration(number(ticks[0])+number(ticks[1])) * 10 * time.Millisecond
	return cpu, number(strings.Fields(string(statm))[1]) * os.Getpagesize()
}

// cpu returns the CPU time that all hubs have used.
func (w *world) cpu() (sum time.Duration) {
	w.Helper()
	for i := range w.dirs {
		cpu, _ := w.stat(i)
		sum += cpu
	}
	return sum
}

// rss returns each hub's resident memory, as text.
func (w *world) rss() string {
	w.Helper()
	var each []string
	for i := range w.dirs {
		_, memory := w.stat(i)
		each = append(each, fmt.Sprintf("%d MB", memory/1_000_000))
	}
	return strings.Join(each, " ")
}
