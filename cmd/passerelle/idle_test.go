package main

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
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
	if len(children) != 3 {
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

// TestMemory: after every page was read in every language that the centre offers, the daemon soon is as small as it shall
// be. Of the 35 MB that it may take with two languages some 16 are the program's own pages, which are left out here: the
// tests are part of this one.
func TestMemory(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		languages string
		pages     int    // at least
		most      uint64 // bytes
	}{
		{`["fr", "en"]`, 500, 19e6},
		{`["fr", "en", "ar", "es", "pt", "uk"]`, 1500, 30e6},
	} {
		t.Run(test.languages, func(t *testing.T) {
			b := newBox(t, settings{languages: test.languages}, netlab.Options{})
			pages := b.readAll(b.scene.Residents[0])
			if pages < test.pages {
				t.Errorf("only %d pages were found", pages)
			}
			first := b.anonymous()
			wait(t, "a small daemon", func() error {
				if now := b.anonymous(); now > test.most {
					return fmt.Errorf("it takes %d bytes, more than %d", now, test.most)
				}
				return nil
			})
			t.Logf("after %d pages the daemon took %d kB, then %d kB", pages, first/1e3, b.anonymous()/1e3)
		})
	}
}

// readAll has a resident read every page that links lead to, in every language, and returns how many these are.
func (b *box) readAll(r *netlab.Resident) int {
	b.t.Helper()
	b.join(r)
	client, links := r.HTTPClient(), regexp.MustCompile(`href="(/[^"#]*)`)
	seen := make(map[string]bool)
	for next := []string{"/?lang=fr"}; len(next) > 0; {
		path := next[0]
		next = next[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		reply, err := client.Do(b.request(http.MethodGet, portal+path))
		b.must(err)
		page, err := io.ReadAll(reply.Body)
		reply.Body.Close()
		b.must(err)
		if reply.StatusCode != http.StatusOK {
			b.t.Errorf("%s is answered with %d", path, reply.StatusCode)
		}
		for _, link := range links.FindAllStringSubmatch(string(page), -1) {
			next = append(next, html.UnescapeString(link[1]))
		}
	}
	return len(seen)
}

// anonymous returns how much memory the daemon takes beside its program's pages, in bytes (RssAnon of
// proc_pid_status(5)).
func (b *box) anonymous() (bytes uint64) {
	b.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.proc.Pid()))
	b.must(err)
	_, rest, found := strings.Cut(string(status), "RssAnon:")
	if !found {
		b.t.Fatalf("the daemon's memory is not told:\n%s", status)
	}
	kilobytes, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
	b.must(err)
	return kilobytes << 10
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
