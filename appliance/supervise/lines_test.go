package supervise

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3*maxLineLength)
	var got []string
	readLines(strings.NewReader("one\r\n\ttwo\x1b[31m\x00 é\xff\n"+long+"\nthree\nno end"), func(line string) {
		got = append(got, line)
	})
	if diff := cmp.Diff([]string{"one", "two[31m é", "three"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestWithoutAddresses(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"dnsmasq[12]: started, version 2.90 cachesize 150",
		"dnsmasq-dhcp[12]: DHCP, IP range refused: bad option at line 3",
		"hostapd: wlan0: interface state UNINITIALIZED->COUNTRY_UPDATE",
		"read /etc/hosts - 8 names",
	} {
		if WithoutAddresses(line) != line {
			t.Errorf("dropped without need: %q", line)
		}
	}
	for _, line := range []string{
		"query[A] example.org from 10.80.0.7",
		"query[PTR] 7.0.80.10.in-addr.arpa from ::1",
		"DHCPREQUEST(wlan0) 10.80.0.7 02:00:00:aa:bb:cc",
		"wlan0: STA 02:00:00:AA:BB:CC IEEE 802.11: associated",
		"client 0200.00aa.bbcc", "client 02-00-00-aa-bb-cc", "client 020000aabbcc", "fe80::1%wlan0 joined",
	} {
		if got := WithoutAddresses(line); got != "" {
			t.Errorf("let through: %q", got)
		}
	}
}

// FuzzWithoutAddresses: a line with an address anywhere in it is dropped.
func FuzzWithoutAddresses(f *testing.F) {
	f.Add("before ", " after", uint64(1))
	f.Add("f", "f", uint64(2))
	f.Add("1.", ".1", uint64(3))
	f.Fuzz(func(t *testing.T, before, after string, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		b := make([]byte, 16)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		four, _ := netip.AddrFromSlice(b[:4])
		six, _ := netip.AddrFromSlice(b)
		mac := net.HardwareAddr(b[:6]).String()
		for _, addr := range []string{
			four.String(), six.String(), mac, strings.ToUpper(mac), strings.ReplaceAll(mac, ":", "-"), fmt.Sprintf("%x", b[:6]),
		} {
			if line := before + addr + after; WithoutAddresses(line) != "" {
				t.Errorf("let through: %q", line)
			}
		}
	})
}
