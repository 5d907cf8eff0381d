package logbook

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestScrub: addresses in every notation and names are removed; what identifies nobody stays.
func TestScrub(t *testing.T) {
	t.Parallel()
	s := Scrubber{Keep: func(name string) bool { return name == "partage.internal" || name == "github.io" }}
	for text, want := range map[string]string{
		"10.80.0.23 asks":                                  "[address] asks",
		"from 192.168.1.1:53, then 10.80.0.0/22":           "from [address], then [address]",
		"23.0.80.10.in-addr.arpa":                          "[address]",
		"fe80::1%wlan0 and 2001:db8::a:b":                  "[address] and [address]",
		"[::ffff:10.80.0.23]:80":                           "[[address]]:80",
		"02:00:00:00:00:0f left":                           "[device]",
		"02-00-00-00-00-0F; 0200.0000.000f":                "[device]; [device]",
		"DHCPACK(wlan0) 10.80.0.5 02:00:00:00:00:01 maria": "DHCPACK(wlan0) [address] [device]",
		"host telephone-de-maria.lan. is gone":             "host [name]. is gone",
		"maria@exemple.fr":                                 "[name]",
		"clinic.example and été.example":                   "[name] and [name]",
		"a name of github.io, from partage.internal":       "a name of github.io, from partage.internal",
		"write /var/lib/passerelle/ledger.db: full":        "write /var/lib/passerelle/ledger.db: full",
		"at 12:34:56, version 6.18.0, 1.5 s":               "at 12:34:56, version 6.18.0, 1.5 s",
		"6.12.0-rpi, eth0.100":                             "6.12.0-rpi, eth0.100",
		"eth0 has no link":                                 "eth0 has no link",
		"10.\u200b80.0.23":                                 "[address]",
		"child dnsmasq: exit status 1":                     "child dnsmasq: exit status 1",
	} {
		if got := s.Scrub(text); got != want {
			t.Errorf("%q\n got %q\nwant %q", text, got, want)
		}
	}
}

// FuzzScrub: an address or a name is removed, whatever surrounds it, and scrubbing twice changes nothing more.
func FuzzScrub(f *testing.F) {
	for _, text := range []string{"", " ", "a", "1", ".", ":", "-", "[", "DHCPACK", "é", "0x", "12:34:", "%", "@"} {
		f.Add(text, text, uint32(0x0a500017), uint64(0x020000000001))
	}
	f.Fuzz(func(t *testing.T, before, after string, v4 uint32, device uint64) {
		s := Scrubber{}
		a := netip.AddrFrom4([4]byte{byte(v4 >> 24), byte(v4 >> 16), byte(v4 >> 8), byte(v4)}).String()
		mac := make([]string, 6)
		for i := range mac {
			mac[i] = fmt.Sprintf("%02x", byte(device>>(40-8*i)))
		}
		six := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 8: byte(device >> 40), 9: byte(device >> 32), 15: byte(device) | 1}).String()
		for _, secret := range []string{
			a, strings.Join(mac, ":"), strings.ToUpper(strings.Join(mac, "-")), strings.Join(mac, ""), six,
			"telephone-de-maria.lan", "maria@exemple.fr",
		} {
			text := before + secret + after
			got := s.Scrub(text)
			if !strings.Contains(before+after, secret) && strings.Contains(got, secret) {
				t.Errorf("%q: %q is still in %q", text, secret, got)
			}
			if again := s.Scrub(got); again != got {
				t.Errorf("%q: scrubbed %q, and again %q", text, got, again)
			}
			if HasAddress(got) {
				t.Errorf("%q: an address is in %q", text, got)
			}
		}
	})
}

// TestBook: lines are plain and scrubbed, also those with a logger's own attributes. Debug lines are not kept.
func TestBook(t *testing.T) {
	t.Parallel()
	b := New()
	log := slog.New(b.Handler(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug})))
	log.Info("uplink probed", "interface", "eth0", "works", false, "slow", false, "why", "no answer from 192.168.1.1")
	log.Info("uplink probed", "interface", "eth0", "works", true, "why", "")
	log.With("name", "places", "from", "lists.example").Warn("download failed", "error", "the disk is full")
	log.Debug("child says", "line", "secret")
	log.Error("a page could not be served", "err", "from 10.80.0.9")
	var got []string
	for _, e := range b.Entries(time.Now()) {
		got = append(got, e.Level+" "+string(e.Code)+": "+e.Text)
	}
	if diff := cmp.Diff([]string{
		"INFO uplink-probed: The line eth0 does not work: no answer from [address]",
		"INFO uplink-probed: The line eth0 works",
		"WARN download-failed: download failed: name places, from [name], the disk is full",
		"ERROR a-page-could-not-be-served: a page could not be served: from [address]",
	}, got); diff != "" {
		t.Error(diff)
	}
}

// TestBounds: the book keeps one hour, and never exceeds its limit in bytes, however much is logged.
func TestBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := New()
		log := slog.New(b.Handler(slog.NewTextHandler(io.Discard, nil)))
		log.Info("first")
		time.Sleep(Hour / 2)
		log.Info("second")
		time.Sleep(Hour/2 + time.Second)
		if all := b.Entries(time.Now()); len(all) != 1 || all[0].Text != "second" {
			t.Errorf("after an hour: %+v", all)
		}
		for i := range 400 {
			log.Info(fmt.Sprint("line ", i), "text", strings.Repeat("x ", 4*i))
		}
		if b.bytes > maxBytes || len(b.lines) == 0 {
			t.Errorf("%d lines, %d bytes", len(b.lines), b.bytes)
		}
		all := b.Entries(time.Now())
		if last := all[len(all)-1]; !strings.HasPrefix(last.Text, "line 399") || len(last.Text) > 2*maxLine {
			t.Errorf("the last line is %.40q, of %d bytes", last.Text, len(last.Text))
		}
	})
}
