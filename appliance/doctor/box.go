package doctor

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/appliance/state"
	"passerelle/netctl/dhcp"
	"passerelle/netctl/names"
)

// box reports what the box does.
func box(s state.Status) said {
	switch s.State {
	case state.Fault:
		return say("box-fault", "why", s.Why)
	case state.Setup:
		return say("box-setup")
	case state.Paused:
		if s.PausedBy == "" {
			return say("box-paused-by-lenders")
		}
		return say("box-paused", "by", s.PausedBy)
	case state.Closed:
		return say("box-closed")
	case state.Exhausted:
		return say("box-exhausted")
	case state.Offline:
		return say("box-offline")
	case state.Sharing:
		return say("box-sharing")
	}
	return say("box-starting")
}

// hotspot runs the steps of the network that residents join.
func (s *search) hotspot(ctx context.Context, lines []*line) {
	ok := s.chain(ctx, subject{}, check{state.StepHotspot, func(context.Context) said { return s.network() }})
	each := func(c check) {
		if !ok {
			s.put(say("not-after", "step", string(state.StepHotspot)).finding(c.step, ""))
			return
		}
		s.chain(ctx, subject{}, c)
	}
	var side sync.WaitGroup
	for _, c := range []check{
		{state.StepAnswers, func(ctx context.Context) said { return s.answers(ctx, lines) }},
		{state.StepPortal, s.portal},
		{state.StepDHCP, s.dhcp},
	} {
		side.Go(func() { each(c) })
	}
	side.Wait()
}

// network checks that the hotspot's interface exists and has the box's address.
func (s *search) network() said {
	link, box, err := s.src.Kernel.Hotspot()
	switch {
	case err != nil:
		return say("interface-unread", "error", err.Error())
	case !link.Present:
		return say("hotspot-missing", "interface", link.Interface)
	case !slices.ContainsFunc(link.Networks, func(n netip.Prefix) bool { return n == box.Masked() }):
		return say("hotspot-no-address", "interface", link.Interface, "address", box.String())
	case !link.Carrier && s.status.Hotspot.WiFi == nil:
		return say("hotspot-no-link", "interface", link.Interface)
	}
	return say("hotspot-ok", "interface", link.Interface, "address", box.String())
}

// answers queries the box's own name servers as residents do. The captive one must answer every name with the box's address. While
// the box shares, and if names resolve on the uplink in use, the other two must resolve a new name of the internet.
func (s *search) answers(ctx context.Context, lines []*line) said {
	servers := s.src.Services.NameServers()
	const somewhere = "www.example.com"
	a, err := s.askOwn(ctx, servers.Captive, somewhere)
	if err != nil {
		return say("answers-silent", "child", servers.Captive.Child)
	}
	if a.Addr != servers.Captive.At.Addr() {
		return say("answers-wrong", "child", servers.Captive.Child, "answer", describe(a))
	}
	i := slices.IndexFunc(lines, func(l *line) bool { return l.donation.Chosen && l.resolved() })
	if s.status.State != state.Sharing || i < 0 {
		return say("answers-captive")
	}
	z := lines[i].zone
	var longest time.Duration
	for _, server := range []NameServer{servers.Online, servers.Guests} {
		began := s.src.Now()
		a, err = s.askOwn(ctx, server, names.Label()+"."+z.Name)
		if err != nil {
			return say("answers-silent", "child", server.Child)
		}
		s.spend(2 * ownQuery) // for its query to the uplink's server
		if !z.In.Contains(a.Addr) {
			return say("answers-wrong", "child", server.Child, "answer", describe(a))
		}
		longest = max(longest, s.src.Now().Sub(began))
	}
	return say("answers-ok", "took", ms(longest))
}

// ownQuery is roughly the size of a DNS query, or of its answer, on the uplink, in bytes.
const ownQuery = 100

func (s *search) askOwn(ctx context.Context, at NameServer, name string) (names.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, ownWait)
	defer cancel()
	return s.src.Services.Ask(ctx, at, name)
}

// describe formats what a name server answered.
func describe(a names.Answer) string {
	switch {
	case a.Addr.IsValid():
		return a.Addr.String()
	case a.Code == dnsmessage.RCodeSuccess:
		return "no address"
	}
	return strings.ToUpper(strings.TrimPrefix(a.Code.String(), "RCode"))
}

func (s *search) portal(ctx context.Context) said {
	ctx, cancel := context.WithTimeout(ctx, 2*ownWait)
	defer cancel()
	began := s.src.Now()
	p, err := s.src.Services.Portal(ctx)
	took := s.src.Now().Sub(began)
	switch {
	case err != nil:
		return say("portal-silent", "error", err.Error())
	case p.Status != 302 || p.Location != p.First:
		return say("portal-wrong", "status", strings.TrimSpace(strconv.Itoa(p.Status)+" "+p.Location))
	case p.API != nil:
		return say("portal-api", "error", p.API.Error())
	}
	return say("portal-ok", "to", p.Location, "took", ms(took))
}

