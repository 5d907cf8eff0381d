package netctl

import (
	"encoding/binary"
	"net/netip"
)

// SpecialPurpose are the blocks of IANA's IPv4 special-purpose registry (RFC 6890 and its updates) and multicast, except the
// three documentation blocks (RFC 5737), which belong to nobody's network.
var SpecialPurpose = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.31.196.0/24"),
	netip.MustParsePrefix("192.52.193.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("192.175.48.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

// AddrAt returns the address at an offset from the IPv4 network's own address.
func AddrAt(network netip.Prefix, offset uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], addrNumber(network.Masked().Addr())+offset)
	return netip.AddrFrom4(b)
}

// AddrOffset returns an address's offset in its IPv4 network. A resident's offset is the minor number of its classes.
func AddrOffset(network netip.Prefix, a netip.Addr) uint32 {
	return addrNumber(a) - addrNumber(network.Masked().Addr())
}

// LastAddr returns the last address of an IPv4 network, which is its broadcast address.
func LastAddr(network netip.Prefix) netip.Addr {
	return AddrAt(network, uint32(uint64(1)<<(32-network.Bits())-1))
}

func addrNumber(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
