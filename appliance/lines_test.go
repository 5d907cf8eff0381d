package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/ledger"
	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/uplink"
	"passerelle/netctl/wpa"
)

// fakeTranches are a gate's tranches, which nobody spends.
type fakeTranches struct {
	held []netctl.TrancheUsage
	full error
}

func (p *fakeTranches) Broadcasts() (map[string]uint64, error) { return nil, nil }

func (p *fakeTranches) Grant(_ context.Context, t netctl.Tranche) error {
	if p.full != nil {
		return p.full
	}
	p.held = append(p.held, netctl.TrancheUsage{Tranche: t})
	return nil
}

func (p *fakeTranches) Revoke(_ context.Context, chain string) error {
	p.held = slices.DeleteFunc(p.held, func(s netctl.TrancheUsage) bool { return s.Chain == chain })
	return nil
}

// bytes returns the sum of a chain's tranches.
func (p *fakeTranches) bytes(chain string) (n uint64) {
	for _, s := range p.held {
		if s.Chain == chain {
			n += s.Bytes
		}
	}
	return n
}

// testLines are lines with fakes for everything that they use. All clocks stand still.
type testLines struct {
	*testing.T
	*lines
	tranches *fakeTranches
	links    *fakeUplinks
	prober   *prober
	join     *joiner
	disk     *fakeStore
	mono     time.Time
	problems []string
}

func newTestLines(t *testing.T, donations string) *testLines {
	l := &testLines{
		T: t, tranches: &fakeTranches{}, links: &fakeUplinks{}, prober: &prober{}, join: &joiner{},
		disk: &fakeStore{records: map[string]ledger.Record{}, paused: map[string]ledger.Pause{}}, mono: time.Unix(1000, 0),
	}
	l.links.status = uplink.Status{Index: 2, Present: true, Works: true, DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")}}
	l.lines = newLines(Parts{
		Uplinks: l.links, Prober: l.prober, Joiner: l.join, Store: l.disk, Accounts: map[string]*ledger.Account{},
		Boot: "first", Now: func() time.Time { return l.mono },
	}, func(_ state.Code, err error, _ ...string) {
		if err != nil {
			l.problems = append(l.problems, err.Error())
		}
	}, func() {})
	l.lines.gate = l.tranches
	l.lines.clock, l.lines.trusted = time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC), true
	l.setDonations(donations)
	return l
}

// setDonations replaces the donations.
func (l *testLines) setDonations(donations string) {
	l.Helper()
	head, _, _ := strings.Cut(confText, "[[donation]]")
	head = strings.Replace(head, `radio = "none"`, "radio = \"none\"\ncountry = \"FR\"", 1)
	c, err := config.Parse("test.toml", []byte(head+donations))
	if err != nil {
		l.Fatal(err)
	}
	l.configure(c)
}

// reconcile does what the loop does with lines in one pass.
func (l *testLines) reconcile() {
	l.Helper()
	held := slices.Clone(l.tranches.held)
	if !l.read() {
		l.Fatal("the lines cannot be read")
	}
	l.observe(held)
	l.trackHealth()
	l.commitGrants(l.Context(), held)
}

// donationText is a donation without a cap, unless more gives it one.
func donationText(name, device, more string) string {
	if !strings.Contains(more, "cap =") {
		more += "\ncap = \"0\""
	}
	return fmt.Sprintf("[[donation]]\nname = %q\ninterface = %q\n%s\n", name, device, more)
}

