package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// servicePage is a page of an essential service. It is not TLS, which the box does not inspect anyway.
const servicePage = "http://service.example:443/"

const essentialOnly = `
[essential]
names = ["service.example"]
`

// TestEssentialServices: a captive resident reaches the services in the walled garden by name, and nothing else, whatever DNS server the
// resident uses.
func TestEssentialServices(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{more: essentialOnly}, netlab.Options{Residents: 2})
	b.must(b.scene.Internet.ServeHTTP(":443", netlab.Web()))
	names := b.scene.Internet.Names
	names.Set("*.service.example", netlab.NewsAddr)
	// A name server that gives the resident false answers, and names that resemble the service's.
	lying := netlab.NewNames()
	lying.Set("service.example", netlab.WebAddr)
	b.must(b.scene.Internet.ServePackets(netip.AddrPortFrom(netlab.NewsAddr, 53), lying.Reply))
	alike := []string{"notservice.example", "service.example.evil.example", "service-example.example"}
	for _, name := range alike {
		names.Set(name, netlab.WebAddr)
	}
	r, other := b.scene.Residents[0], b.scene.Residents[1]
	b.join(r)

	wait(t, "the service's page", func() error { return b.serves(r) })
	for _, name := range alike {
		if _, err := r.LookupHost(t.Context(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a, err := r.Query(t.Context(), netlab.NewsAddr, "service.example", dnsmessage.TypeA); err != nil || len(a.Addrs) != 1 ||
		a.Addrs[0] != netlab.ServiceAddr {
		t.Errorf("a name server of the resident's own says %v, %v", a, err)
	}
	b.refused(r, netlab.WebAddr)
	b.refused(r, netlab.NewsAddr)
	b.blocked(r)
	if _, err := r.LookupHost(t.Context(), "aide.service.example"); err != nil {
		t.Error(err)
	}
	if err := b.dials(r, netlab.NewsAddr); err != nil {
		t.Errorf("a name below the service's: %v", err)
	}
	// The set's entries outlast the caches of dnsmasq and of phones.
	set := b.run("ipset", "list", "pas-garden")
	for line := range strings.Lines(set) {
		var addr string
		var left int
		if n, _ := fmt.Sscanf(line, "%s timeout %d", &addr, &left); n == 2 && left < 3000 {
			t.Errorf("%s is forgotten in %d s", addr, left)
		}
	}
	if !strings.Contains(set, netlab.ServiceAddr.String()) || strings.Contains(set, netlab.WebAddr.String()) {
		t.Errorf("the services' addresses are\n%s", set)
	}
	// Another resident's phone with a cached address needs no DNS.
	b.join(other)
	if err := b.dials(other, netlab.ServiceAddr); err != nil {
		t.Errorf("by an address that is remembered: %v", err)
	}

	b.mustDo("pause")
	b.waitState(state.Paused)
	b.refused(r, netlab.ServiceAddr)
	b.leads(r, netlab.NewsAddr)
}

// TestReserve: when the general part of a cap is spent, all residents still reach essential services, until the reserve is spent, too. The
// traffic on the uplink stays below the cap.
func TestReserve(t *testing.T) {
	t.Parallel()
	const limit = 16e6
	b := newBox(t, settings{cap: "16MB", reserve: "4MB", down: "20mbit", data: "0", more: essentialOnly + `rate = "20mbit"
`}, netlab.Options{Residents: 4})
	b.must(b.scene.Internet.ServeHTTP(":443", netlab.Web()))
	line := b.scene.Lenders[0]
	r, other := b.scene.Residents[0], b.scene.Residents[1]
	b.newcomer(r)
	for _, x := range b.scene.Residents[1:] {
		b.join(x)
	}
	b.spend(r, func(s state.Status) bool { return s.State == state.Exhausted && s.Donations[0].Essential })
	used := b.counted(line)
	if used > limit-4e6 || used < 10e6 {
		t.Errorf("of a cap of %d with 4 MB kept, %d bytes crossed the line", int(limit), used)
	}
	for _, x := range []*netlab.Resident{r, other} {
		wait(t, "the service's page", func() error { return b.serves(x) })
		b.blocked(x)
		b.refused(x, netlab.WebAddr)
		b.shows(x, "exhausted.title")
	}
	if reply, err := other.Get(t.Context(), portal+"/essential"); err != nil || !strings.Contains(reply.Body, "service.example") {
		t.Errorf("the page of essential services: %v\n%s", err, reply.Body)
	}

	// One resident after the other, since no resident may use it all.
	const each = 2e6
	var d *netlab.Transfer
	turn := 0
	b.waitStatus("the end of the reserve", func(s state.Status) error {
		if s.State != state.Exhausted {
			t.Fatalf("%s: %s", s.State, s.Why)
		}
		if !s.Donations[0].Essential {
			return nil
		}
		ended := d == nil
		if d != nil {
			select {
			case <-d.Done():
				ended = true
			default:
			}
		}
		if ended {
			if d != nil && d.Total() > each {
				t.Errorf("one device got %d bytes of the reserve, want %d at most", d.Total(), int(each))
			}
			turn++
			if again, err := b.scene.Residents[turn%len(b.scene.Residents)].StartDownload(t.Context(), servicePage+"big"); err == nil {
				d = again
			}
		}
		return fmt.Errorf("%d bytes are left of it", s.Donations[0].Reserve)
	})
	if d == nil {
		t.Fatal("the reserve was never used")
	}
	d.Stop()
	wait(t, "the service to be closed", func() error {
		if err := b.dials(other, netlab.ServiceAddr); !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("a connection: %v", err)
		}
		return nil
	})
	if all := b.counted(line); all > limit || all < used+3e6 {
		t.Errorf("of a cap of %d, %d bytes crossed the line, %d of them before the reserve", int(limit), all, used)
	}
}

// serves returns nil if the resident gets the service's page.
func (b *box) serves(r *netlab.Resident) error {
	page, err := b.get(r, servicePage)
	if err == nil && page.Body != netlab.InternetPage {
		err = fmt.Errorf("the page says %q", page.Body)
	}
	return err
}

// dials opens a connection from the resident to an address's port 443.
func (b *box) dials(r *netlab.Resident, addr netip.Addr) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), brief)
	defer cancel()
	conn, err := r.Dial(ctx, "tcp", netip.AddrPortFrom(addr, 443).String())
	if err == nil {
		conn.Close()
	}
	return err
}

func (b *box) refused(r *netlab.Resident, addr netip.Addr) {
	b.t.Helper()
	if err := b.dials(r, addr); !errors.Is(err, syscall.ECONNREFUSED) {
		b.t.Errorf("%s's connection to %s: %v, want a refusal", r.Name(), addr, err)
	}
}
