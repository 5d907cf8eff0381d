package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/nlmsg"
)

// Neighbor implements netctl.Gate.
func (g *Gate) Neighbor(addr netip.Addr) (mac netctl.MAC, err error) {
	all, err := g.neighbors(addr)
	if err != nil {
		return mac, err
	}
	mac, ok := all[addr]
	if !ok {
		return mac, errors.New("ask the neighbour table: no hardware address")
	}
	return mac, nil
}

// neighborHeader is struct ndmsg for the hotspot's interface.
func (g *Gate) neighborHeader(state uint16) []byte {
	header := make([]byte, 12)
	header[0] = unix.AF_INET
	binary.NativeEndian.PutUint32(header[4:], uint32(g.hotspot))
	binary.NativeEndian.PutUint16(header[8:], state)
	return header
}

// neighbors returns the hotspot's neighbour entries, or the one of an address.
func (g *Gate) neighbors(of netip.Addr) (residents, error) {
	header, flags := g.neighborHeader(0), unix.NLM_F_DUMP
	var which []byte
	if of.IsValid() {
		which, flags = attr(unix.NDA_DST, of.AsSlice()), 0
	}
	bodies, err := g.route.get(unix.RTM_GETNEIGH, flags, header, which)
	if err != nil {
		return nil, fmt.Errorf("ask the neighbour table: %w", err)
	}
	all := residents{}
	for _, m := range bodies {
		if len(m) < len(header) || binary.NativeEndian.Uint32(m[4:]) != uint32(g.hotspot) {
			continue
		}
		var addr netip.Addr
		var mac netctl.MAC
		known := false
		for kind, value := range nlmsg.Attributes(skipHeader(len(header), m)) {
			switch {
			case kind == unix.NDA_DST:
				addr, _ = netip.AddrFromSlice(value)
			case kind == unix.NDA_LLADDR && len(value) == len(mac):
				mac, known = netctl.MAC(value), true
			}
		}
		if known {
			all[addr] = mac
		}
	}
	return all, nil
}
