package doctor

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/names"
	"passerelle/netctl/uplink"
)

// line is a donation's uplink in a search.
type line struct {
	*search
	donation state.Donation
	wifi     bool // it joins a lender's Wi-Fi network
	link     uplink.Status
	err      error        // why link is unknown
	network  netip.Prefix // the hotspot's network
	barred   state.Code   // why nothing is sent beyond its gateway; "" if it is tested

	servers []server
	zone    uplink.Zone // the zone in which a name resolved
	target  netip.Addr  // the address that the name resolved to
	pages   []target
}

// server is one of an uplink's name servers.
type server struct {
	addr  netip.Addr
	best  uplink.Names  // its best answer
	took  time.Duration // time until its first answer
	rcode string        // response code of the best answer
}

// target is a known page with the address of its host.
type target struct {
	uplink.Page
	addr netip.Addr
}

// lines returns the uplinks of all donations.
func (s *search) lines(context.Context) (all []*line) {
	var asked []string
	inUse := slices.ContainsFunc(s.status.Donations, func(d state.Donation) bool { return d.Chosen || d.Essential })
	ssids := s.src.SSIDs()
	for _, d := range s.status.Donations {
		asked = append(asked, d.Interface)
	}
	links, err := s.src.Kernel.Lines(asked)
	_, box, _ := s.src.Kernel.Hotspot() // without an address, hasAddress finds no overlap
	for i, d := range s.status.Donations {
		l := &line{search: s, donation: d, err: err, network: box.Masked(), wifi: i < len(ssids) && ssids[i] != ""}
		if err == nil {
			l.link = links[i]
		}
		switch {
		case d.PausedBy != "":
			l.barred = "not-paused"
		case !d.Open:
			l.barred = "not-closed"
		case inUse && !d.Chosen && !d.Essential:
			l.barred = "not-idle"
		}
		all = append(all, l)
	}
	return all
}

// run runs the uplink's chain of steps.
func (l *line) run(ctx context.Context) {
	beyond := func(f func(context.Context) said) func(context.Context) said {
		return func(ctx context.Context) said {
			if l.barred != "" {
				return say(l.barred)
			}
			return f(ctx)
		}
	}
	connecting := func(f func(context.Context) said) func(context.Context) said {
		return beyond(func(ctx context.Context) said {
			if l.donation.Cap != 0 && (l.donation.Spent || l.donation.Lost) {
				return say("not-spent")
			}
			return f(ctx)
		})
	}
	l.chain(ctx, subject{l.donation.Name, l.spare(l.donation)},
		check{state.StepInterface, func(context.Context) said { return l.isThere() }},
		check{state.StepLink, func(context.Context) said { return l.hasLink() }},
		check{state.StepAddress, func(context.Context) said { return l.hasAddress() }},
		check{state.StepGateway, func(ctx context.Context) said { return l.gateway(ctx) }},
		check{state.StepResolver, beyond(l.resolver)},
		check{state.StepNames, beyond(func(context.Context) said { return l.names() })},
		check{state.StepTCP, connecting(l.tcp)},
		check{state.StepPage, connecting(l.page)},
	)
}

// resolved reports whether a name has resolved on the uplink.
func (l *line) resolved() bool { return l.target.IsValid() }

func (l *line) isThere() said {
	name := cmp.Or(l.donation.Interface, l.link.Interface)
	switch {
	case l.err != nil:
		return say("interface-unread", "error", l.err.Error())
	case l.link.Present:
		kind := ""
		if l.link.Kind != "" {
			kind = ": " + l.link.Kind
		}
		return say("interface-ok", "interface", l.link.Interface, "kind", kind)
	case name == uplink.USB:
		return say("interface-no-phone")
	}
	return say("interface-missing", "interface", name)
}

func (l *line) hasLink() said {
	switch {
	case !l.link.Up && !l.wifi:
		return say("link-off", "interface", l.link.Interface)
	case l.link.Carrier:
		return say("link-ok")
	case l.wifi:
		return say("link-not-joined", "why", cmp.Or(l.donation.Why, "its network is not in range"))
	case l.donation.Interface == uplink.USB:
		return say("link-phone")
	}
	return say("link-unplugged", "interface", l.link.Interface)
}

