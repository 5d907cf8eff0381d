package uplink

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// TestMeter checks that residents' new connections are timed and the box's own are not, and that probes are answered or their
// age is reported.
func TestMeter(t *testing.T) {
	labtest.Root(t, "iptables", "iptables-restore")
	l := layLine(t)
	resident, err := l.world.AddHost("resident")
	l.must(err)
	_, err = l.world.Connect(netlab.End{Host: resident, Interface: "eth0"}, netlab.End{Host: l.box, Interface: "hot"})
	l.must(err)
	l.must(l.box.AddAddress("hot", netip.MustParsePrefix("10.80.0.1/22")))
	l.must(resident.AddAddress("eth0", netip.MustParsePrefix("10.80.0.9/22")))
	l.must(resident.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.80.0.1")))
	l.must(l.box.Sysctl("net/ipv4/ip_forward", "1"))
	rule := func(host *netlab.Host, rule string) {
		t.Helper()
		l.must(host.Do(func() error {
			if out, err := exec.Command("iptables", append([]string{"-w"}, strings.Fields(rule)...)...).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}))
	}
	rule(l.box, "-t nat -A POSTROUTING -o eth0 -j MASQUERADE")
	l.street()

	var m *Meter
	l.must(l.box.Do(func() (err error) { m, err = l.r.Meter(l.read(), gateway); return err }))
	t.Cleanup(m.Close)
	var all []RoundTrip
	measure := func() Measured {
		t.Helper()
		seen, err := m.Measure()
		l.must(err)
		all = append(all, seen.Trips...)
		return seen
	}
	flows := func() int {
		return len(slices.DeleteFunc(slices.Clone(all), func(x RoundTrip) bool { return x.Probe }))
	}

	before := measure()
	client := resident.HTTPClient()
	eventually(t, "a connection that is timed", func() bool {
		reply, err := client.Get("http://" + webAddr.String() + "/")
		l.must(err)
		_, err = io.Copy(io.Discard, reply.Body)
		l.must(err)
		reply.Body.Close()
		client.CloseIdleConnections() // the next one is new
		measure()
		return flows() > 0
	})
	after := measure()
	if after.RxBytes <= before.RxBytes || after.TxBytes <= before.TxBytes {
		t.Errorf("the counters went from %d, %d to %d, %d", before.RxBytes, before.TxBytes, after.RxBytes, after.TxBytes)
	}
	n := flows()
	own, err := l.box.Dial(t.Context(), "tcp", webAddr.String()+":80")
	l.must(err)
	own.Close()
	l.must(m.Probe())
	eventually(t, "the answer to a probe", func() bool {
		seen := measure()
		return slices.ContainsFunc(all, func(x RoundTrip) bool { return x.Probe }) && seen.Unanswered == 0
	})
	if flows() != n {
		t.Errorf("the box's own connection was timed: %+v", all)
	}
	for _, x := range all {
		if x.Trip <= 0 || x.Trip > atMost || time.Since(x.Sent) > atMost {
			t.Errorf("a round trip: %+v", x)
		}
	}

	rule(l.router, "-A INPUT -p icmp -j DROP")
	l.must(m.Probe())
	l.must(m.Probe())
	eventually(t, "a probe without an answer", func() bool { return measure().Unanswered > 10*time.Millisecond })
	rule(l.router, "-D INPUT -p icmp -j DROP")
	l.must(m.Probe())
	eventually(t, "a later answer", func() bool { return measure().Unanswered == 0 })

	l.must(l.box.Netlink().LinkDel(l.link()))
	if _, err := m.Measure(); err == nil {
		t.Error("an interface that is gone was measured")
	}
}

// TestMeterForgets checks that unanswered connections and probes are forgotten, and that memory is bounded.
func TestMeterForgets(t *testing.T) {
	t.Parallel()
	line := netip.MustParseAddr("192.168.1.7")
	m := &Meter{line: line, pending: map[uint32]began{}, sent: map[uint16]time.Time{}}
	at := time.Now()
	report := func(id, status uint32, src, to string) []byte {
		attr := func(kind uint16, parts ...[]byte) []byte {
			value := slices.Concat(parts...)
			b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
			b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
			return append(b, make([]byte, -len(b)&3)...)
		}
		tuple := func(kind uint16, src, dst string) []byte {
			return attr(kind, attr(nl.CTA_TUPLE_IP,
				attr(nl.CTA_IP_V4_SRC, netip.MustParseAddr(src).AsSlice()), attr(nl.CTA_IP_V4_DST, netip.MustParseAddr(dst).AsSlice())))
		}
		return slices.Concat([]byte{unix.AF_INET, 0, 0, 0},
			tuple(nl.CTA_TUPLE_ORIG, src, "192.0.2.1"), tuple(nl.CTA_TUPLE_REPLY, "192.0.2.1", to),
			attr(nl.CTA_ID, binary.BigEndian.AppendUint32(nil, id)), attr(nl.CTA_STATUS, binary.BigEndian.AppendUint32(nil, status)))
	}
	m.flow(report(1, 0, "10.80.0.9", line.String()), at)
	m.flow(report(2, 0, line.String(), line.String()), at)                // the box's own
	m.flow(report(3, 0, "10.80.0.9", "10.80.0.9"), at)                    // not through this line
	m.flow(report(4, seenReply, "10.80.0.9", line.String()), at)          // began before the meter did
	m.flow(report(5, 0, "10.80.0.9", line.String()), at)                  // read too late:
	m.flow(report(5, seenReply, "10.80.0.9", line.String()), at.Add(1e3)) // the answer was there already
	m.emptied++
	m.flow(report(1, seenReply, "10.80.0.9", line.String()), at.Add(2e6)) // answered
	m.flow(report(1, seenReply, "10.80.0.9", line.String()), at.Add(3e6)) // a later change
	if want := (RoundTrip{Sent: at, Trip: 2 * time.Millisecond}); len(m.trips) != 1 || m.trips[0] != want || len(m.pending) != 0 {
		t.Errorf("got %+v, %d pending", m.trips, len(m.pending))
	}
	for id := range uint32(2 * maxPending) {
		m.flow(report(id, 0, "10.80.0.9", line.String()), at)
	}
	if len(m.pending) != maxPending {
		t.Errorf("%d connections are pending", len(m.pending))
	}
	m.emptied++
	for id := range uint32(maxPending) {
		m.flow(report(id, seenReply, "10.80.0.9", line.String()), at)
	}
	if len(m.trips) != maxTrips || len(m.pending) != 0 {
		t.Errorf("%d round trips, %d pending", len(m.trips), len(m.pending))
	}
}

// FuzzMeter checks that no report of the kernel and no answer from the line causes a panic.
func FuzzMeter(f *testing.F) {
	f.Add([]byte{unix.AF_INET, 0, 0, 0, 8, 0, nl.CTA_ID, 0, 0, 0, 0, 1})
	f.Add(make([]byte, echoSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &Meter{pending: map[uint32]began{}, sent: map[uint16]time.Time{0: time.Now()}}
		m.flow(b, time.Now())
		m.answer(b, time.Now())
		if len(m.trips) > 2 {
			t.Errorf("%x gives %+v", b, m.trips)
		}
	})
}