// Free addresses are few if they are less than 1/fewPart of all, or less than fewLeases.
const (
	fewPart   = 10
	fewLeases = 5
)

func (s *search) dhcp(ctx context.Context) said {
	ctx, cancel := context.WithTimeout(ctx, ownWait)
	defer cancel()
	_, box, err := s.src.Kernel.Hotspot()
	if err != nil {
		return say("dhcp-unasked", "error", err.Error())
	}
	offer, asked := s.src.Services.Offer(ctx)
	taken, size, err := s.src.Services.Leases()
	switch {
	case errors.Is(asked, dhcp.ErrClosed):
		return say("dhcp-closed")
	case asked != nil && !errors.Is(asked, dhcp.ErrSilent):
		return say("dhcp-unasked", "error", asked.Error())
	case asked == nil && (!box.Contains(offer.Address) || offer.Router != box.Addr()):
		return say("dhcp-wrong", "address", offer.Address.String(), "router", offer.Router.String())
	case asked != nil && (err != nil || taken < size):
		return say("dhcp-silent")
	case err != nil:
		return say("dhcp-unread", "error", err.Error())
	case asked == nil:
		taken = min(taken, size-1) // an address was offered, so one is free: a lease has just ended
	}
	return leases(taken, size)
}

// leases reports how many addresses are free. The number is rounded down in fives, so that nobody learns whether there are 1, 2, 3 or
// 4 devices.
func leases(taken, size int) said {
	free := max(0, size-taken)
	inFives := size - int(state.InFives(uint64(taken+state.Fewest-1)))
	args := []string{"free", strconv.Itoa(max(1, inFives)), "size", strconv.Itoa(size)}
	switch {
	case free == 0:
		return say("dhcp-full", args...)
	case free < max(size/fewPart, min(fewLeases, size/2)):
		return say("dhcp-few", args...)
	}
	return say("dhcp-ok", args...)
}

// radio reports whether the box's own Wi-Fi network is on.
func radio(h state.Hotspot) said {
	w := h.WiFi
	if w == nil {
		return say("radio-none")
	}
	n := int(state.InFives(uint64(w.Stations)))
	stations := strconv.Itoa(n)
	switch {
	case !w.On:
		return say("radio-off", "why", cmp.Or(w.Why, "the access point is starting"))
	case w.AtCapacity:
		return say("radio-full", "stations", stations)
	case w.MaxStations != 0 && n > 0:
		return say("radio-ok-of", "channel", strconv.Itoa(w.Channel), "band", w.Band, "stations", stations, "max", strconv.Itoa(w.MaxStations))
	}
	return say("radio-ok", "channel", strconv.Itoa(w.Channel), "band", w.Band)
}

// diskLow is how many free bytes count as few, or a tenth of the disk if that is less.
const diskLow = 1_000_000_000

// disk reports whether the disk can be written. tested is false if the test did not end in time.
func disk(d Disk, tested bool) said {
	args := []string{"room", count(d.Free), "total", count(d.Total), "took", ms(d.Took)}
	switch {
	case !tested:
		return say("disk-slow", "took", ms(diskWait))
	case d.ReadOnly:
		return say("disk-read-only")
	case d.Full:
		return say("disk-full", args...)
	case d.Write != nil:
		return say("disk-fails", "error", d.Write.Error())
	case d.Errors > 0:
		return say("disk-errors", "count", count(d.Errors))
	case d.Free < min(d.Total/10, diskLow):
		return say("disk-low", args...)
	}
	return say("disk-ok", args...)
}

// clock reports whether the time of day is trusted. If a time server disciplines the clock, most is how far it may be off.
func clock(c state.Clock, most time.Duration, disciplined bool) said {
	at := c.Now.Format("2006-01-02 15:04:05 MST")
	switch {
	case !c.Trusted:
		return say("clock-untrusted", "at", at)
	case disciplined:
		return say("clock-ok-server", "at", at, "within", ms(most))
	}
	return say("clock-ok", "at", at, "by", c.By)
}

// lowPart: less than 1/lowPart of a cap left is reported as little.
const lowPart = 10

// capOf reports what is left of a donation's cap.
func capOf(d state.Donation) said {
	args := []string{"left", count(d.Left), "cap", count(d.Cap), "used", count(d.Used)}
	switch {
	case d.Cap == 0:
		return say("cap-none", args...)
	case d.Lost:
		return say("cap-lost")
	case d.Spent:
		return say("cap-spent", args...)
	case d.Left < d.Cap/lowPart:
		return say("cap-low", args...)
	}
	return say("cap-ok", args...)
}

// lights reports which lights and button are in use.
func lights(names []string, problems []error, now state.State) said {
	switch {
	case len(problems) > 0:
		return say("lights-fail", "error", problems[0].Error())
	case len(names) == 0:
		return say("lights-none")
	}
	return say("lights-ok", "names", strings.Join(names, ", "), "state", string(now))
}