func (l *line) hasAddress() said {
	if !l.link.Address.IsValid() {
		return say("address-none", "interface", l.link.Interface)
	}
	for _, n := range l.link.Networks {
		if l.network.IsValid() && n.Overlaps(l.network) {
			return say("address-overlap", "interface", l.link.Interface, "network", n.String())
		}
	}
	return say("address-ok", "address", l.link.Address.String())
}

func (l *line) gateway(ctx context.Context) said {
	at := l.link.Gateway
	switch {
	case !l.link.Routed:
		return say("gateway-no-route", "interface", l.link.Interface)
	case !at.IsValid():
		return say("gateway-none")
	}
	var c netctl.Claim
	for range arpTries {
		var err error
		if c, err = l.src.Kernel.Gateway(ctx, l.link); err != nil {
			return say("gateway-unasked", "gateway", at.String(), "error", err.Error())
		}
		if len(c.MACs) > 0 || ctx.Err() != nil {
			break
		}
	}
	switch len(c.MACs) {
	case 0:
		return say("gateway-silent", "gateway", at.String())
	case 1:
		return say("gateway-ok", "gateway", at.String())
	}
	return say("gateway-several", "gateway", at.String(), "count", count(uint64(len(c.MACs))))
}

// resolver queries all of the uplink's name servers for a new name, which cannot be in a cache. If a server gives no right answer
// for the first zone, it is asked for a name in a second one, since the first zone's operator may have an outage.
func (l *line) resolver(ctx context.Context) said {
	zones := l.src.Zones()
	zones = zones[:min(2, len(zones))]
	list := l.donationServers()
	if len(list) == 0 {
		if len(l.link.NotDNS) > 0 {
			return say("resolver-unusable", "servers", strings.Join(l.link.NotDNS, ", "))
		}
		return say("resolver-none")
	}
	l.servers = make([]server, len(list))
	var asking sync.WaitGroup
	var mu sync.Mutex
	for i, addr := range list {
		asking.Go(func() {
			s := server{addr: addr, best: uplink.NamesSilent}
			for _, z := range zones {
				began := l.src.Now()
				a, ok := l.ask(ctx, addr, names.Label()+"."+z.Name)
				got := z.Judge(a, ok)
				if ok && s.took == 0 {
					s.took = max(l.src.Now().Sub(began), 1)
				}
				if better(got, s.best) {
					s.best, s.rcode = got, strings.ToUpper(strings.TrimPrefix(a.Code.String(), "RCode"))
				}
				if got == uplink.NamesRight {
					mu.Lock()
					if !l.target.IsValid() {
						l.zone, l.target = z, a.Addr
					}
					mu.Unlock()
					break
				}
			}
			l.servers[i] = s
		})
	}
	asking.Wait()
	return answering(l.servers)
}

// donationServers returns the name servers that residents' queries use on the uplink: the configured ones, or else the uplink's own.
func (l *line) donationServers() (list []netip.Addr) {
	for _, text := range l.donation.Servers {
		if a, err := netip.ParseAddr(text); err == nil {
			list = append(list, a)
		}
	}
	return list
}

// ask queries one of the uplink's name servers for a name.
func (l *line) ask(ctx context.Context, server netip.Addr, name string) (names.Answer, bool) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	a, ok, used := l.src.Internet.Ask(ctx, l.link.Interface, server, name)
	l.spend(used.Sent + used.Received)
	return a, ok
}

// worse orders the answers of name servers, worst first.
var worse = []uplink.Names{
	uplink.NamesSilent, uplink.NamesRefused, uplink.NamesServfail, uplink.NamesMissing, uplink.NamesWrong, uplink.NamesRight,
}

func better(a, than uplink.Names) bool { return slices.Index(worse, a) > slices.Index(worse, than) }

