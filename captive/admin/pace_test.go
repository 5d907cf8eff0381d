package admin

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
)

// TestMeasure: what an hour keeps of an uplink's rates, and that its memory is bounded even if names change all the time.
func TestMeasure(t *testing.T) {
	t.Parallel()
	rate := func(down uint64, held string, ms float64) *state.Rate {
		r := &state.Rate{Down: down, DownHeld: held}
		if ms >= 0 {
			r.Delay = &ms
		}
		return r
	}
	var h hour
	for _, r := range []*state.Rate{
		rate(9e6, "nothing", -1), rate(4e6, "line", 30), nil, rate(5e6, "line", 11), rate(6e6, "new", -1),
	} {
		h.measure(state.Donation{Name: "A", Rate: r})
	}
	h.measure(state.Donation{Name: "B"})
	want := map[string]pace{"A": {samples: 4, sum: 24e6, least: 4e6, held: [4]uint64{1, 0, 2, 0}, waits: 2, wait: 41}}
	if !reflect.DeepEqual(h.paces, want) {
		t.Fatalf("%+v, want %+v", h.paces, want)
	}
	x := h.paces["A"]
	if ms, ok := x.meanWait(); x.mean() != 6e6 || ms != 21 || !ok || x.heldBy() != "line" {
		t.Errorf("%d bit/s, %d ms, %v, by %s", x.mean(), ms, ok, x.heldBy())
	}
	for i := range 1000 {
		h.measure(state.Donation{Name: strconv.Itoa(i), Rate: rate(1, "limit", 0)})
	}
	h.measure(state.Donation{Name: "A", Rate: rate(6e6, "line", -1)})
	if len(h.paces) != maxNames || h.paces["A"].samples != 5 {
		t.Errorf("%d names, %d samples of A", len(h.paces), h.paces["A"].samples)
	}
}

// TestPaceBar: what the page shows for a day in which the uplink was measured in three hours, two of them in a row.
func TestPaceBar(t *testing.T) {
	t.Parallel()
	wait := 12.4
	box := newFakeBox().status
	box.Donations[0] = phone
	d := &box.Donations[0]
	f := facts{now: noon, box: box}
	en := catalog.Language("en")
	if f.paceBar(en, *d, 0) != nil {
		t.Error("a line with fixed rates has a pace")
	}
	d.Autorate = true
	if p := f.paceBar(en, *d, 0); strings.Join(p.Now, " ") != "The box measures it while somebody is online." || p.Says != nil || p.Rates.Areas != nil {
		t.Errorf("a line that was not measured: %+v", p)
	}
	d.Rate = &state.Rate{Down: 8_240_000, Up: 640_000, DownHeld: heldLine, UpHeld: heldLender, Delay: &wait, Unprobed: true}
	of := func(samples, sum, least uint64, ms float64, held [4]uint64) map[string]pace {
		return map[string]pace{d.Name: {samples: samples, sum: sum, least: least, held: held, waits: 1, wait: ms}}
	}
	f.hours = []hour{
		{from: 0, to: time.Hour, paces: of(2, 24e6, 11e6, 0, [4]uint64{2, 0, 0, 0})},
		{from: time.Hour, to: 2 * time.Hour},
		{from: 2 * time.Hour, to: 3 * time.Hour, paces: of(2, 12e6, 800e3, 240, [4]uint64{0, 0, 2, 0})},
		{from: 3 * time.Hour, to: 4 * time.Hour, paces: of(2, 6e6, 3e6, 20, [4]uint64{0, 1, 0, 0})},
	}
	p := f.paceBar(en, *d, 4*time.Hour)
	plain := strings.NewReplacer("\u00a0", " ", "\u202f", " ").Replace
	for _, x := range []struct{ got, want []string }{
		{p.Now, []string{
			"To people: 8.2 Mbit/s. The phone’s reception allows no more: try closer to a window.",
			"From people: 640 kbit/s. The lender is probably using it too.",
			"Waiting beyond the box: 12 ms.",
			"Measured without sending anything extra, so a little more slowly.",
		}},
		{p.Says, []string{
			"The most in one hour: 12 Mbit/s, at 11:10 am.",
			"The least at any moment: 800 kbit/s, in the hour that began at 1:10 pm. The phone’s reception allows no more: try closer to a window.",
			"The longest wait on average: 240 ms, at 1:10 pm.",
		}},
	} {
		if got := plain(strings.Join(x.got, "\n")); got != strings.Join(x.want, "\n") {
			t.Errorf("it says %q, want %q", got, x.want)
		}
	}
	if len(p.Rows) != 3 || plain(p.Rows[0].Rate+", "+p.Rows[0].Least+", "+p.Rows[0].Wait) != "3 Mbit/s, at least 3 Mbit/s, 20 ms" ||
		p.Rows[2].Wait != en.T("doctor.instant") {
		t.Errorf("the table: %+v", p.Rows)
	}
	// Two runs of mean rates, then two of lowest rates: no line is drawn across the hour without samples.
	var runs []string
	for _, a := range p.Rates.Areas {
		runs = append(runs, a.Class+" "+a.Curve[:strings.Index(a.Curve, "C")])
	}
	if got := strings.Join(runs, "; "); got != "people M833.3,0; people M916.7,50; c0 M833.3,8.3; c0 M916.7,93.3" {
		t.Errorf("the drawing begins at %s", got)
	}
	if first := p.Rates.Areas[0].Curve; !strings.HasSuffix(first, " 875,0") {
		t.Errorf("the first run ends elsewhere: %s", first)
	}
}

// TestHeldTexts: each cause has words, and only phones are said to have poor reception.
func TestHeldTexts(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"fr", "en"} {
		w, seen := catalog.Language(code), map[string]bool{}
		for _, by := range helds {
			seen[heldText(w, state.Donation{Kind: "network cable"}, by)] = true
		}
		seen[heldText(w, phone, heldLine)] = true
		if len(seen) != len(helds)+1 || heldText(w, phone, "new") != "new" {
			t.Errorf("%s: %d texts", code, len(seen))
		}
	}
	w := catalog.Language("fr")
	if got := w.Rate(1_960_000) + " " + w.Rate(999) + " " + w.Rate(100_400_000); strings.NewReplacer("\u00a0", " ", "\u202f", " ").Replace(got) != "2 Mbit/s 1 kbit/s 100 Mbit/s" {
		t.Errorf("rates: %q", got)
	}
}