// TestGrantedIsWhatWasStored: the kernel may spend what the stored account says, and nothing while the account cannot be stored.
func TestGrantedIsWhatWasStored(t *testing.T) {
	l := newTestLines(t, donationText("Lucie", "eth0", `cap = "2GB"`))
	d := l.all[0]
	l.disk.full = errors.New("no space left")
	l.choose(0)
	l.reconcile()
	if works, why := l.works(d); works || !strings.Contains(why, "no space left") || len(l.tranches.held) > 0 {
		t.Errorf("with a full disk: %t, %q, and %v granted", works, why, l.tranches.held)
	}
	l.disk.full = nil
	l.reconcile()
	if len(l.tranches.held) > 0 {
		t.Error("a failed write is retried at once")
	}
	l.mono = l.mono.Add(writeRetry)
	l.reconcile() // a write that succeeds again
	l.reconcile()
	granted := l.tranches.bytes(d.policy.Chain)
	if works, why := l.works(d); !works || granted == 0 || l.disk.records["Lucie"].Committed < granted {
		t.Errorf("%t, %q; %d granted, %+v written", works, why, granted, l.disk.records["Lucie"])
	}

	l.setDonations(donationText("Lucie", "eth0", `cap = "0"`))
	l.reconcile()
	if left := l.tranches.bytes(plainChain(d, 1)); left != 0 {
		t.Errorf("the tranches of a removed cap still hold %d bytes", left)
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
}

// plainChain returns the donation's chain with another cap.
func plainChain(d *donation, size config.Size) string {
	c := d.Donation
	c.Cap = size
	return policyOf(c).Chain
}

// TestFailedGrant: a refused tranche does not count as granted, and is retried after a delay.
func TestFailedGrant(t *testing.T) {
	l := newTestLines(t, donationText("Lucie", "eth0", `cap = "2GB"`))
	l.choose(0)
	l.tranches.full = errors.New("exit status 4")
	for range 10 {
		l.reconcile()
	}
	if l.disk.writes != 1 || l.all[0].balance.Granted != 0 || len(l.problems) != 10 {
		t.Errorf("%d writes, %d granted, problems %q", l.disk.writes, l.all[0].balance.Granted, l.problems)
	}
	l.tranches.full = nil
	l.mono = l.mono.Add(writeRetry)
	l.reconcile()
	if l.all[0].balance.Granted == 0 {
		t.Error("the kernel accepts tranches, and has none")
	}
}

// TestLineIsStableAfterAWhile: a line that was lost or slow counts as stable only after it has worked for a while.
func TestLineIsStableAfterAWhile(t *testing.T) {
	l := newTestLines(t, donationText("Lucie", "eth0", ""))
	stable := func(want bool, when string) {
		t.Helper()
		l.reconcile()
		if x := l.observations()[0]; x.Stable != want {
			t.Errorf("%s: stable %t, works %t", when, x.Stable, x.Works)
		}
	}
	stable(false, "at first")
	l.mono = l.mono.Add(stableAfter)
	stable(true, "after a while")
	l.links.status.Works = false
	stable(false, "lost")
	l.links.status.Works = true
	stable(false, "back again")
	l.mono = l.mono.Add(stableAfter)
	stable(true, "for a while again")
	l.prober.health = uplink.Health{Known: true, Works: true, Slow: true}
	stable(false, "slow")
}

// TestWhyALineFails: a problem of the account is reported first, then the cause that is nearest to the box.
func TestWhyALineFails(t *testing.T) {
	l := newTestLines(t, donationText("Lucie", "wlan1", "wifi = { ssid = \"Chez Lucie\", passphrase = \"trois petits chats\" }"))
	why := func(want string) {
		t.Helper()
		l.reconcile()
		if works, got := l.works(l.all[0]); works != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%t, %q, want %q", works, got, want)
		}
	}
	l.join.join = wpa.Association{Associated: true}
	why("")
	l.prober.health = uplink.Health{Known: true, Why: "no answer to any question"}
	why("no answer")
	l.links.status.Works, l.links.status.Why = false, "no default route"
	why("no default route")
	l.join.join = wpa.Association{Why: "another passphrase"}
	why("another passphrase")
	l.links.status.Networks = []netip.Prefix{netip.MustParsePrefix("10.80.0.0/16")}
	why("overlaps")
}

