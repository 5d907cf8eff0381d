package admin

import (
	"slices"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/web"
)

// pace sums up an uplink's download rate during an hour of a Day: one sample per [sampling], while the box measured it.
type pace struct {
	samples uint64
	sum     uint64             // sum of the samples, in bit/s
	least   uint64             // smallest sample, in bit/s
	held    [len(helds)]uint64 // number of samples, by what limited the rate
	waits   uint64             // number of samples whose delay beyond the box is known
	wait    float64            // sum of those delays, in ms
}

// Two of the things that limit a rate, as state.Rate names them.
const (
	heldLine   = "line"
	heldLender = "lender"
)

var helds = [...]string{"nothing", "limit", heldLine, heldLender}

// measure takes a sample of a donation's uplink, if the box measures it now.
func (h *hour) measure(d state.Donation) {
	if d.Rate == nil {
		return
	}
	x, known := h.paces[d.Name]
	switch {
	case known:
	case len(h.paces) >= maxNames:
		return
	case h.paces == nil:
		h.paces = map[string]pace{}
	}
	if x.samples == 0 || d.Rate.Down < x.least {
		x.least = d.Rate.Down
	}
	x.samples++
	x.sum += d.Rate.Down
	if i := slices.Index(helds[:], d.Rate.DownHeld); i >= 0 {
		x.held[i]++
	}
	if d.Rate.Delay != nil {
		x.waits++
		x.wait += *d.Rate.Delay
	}
	h.paces[d.Name] = x
}

// mean returns the mean rate, in bit/s.
func (x pace) mean() uint64 { return x.sum / max(x.samples, 1) }

// meanWait returns the mean delay, in ms. ok is false if it is unknown.
func (x pace) meanWait() (ms int64, ok bool) {
	return int64(x.wait/float64(max(x.waits, 1)) + .5), x.waits > 0
}

// heldBy returns what limited the rate most of the time.
func (x pace) heldBy() string {
	most := 0
	for i := range x.held {
		if x.held[i] > x.held[most] {
			most = i
		}
	}
	return helds[most]
}

// paceBar shows the rates of an uplink with autorate: now, and over the last 24 hours.
type paceBar struct {
	Now          []string // the rates now, and what limits them
	Rates, Waits drawing  // for each hour: the mean and the lowest rate; the mean delay beyond the box
	Legend       []legend // of Rates
	Says         []string // the drawings in words; none if nothing was measured
	Begins, Ends string   // labels below the drawings
	Rows         []paceRow
}

// paceRow is an hour in the table beside the drawings.
type paceRow struct{ When, Rate, Least, Wait, Held string }

// paceBar composes the rates of a donation's uplink. It returns nil if they are fixed. age is how long ago counting began.
func (f facts) paceBar(w *web.Words, d state.Donation, age time.Duration) *paceBar {
	if !d.Autorate {
		return nil
	}
	p := &paceBar{Now: paceNow(w, d), Begins: w.T("home.day-ago"), Ends: w.T("home.now")}
	held := func(by string) string { return heldText(w, d, by) }
	var spans []span // the hours in which the uplink was measured
	var paces []pace
	var rates, leasts, waits []float64
	begins := func(s span) time.Time {
		return f.now.Add(time.Duration((s.from - 1) * float64(dayLength))).Round(time.Minute)
	}
	best, worst, longest := 0, 0, 0
	for _, h := range f.hours {
		x, ok := h.paces[d.Name]
		if !ok {
			continue
		}
		s, i := spanOf(h, age), len(spans)
		row := paceRow{When: w.Clock(begins(s)), Rate: w.Rate(x.mean()), Least: w.T("pace.least", "rate", w.Rate(x.least)), Held: held(x.heldBy())}
		wait, known := x.meanWait()
		if known {
			row.Wait = milliseconds(w, wait)
		}
		spans, paces, p.Rows = append(spans, s), append(paces, x), append(p.Rows, row)
		rates, leasts, waits = append(rates, float64(x.mean())), append(leasts, float64(x.least)), append(waits, float64(wait))
		if rates[i] > rates[best] {
			best = i
		}
		if leasts[i] < leasts[worst] {
			worst = i
		}
		if waits[i] > waits[longest] {
			longest = i
		}
	}
	if len(spans) == 0 {
		return p
	}
	slices.Reverse(p.Rows)
	p.Rates = drawRuns(spans, slices.Max(rates), "people", rates)
	p.Rates.Areas = append(p.Rates.Areas, drawRuns(spans, slices.Max(rates), "c0", leasts).Areas...)
	p.Legend = []legend{{"people", w.T("pace.mean")}, {"c0", w.T("pace.at-least")}}
	at := func(i int) string { return w.At(begins(spans[i])) }
	p.Says = []string{
		w.T("pace.most", "rate", w.Rate(paces[best].mean()), "at", at(best)),
		w.T("pace.worst", "rate", w.Rate(paces[worst].least), "at", at(worst), "held", held(paces[worst].heldBy())),
	}
	if waits[longest] > 0 {
		p.Waits = drawRuns(spans, waits[longest], "people", waits)
		p.Says = append(p.Says, w.T("pace.longest", "wait", milliseconds(w, int64(waits[longest])), "at", at(longest)))
	}
	return p
}

// spanOf returns the place of an hour in a drawing of the last 24 hours, which ends at age.
func spanOf(h hour, age time.Duration) span {
	part := func(t time.Duration) float64 { return float64(t-age+dayLength) / float64(dayLength) }
	return span{from: part(h.from), to: part(h.to), factor: 1}
}

// paceNow says how fast an uplink is in each direction now, and what limits it.
func paceNow(w *web.Words, d state.Donation) (lines []string) {
	if d.Rate == nil {
		return w.Lines("pace.idle")
	}
	lines = []string{
		w.T("pace.down", "rate", w.Rate(d.Rate.Down), "held", heldText(w, d, d.Rate.DownHeld)),
		w.T("pace.up", "rate", w.Rate(d.Rate.Up), "held", heldText(w, d, d.Rate.UpHeld)),
	}
	if d.Rate.Delay != nil {
		lines = append(lines, w.T("pace.wait", "wait", milliseconds(w, int64(*d.Rate.Delay+.5))))
	}
	if d.Rate.Unprobed {
		lines = append(lines, w.T("pace.unprobed"))
	}
	return lines
}

// heldText says what limits the rate of a donation's uplink.
func heldText(w *web.Words, d state.Donation, by string) string {
	kind := lineKind(d)
	switch {
	case by == heldLine && (kind == "phone" || kind == "modem"):
		return w.T("pace.held.reception")
	case slices.Contains(helds[:], by):
		return w.T("pace.held." + by)
	}
	return by // a word of another release
}

// drawRuns draws values on a scale up to highest. Between spans that do not touch, nothing is known, so nothing is drawn.
func drawRuns(spans []span, highest float64, class string, values []float64) (d drawing) {
	for begin := 0; begin < len(spans); {
		end := begin + 1
		for end < len(spans) && spans[end].from == spans[end-1].to {
			end++
		}
		d.Areas = append(d.Areas, areaOf(pointsOf(spans[begin:end], values[begin:end], highest), class))
		begin = end
	}
	return d
}
