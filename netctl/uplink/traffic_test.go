package uplink

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// browse is a connection with that many bytes so far.
func browse(id, up, down uint64) Flow {
	return Flow{ID: id, Far: 100 + id, Port: 443, TCP: true, Up: up, Down: down, UpPackets: 1 + up/100, DownPackets: down / 100}
}

// calls is a connection with that many SYNs and no answer.
func calls(id, syns uint64) Flow {
	return Flow{ID: id, Far: 100 + id, Port: 443, TCP: true, Up: 60 * syns, UpPackets: syns}
}

func question(id uint64, answered bool) Flow {
	f := Flow{ID: id, Port: 53, Names: true, Up: 73, UpPackets: 1}
	if answered {
		f.Down, f.DownPackets = 100, 1
	}
	return f
}

func with(f Flow, change func(*Flow)) Flow {
	change(&f)
	return f
}

// TestTraffic is a table of residents' connections, sample by sample, and of each sample's result: "" for none, "proof", "weak"
// or "strong".
func TestTraffic(t *testing.T) {
	t.Parallel()
	ended := func(f Flow) Flow { return with(f, func(f *Flow) { f.Ended = true }) }
	port80 := func(f Flow) Flow { return with(f, func(f *Flow) { f.Port = 80 }) }
	sameFar := func(f Flow) Flow { return with(f, func(f *Flow) { f.Far = 7 }) }
	type looks = [][]Flow
	for name, c := range map[string]struct {
		looks looks
		want  []string
	}{
		"nothing": {looks{nil, nil, nil}, []string{"", "", ""}},
		"exchanges with three remote addresses": {
			looks{nil, {browse(1, 5000, 9000), browse(2, 5000, 9000)}, {browse(1, 5000, 9000), browse(2, 5000, 9000), browse(3, 5000, 9000)}},
			[]string{"", "", "proof"},
		},
		"with one": {
			looks{nil, {sameFar(browse(1, 5000, 9000)), sameFar(browse(2, 5000, 9000)), sameFar(browse(3, 5000, 9000))}}, []string{"", ""},
		},
		"that were there before": {
			looks{{browse(1, 5e6, 9e6), browse(2, 5e6, 9e6), browse(3, 5e6, 9e6)}, {browse(1, 5e6, 9e6), browse(2, 5e6, 9e6), browse(3, 5e6, 9e6)}},
			[]string{"", ""},
		},
		"and that go on": {
			looks{{browse(1, 5e6, 9e6), browse(2, 5e6, 9e6), browse(3, 5e6, 9e6)}, {browse(1, 6e6, 10e6), browse(2, 6e6, 10e6), browse(3, 6e6, 10e6)}},
			[]string{"", "proof"},
		},
		"a sign-in page on port 80, for any address": {
			looks{nil, {port80(browse(1, 9000, 300e3)), port80(browse(2, 9000, 300e3)), port80(browse(3, 9000, 300e3))}}, []string{"", ""},
		},
		"only one way": {
			looks{nil, {browse(1, 900, 90e3), browse(2, 900, 90e3), browse(3, 900, 90e3)}}, []string{"", ""},
		},
		"connections that end with little": {looks{nil, {ended(browse(1, 900, 2000))}, {ended(browse(1, 900, 2000))}}, []string{"", "weak", ""}},
		"with much":                        {looks{nil, {ended(browse(1, 9000, 20e3))}}, []string{"", ""}},
		"SYNs without an answer":           {looks{nil, {calls(1, 1)}, {calls(1, 2)}, {calls(1, 2)}, {calls(1, 3)}}, []string{"", "", "strong", "", "strong"}},
		"while another is answered":        {looks{nil, {calls(1, 1)}, {calls(1, 2), browse(2, 500, 900)}}, []string{"", "", ""}},
		"a connection that gets no more answers": {
			looks{{browse(1, 5000, 9000)}, {browse(1, 5100, 9000)}, {browse(1, 5200, 9000)}, {browse(1, 5300, 9100)}}, []string{"", "", "strong", ""},
		},
		"while three others send": {
			looks{{browse(1, 5000, 9000)}, {browse(1, 5100, 9000)},
				{browse(1, 5200, 9000), browse(2, 900, 3000), browse(3, 900, 3000), browse(4, 900, 3000)}}, []string{"", "", ""},
		},
		"a download that stands still": {
			looks{nil, {browse(1, 1000, 500e3)}, {browse(1, 1000, 500e3)}, {browse(1, 1000, 500e3)}, {browse(1, 1000, 500e3)}},
			[]string{"", "", "", "weak", ""},
		},
		"names without an answer": {looks{nil, {question(1, false)}, {question(1, false)}}, []string{"", "", "strong"}},
		"one of two servers answers": {
			looks{nil, {question(1, false)}, {question(1, false), question(2, true)}, {question(1, false), question(3, true)}}, []string{"", "", "", ""},
		},
		"names of which no connection comes": {
			looks{nil, {question(1, true), question(2, true)}, {question(3, true), question(4, true)}, {}, {}, {}},
			[]string{"", "", "", "", "strong", ""},
		},
		"names of which connections come": {
			looks{nil, {question(1, true), question(2, true), question(3, true)}, {browse(4, 500, 900)}, {}, {}}, []string{"", "", "", "", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tr tracker
			var got []string
			var line uint64 // packets that the line has sent
			known := map[uint64]uint64{}
			for i, flows := range c.looks {
				for _, f := range flows {
					line += f.UpPackets - min(f.UpPackets, known[f.ID])
					known[f.ID] = f.UpPackets
				}
				if tr.unchanged(line) {
					got = append(got, "") // a sample that is skipped has no result in the table
					continue
				}
				tr.sent = line
				proof, why := tr.sample(time.Unix(int64(2*i), 0), flows)
				word := map[cause]string{weak: "weak", strong: "strong"}[why]
				if proof {
					word += "proof"
				}
				got = append(got, word)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("concluded %q, want %q", got, c.want)
			}
		})
	}
}

