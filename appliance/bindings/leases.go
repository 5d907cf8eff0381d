package bindings

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"passerelle/netctl"
)

// ParseLeases reads dnsmasq's lease file: one line a lease, with its end (seconds since 1970, 0: never), the device,
// its address, its name and its identifier (lease_update_file in dnsmasq's lease.c). Other lines are skipped, and so is
// an unterminated one: dnsmasq may be writing it. A lease counts for at most longest, even if the clock was changed after it was
// given.
func ParseLeases(text string, now time.Time, longest time.Duration) (all []Lease) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) != 5 || !strings.HasSuffix(line, "\n") {
			continue
		}
		ends, err := strconv.ParseInt(words[0], 10, 64)
		if err != nil {
			continue
		}
		mac, err := net.ParseMAC(words[1])
		if err != nil || len(mac) != len(netctl.MAC{}) {
			continue
		}
		addr, err := netip.ParseAddr(words[2])
		if err != nil || !addr.Is4() {
			continue
		}
		left := longest
		if ends != 0 {
			left = min(longest, time.Unix(ends, 0).Sub(now))
		}
		if left > 0 {
			all = append(all, Lease{Addr: addr, MAC: netctl.MAC(mac), Left: left})
		}
	}
	return all
}