// answering reports which servers answer at all.
func answering(all []server) said {
	var good, silent []string
	var first time.Duration
	for _, s := range all {
		if s.best == uplink.NamesSilent {
			silent = append(silent, s.addr.String())
			continue
		}
		good = append(good, s.addr.String())
		if first == 0 || s.took < first {
			first = s.took
		}
	}
	switch {
	case good == nil:
		return say("resolver-silent", "servers", strings.Join(silent, ", "))
	case silent != nil:
		return say("resolver-partly", "servers", strings.Join(good, ", "), "silent", strings.Join(silent, ", "), "took", ms(first))
	}
	return say("resolver-ok", "servers", strings.Join(good, ", "), "took", ms(first))
}

// names reports the best answer of all servers.
func (l *line) names() said {
	best := slices.MaxFunc(l.servers, func(a, b server) int {
		return cmp.Compare(slices.Index(worse, a.best), slices.Index(worse, b.best))
	})
	switch best.best {
	case uplink.NamesRight:
		return say("names-ok", "zone", l.zone.Name)
	case uplink.NamesWrong:
		return say("names-wrong")
	case uplink.NamesServfail:
		return say("names-servfail")
	case uplink.NamesMissing:
		return say("names-missing")
	}
	return say("names-refused", "rcode", best.rcode)
}

// tcp connects in parallel to the servers of the known pages, and to the address that a zone's name resolved to, until one connection
// is established.
func (l *line) tcp(ctx context.Context) said {
	var found sync.WaitGroup
	l.pages = make([]target, len(l.src.Pages))
	for i, p := range l.src.Pages {
		found.Go(func() { l.pages[i] = target{p, l.resolve(ctx, p.Host)} })
	}
	found.Wait()
	l.pages = slices.DeleteFunc(l.pages, func(t target) bool { return !t.addr.IsValid() })
	type goal struct {
		host string
		at   netip.AddrPort
	}
	var goals []goal
	for _, p := range l.pages {
		goals = append(goals, goal{p.Host, netip.AddrPortFrom(p.addr, 80)})
	}
	if l.target.IsValid() {
		goals = append(goals, goal{l.zone.Name, netip.AddrPortFrom(l.target, 443)})
	}
	if goals == nil {
		return say("tcp-no-target")
	}
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	reached := make(chan string, len(goals))
	began := l.src.Now()
	var hosts []string
	for _, g := range goals {
		hosts = append(hosts, g.host)
		go func() {
			ok, used := l.src.Internet.Reach(ctx, l.link.Interface, g.at)
			l.spend(used.Sent + used.Received)
			if !ok {
				g.host = ""
			}
			reached <- g.host
		}()
	}
	first, took := "", time.Duration(0)
	for range goals {
		if host := <-reached; host != "" && first == "" {
			first, took = host, l.src.Now().Sub(began)
			cancel() // end the other attempts
		}
	}
	if first == "" {
		return say("tcp-blocked", "hosts", strings.Join(hosts, ", "))
	}
	return say("tcp-ok", "host", first, "took", ms(took))
}

// resolve returns a host's address. It asks the servers that have answered before, one after the other.
func (l *line) resolve(ctx context.Context, host string) netip.Addr {
	for _, s := range l.servers {
		if s.best == uplink.NamesSilent {
			continue
		}
		if a, ok := l.ask(ctx, s.addr, host); ok && a.Addr.IsValid() {
			return a.Addr
		}
	}
	return netip.Addr{}
}

// page requests the known pages one after the other, until one is received, or a sign-in page in its place.
func (l *line) page(ctx context.Context) said {
	var hosts []string
	for _, p := range l.pages {
		hosts = append(hosts, p.Host)
		began := l.src.Now()
		limited, cancel := context.WithTimeout(ctx, pageWait)
		seen, _, used := l.src.Internet.Load(limited, l.link.Interface, p.addr, p.Page)
		cancel()
		l.spend(used.Sent + used.Received)
		switch seen {
		case uplink.SeenPage:
			return say("page-ok", "host", p.Host, "took", ms(l.src.Now().Sub(began)))
		case uplink.SeenPortal:
			return say("page-portal", "host", p.Host)
		}
	}
	if hosts == nil {
		for _, p := range l.src.Pages {
			hosts = append(hosts, p.Host)
		}
	}
	return say("page-silent", "hosts", strings.Join(hosts, ", "))
}