// TestWindow checks that old exchanges prove nothing, and that ended flows are deleted.
func TestWindow(t *testing.T) {
	t.Parallel()
	var tr tracker
	now := time.Unix(0, 0)
	tr.sample(now, nil)
	for i := range uint64(10) {
		now = now.Add(windowLength/2 + time.Second)
		if proof, _ := tr.sample(now, []Flow{browse(i, 5000, 9000)}); proof {
			t.Errorf("exchange number %d proves the line", i)
		}
	}
	if len(tr.flows) != 1 {
		t.Errorf("%d connections are remembered", len(tr.flows))
	}
}

// TestTrafficReplacesPages checks that exchanges replace a page, while DNS is probed as before.
func TestTrafficReplacesPages(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		line := lent("eth0", gateway)
		line.InUse = true
		s.set(line)
		for i := range uint64(3600) {
			time.Sleep(2 * time.Second)
			s.mu.Lock()
			s.flows = []Flow{browse(1, 5000*i, 9000*i), browse(2, 5000*i, 9000*i), browse(3, 5000*i, 9000*i)}
			s.mu.Unlock()
		}
		if len(s.loads) != 1 {
			t.Errorf("pages were asked for at %v", s.loads)
		}
		if h := s.p.Health("eth0"); time.Since(h.Traffic.At) > time.Minute || h.Last() == h.Page {
			t.Errorf("health %+v", h)
		}
		if n := len(s.questions()); n < 100 {
			t.Errorf("%d questions in two hours", n)
		}
		s.change(fine, all(habit{mode: "REFUSED"})) // open connections go on
		s.mu.Lock()
		s.web = dropped
		s.mu.Unlock()
		time.Sleep(busyNames + 2*doubtLimit)
		s.health("eth0", "eth0 gives no names: 192.168.1.1 refuses every name")
	})
}

func FuzzReadFlow(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 8, 0, 1, 128, 4, 0, 1, 128})
	line := netip.MustParseAddr("192.168.1.7")
	f.Fuzz(func(t *testing.T, body []byte) {
		if flow, ok := readFlow(body, line); !ok && flow.Names {
			t.Errorf("%+v is none of the line's", flow)
		}
	})
}

// A link for which the kernel sends no statistics is not taken for an idle one.
func TestSentPackets(t *testing.T) {
	link := netlink.NewLinkAttrs()
	if n, err := sentPackets(&link); err == nil {
		t.Errorf("without statistics it has sent %d packets", n)
	}
	link.Statistics = &netlink.LinkStatistics{TxPackets: 7}
	if n, err := sentPackets(&link); n != 7 || err != nil {
		t.Errorf("it has sent %d packets, not 7: %v", n, err)
	}
}
