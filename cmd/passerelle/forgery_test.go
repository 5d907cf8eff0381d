package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/hostile"
)

// forgeries are the ARP messages that claim the victim's address for the attacker.
func forgeries(box, attacker, victim net.HardwareAddr, addr netip.Addr) (all [][]byte) {
	for _, to := range []net.HardwareAddr{box, hostile.Broadcast} {
		for _, sender := range []net.HardwareAddr{attacker, victim} {
			for _, reply := range []bool{true, false} {
				for _, target := range []netip.Addr{hotspot.Addr(), addr, {}} {
					f := hostile.ARP{
						Link: hostile.Link{To: to, From: attacker}, Reply: reply, SenderMAC: sender, Sender: addr,
						TargetMAC: to, Target: target,
					}.Frame()
					all = append(all, f, tagged(f, unix.ETH_P_8021Q), tagged(f, unix.ETH_P_8021Q, unix.ETH_P_8021Q),
						tagged(f, unix.ETH_P_8021AD, unix.ETH_P_8021Q))
				}
			}
		}
	}
	return all
}

// TestForgedARP: a device that claims a resident's address with any ARP message gets neither the resident's packets nor the session, and
// the resident is not disturbed.
func TestForgedARP(t *testing.T) {
	t.Parallel()
	for name, ports := range map[string]bool{"interface": false, "bridge": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, settings{}, netlab.Options{Residents: 2, Ports: ports})
			victim, attacker := b.scene.Residents[0], b.scene.Residents[1]
			addr := b.newcomer(victim).Address.Addr()
			b.join(attacker)
			w := b.rawSocket(attacker)
			mac := b.boxMAC(w)
			d := b.download(victim)
			his := func(f []byte) bool {
				p, ok := hostile.ReadIPv4(f)
				return ok && p.Destination == addr && bytes.Equal(p.To, attacker.MAC)
			}
			neighbor := func() {
				t.Helper()
				if line := b.run("ip", "neigh", "show", addr.String()); !strings.Contains(line, victim.MAC.String()) {
					t.Errorf("the victim's address is another's: %s", line)
				}
			}
			all := forgeries(mac, attacker.MAC, victim.MAC, addr)
			tally := w.Count(his)
			for n, f := range all {
				b.must(w.Send(f))
				if n%16 == 15 { // otherwise its own rate limit would be tested
					neighbor()
					b.flows(d)
				}
			}
			for range 10 { // also at a moment when the kernel verifies the victim's entry
				b.run("ip", "neigh", "change", addr.String(), "dev", "wlan0", "lladdr", victim.MAC.String(), "nud", "probe")
				for _, f := range all[:4] {
					b.must(w.Send(f))
				}
				b.flows(d)
				neighbor()
			}
			// It cannot send with the victim's address either.
			syn := hostile.TCP{
				Link: hostile.Link{To: mac, From: attacker.MAC}, Source: netip.AddrPortFrom(addr, 4242),
				Destination: netip.AddrPortFrom(hotspot.Addr(), 80), Flags: hostile.SYN,
			}
			b.must(w.Send(syn.Frame(), tagged(syn.Frame(), unix.ETH_P_8021Q, unix.ETH_P_8021Q)))
			b.flows(d)
			frames, _, err := tally.Stop()
			b.must(err)
			if frames > 0 {
				t.Errorf("%d frames for the victim came to the attacker", frames)
			}
			if s := b.sessionOf(victim); !s.Online {
				t.Errorf("the victim's session is now %+v", s)
			}
			b.sessions(1)
			// The attacker has only its own identity.
			b.press(attacker, "/session")
			b.online(attacker)
			b.sessions(2)
		})
	}
}

// tracked returns the number of tracked connections in the box's kernel.
func (b *box) tracked() int {
	b.t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(b.run("cat", "/proc/sys/net/netfilter/nf_conntrack_count")))
	b.must(err)
	return n
}

