package uplink

import (
	"context"
	"net/netip"

	"passerelle/netctl/names"
)

// Seen is the result of a request for a page.
type Seen string

// The results.
const (
	SeenNothing Seen = "nothing" // no conclusive answer
	SeenPortal  Seen = "portal"  // another page: of a captive portal, or a notice that the data is used up
	SeenPage    Seen = "page"    // the right one
)

// Once makes single requests through a line, in the same way as a Prober's probes. They do not change a Prober's state.
type Once struct{}

// Load requests a page from an address through the device only, and tells whether a connection was established.
func (Once) Load(ctx context.Context, device string, addr netip.Addr, page Page) (seen Seen, tcp bool, used names.Traffic) {
	p := Prober{opt: ProberOptions{Dial: DialDevice}}
	result, tcp, used := p.load(ctx, device, addr, page)
	return map[checkResult]Seen{unseen: SeenNothing, portal: SeenPortal, open: SeenPage}[result], tcp, used
}

// Reach tells whether a connection through the device is established.
func (Once) Reach(ctx context.Context, device string, to netip.AddrPort) (tcp bool, used names.Traffic) {
	p := Prober{opt: ProberOptions{Dial: DialDevice}}
	return p.reach(ctx, device, to)
}

// Ask queries a server for a name through the device. ok is false if no answer came.
func (Once) Ask(ctx context.Context, device string, server netip.Addr, name string) (a names.Answer, ok bool, used names.Traffic) {
	p := Prober{opt: ProberOptions{Dial: DialDevice}}
	r := p.query(ctx, device, server, name)
	return r.Answer, r.ok, r.used
}

// Names says how good the answers of a name server are.
type Names string

// The values of Names, from worst to best.
const (
	NamesSilent   Names = "silent"   // no answer
	NamesRefused  Names = "refused"  // REFUSED, or another code
	NamesServfail Names = "servfail" // SERVFAIL: the server reaches no other server
	NamesMissing  Names = "missing"  // NXDOMAIN, or no address
	NamesWrong    Names = "wrong"    // an address outside the zone's prefix
	NamesRight    Names = "right"
)

// Judge says how good the answer to a query for a name of the zone is.
func (z Zone) Judge(a names.Answer, ok bool) Names {
	return map[verdict]Names{
		noAnswer: NamesSilent, refused: NamesRefused, servfail: NamesServfail, nxdomain: NamesMissing, noAddress: NamesMissing,
		wrongAddress: NamesWrong, good: NamesRight,
	}[z.judge(reply{Answer: a, ok: ok})]
}