// TestProbedLines: a line is probed while it is open, not paused, and under its cap.
func TestProbedLines(t *testing.T) {
	l := newTestLines(t, donationText("Lucie", "eth0", `dns = ["192.168.1.1"]`)+donationText("Mairie", "eth1", `hours = "Mo-Su 08:00-09:00"`))
	l.choose(0)
	probed := func(want ...string) {
		t.Helper()
		l.reconcile()
		l.probe(true)
		var got []string
		for _, c := range l.prober.lines {
			got = append(got, c.Interface)
		}
		if !slices.Equal(got, want) {
			t.Errorf("probed are %q, want %q", got, want)
		}
	}
	probed("eth0")
	if c := l.prober.lines[0]; !c.InUse || len(c.DNS) != 1 || c.DNS[0] != netip.MustParseAddr("192.168.1.1") {
		t.Errorf("probed is %+v", c)
	}
	l.trusted = false
	probed("eth0", "eth1")
	if l.prober.lines[1].InUse {
		t.Error("a line that is not chosen is busy")
	}
	itsLender := ledger.Pause{By: "its lender"}
	if err := l.pause(l.all[0], itsLender); err != nil || l.disk.paused["Lucie"] != itsLender {
		t.Errorf("%v, written: %v", err, l.disk.paused)
	}
	probed("eth1")
	l.disk.full = errors.New("no space left")
	if err := l.pause(l.all[0], ledger.Pause{}); err == nil || l.all[0].pause != itsLender {
		t.Error("a pause ends although that cannot be stored")
	}
	if err := l.pause(l.all[1], itsLender); err == nil || l.all[1].pause != itsLender {
		t.Error("a pause waits for the disk")
	}
	probed()
}

// TestChosenStaysByName: the chosen donation stays chosen by its name, at any index.
func TestChosenStaysByName(t *testing.T) {
	lucie, mairie := donationText("Lucie", "eth0", ""), donationText("Mairie", "eth1", "")
	l := newTestLines(t, lucie+mairie)
	l.choose(l.find("Mairie"))
	d := l.chosen
	l.setDonations(mairie + lucie)
	if l.chosen != d || l.index(d) != 0 {
		t.Errorf("chosen is %v", l.chosen)
	}
	l.setDonations(lucie)
	if l.chosen != nil || l.index(d) != -1 || l.find("Mairie") != -1 {
		t.Errorf("chosen is %v, which was removed", l.chosen)
	}
}

// TestDayLeft: the fraction of a line's hours that is still to come.
func TestDayLeft(t *testing.T) {
	l := newTestLines(t, donationText("Lucie", "eth0", `hours = "Mo-Su 08:00-12:00"`))
	for _, c := range []struct {
		hour int
		want float64
	}{{0, 1}, {10, 0.44}, {13, 0}, {9, 0.69}} {
		l.clock = time.Date(2026, 3, 4, c.hour, 0, 0, 0, time.UTC)
		if got := l.dayLeft(l.all[0]); got < c.want-0.01 || got > c.want+0.01 {
			t.Errorf("at %d o'clock %.2f of the day is left, want %.2f", c.hour, got, c.want)
		}
	}
}

// TestKernelNeverRunsDry: the next pass comes before the kernel's tranches can be used up.
func TestKernelNeverRunsDry(t *testing.T) {
	l := newTestLines(t, donationText("Lucie", "eth0", "cap = \"2GB\"\ndownload = \"80mbit\"\nupload = \"8mbit\""))
	l.choose(0)
	l.reconcile()
	l.reconcile()
	d := l.chosen
	for _, residents := range []int{1, 5, 500} {
		lasts := d.drainTime(residents, l.config)
		rate := min(80e6, 8e6*float64(residents)) + min(8e6, 4e6*float64(residents))
		if spent := rate / 8 * lasts.Seconds(); spent > float64(d.balance.Granted) || lasts < minPeriod {
			t.Errorf("%d residents may spend %.0f bytes of %d in %v", residents, spent, d.balance.Granted, lasts)
		}
	}
}