// TestMadeUpSources: packets with forged sources leave no traces: no connection, no DNS query, no neighbour, and few ARP requests. Other
// devices are not affected.
func TestMadeUpSources(t *testing.T) {
	t.Parallel()
	for name, ports := range map[string]bool{"interface": false, "bridge": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, settings{}, netlab.Options{Residents: 3, Ports: ports})
			r, attacker, busy := b.scene.Residents[0], b.scene.Residents[1], b.scene.Residents[2]
			b.newcomer(r)
			b.newcomer(busy)
			w := b.rawSocket(attacker)
			link := hostile.Link{To: b.boxMAC(w), From: attacker.MAC}
			d := b.download(busy) // whose own queue is full
			// Addresses in the hotspot's network, from one device and from many, and in foreign networks.
			frame := func(n int) []byte {
				l := link
				from := netip.AddrFrom4([4]byte{10, 80, 1 + byte(n>>8)%3, byte(n)})
				if n%2 == 1 {
					l.From = madeUp(0, n)
				}
				if n%8 == 7 {
					from = netip.AddrFrom4([4]byte{198, 51, 100, byte(n)})
				}
				number := uint16(1024 + n)
				switch n % 5 {
				case 0:
					return toUDP("10.80.0.1:53")(l, from, number)
				case 1:
					return toUDP("8.8.8.8:4242")(l, from, number)
				case 2:
					return toTCP("10.80.0.1:80")(l, from, number)
				case 3:
					return toICMP("10.80.0.1", 8)(l, from, number)
				}
				return hostile.ARP{Link: l, Sender: from, Target: hotspot.Addr()}.Frame()
			}
			began := time.Now()
			asked := w.Count(func(f []byte) bool {
				a, ok := hostile.ReadARP(f)
				return ok && !a.Reply && bytes.Equal(a.From, link.To)
			})
			before := b.tracked()
			neighbors := func() int { return strings.Count(b.run("ip", "neigh", "show", "dev", "wlan0"), "\n") }
			hosts := neighbors()
			for n := range 20000 {
				b.must(w.Send(frame(n)))
				if n%2000 == 0 {
					b.flows(d)
					b.must(b.reaches(r))
				}
			}
			// The box's own DNS queries and the honest resident's pages cause some.
			if now := b.tracked(); now > before+100 {
				t.Errorf("%d connections were tracked and %d are", before, now)
			}
			if now := neighbors(); now > hosts+1 {
				t.Errorf("there were %d neighbours and are %d", hosts, now)
			}
			frames, _, err := asked.Stop()
			b.must(err)
			if most := 40 + 5*(1+int(time.Since(began).Seconds())); frames > most {
				t.Errorf("the box asked %d times who has an address, at most %d are right", frames, most)
			}
			leases, err := os.ReadFile(b.path("leases"))
			b.must(err)
			if n := bytes.Count(leases, []byte("\n")); n != 2 {
				t.Errorf("there are %d leases, want those of the two residents", n)
			}
		})
	}
}

// TestBoundByLeaseAlone: nothing that a device sends, or makes others send, makes the kernel bind an address other than the leased one to
// it.
func TestBoundByLeaseAlone(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2, Ports: true})
	victim, attacker := b.scene.Residents[0], b.scene.Residents[1]
	addr := b.newcomer(victim).Address.Addr()
	own := b.newcomer(attacker).Address.Addr()
	w := b.rawSocket(attacker)
	link := hostile.Link{From: attacker.MAC}

	b.frozen(func() { // otherwise the daemon would repair it
		// A DHCP message that dnsmasq would repeat. It is sent whole, and in fragments.
		inform := hostile.DHCP{Link: link, Source: own, Type: hostile.Inform, ClientAddr: own, YourAddr: addr}
		b.must(w.Send(inform.Frame()))
		b.must(w.Send(fragments(inform.Frame())...))
		// A server on the internet sends it, on the attacker's own connection.
		server, err := b.scene.Internet.ListenPacket("udp4", netip.AddrPortFrom(netlab.WebAddr, 67).String())
		b.must(err)
		defer server.Close()
		client, err := attacker.Dial(t.Context(), "udp4", netip.AddrPortFrom(netlab.WebAddr, 67).String())
		b.must(err)
		defer client.Close()
		ask, _ := hostile.ReadUDP(hostile.DHCP{Link: link, Type: hostile.Discover}.Frame())
		_, err = client.Write(ask.Payload) // nothing else can reach that port
		b.must(err)
		buf := make([]byte, 600)
		server.SetReadDeadline(time.Now().Add(patience))
		_, from, err := server.ReadFrom(buf)
		b.must(err)
		word, _ := hostile.ReadUDP(hostile.DHCP{Link: link, Type: hostile.Ack, YourAddr: addr}.Frame())
		word.Payload[0] = 2
		_, err = server.WriteTo(word.Payload, from)
		b.must(err)
		client.SetReadDeadline(time.Now().Add(patience))
		_, err = client.Read(buf)
		b.must(err)

		if _, err := b.ask(w, hostile.DHCP{Link: link, Type: hostile.Discover}); err != nil { // by then dnsmasq has read everything before
			t.Errorf("who is asked for a lease does not answer: %v", err)
		}
		bound := b.run("nft", "list", "set", "netdev", "passerelle", "bindings")
		entry := func(mac net.HardwareAddr, addr netip.Addr) string {
			return fmt.Sprintf("0x%s . 0x%s ", strings.TrimLeft(hex.EncodeToString(mac), "0"), strings.TrimLeft(hex.EncodeToString(addr.AsSlice()), "0"))
		}
		for entry, want := range map[string]bool{
			entry(victim.MAC, addr): true, entry(attacker.MAC, own): true, entry(attacker.MAC, addr): false,
		} {
			if got := strings.Contains(bound, entry); got != want {
				t.Errorf("%s: %v, want %v:\n%s", entry, got, want, bound)
			}
		}
	})
	b.online(victim)
}

// fragments splits a frame's datagram after the first eight bytes, and again in the middle.
func fragments(frame []byte) (all [][]byte) {
	p, _ := hostile.ReadIPv4(frame)
	payload := p.Payload
	p.ID = 4242
	for at, size := range map[int]int{0: 8, 8: 96, 104: len(payload) - 104} {
		q := p
		q.Fragment = uint16(at / 8)
		if at+size < len(payload) {
			q.Fragment |= 0x2000
		}
		q.Payload = payload[at : at+size]
		all = append(all, q.Frame())
	}
	return all
}
