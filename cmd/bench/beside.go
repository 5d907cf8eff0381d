package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
)

// comparisons compare this build of the daemon with another one from outside, since the other may be older than any code of this
// program.
var comparisons = []measurement[compared]{
	{
		name: "throughput", about: "through the box, and what it costs, with no limit and with every one",
		run: throughputBeside, round: 33 * time.Second,
	},
	{name: "packets", about: "CPU of a packet, with no limit and with every one", run: packetsBeside, round: 2 * time.Second},
	{name: "press", about: "from the button to the first byte from the internet", run: pressBeside, round: 2 * time.Second},
	{name: "pages", about: "the first page, a lesson and the redirect", run: pagesBeside, round: 7 * time.Second},
	{name: "names", about: "names that the box remembers, and that it asks for", run: namesBeside, round: 6 * time.Second},
	{name: "daemon", about: "memory, what idling and a round of the loop cost", run: daemonBeside, round: 8 * time.Second},
	{
		name: "failover", about: "how long no new connection is answered when the line in use fails",
		run: failoverBeside, round: 30 * time.Second,
	},
	{name: "fairness", about: "eight residents on one line, and another's ping through it", run: fairnessBeside, round: 21 * time.Second},
}

const (
	minRounds = 7 // of a comparison: with fewer rounds the median means little
	minRatio  = 0.95
	maxCost   = 1.05
)

// errWorse says that a figure of this build exceeds its limit.
var errWorse = errors.New("this build is worse")

// compare compares both builds in the named rows. If this build exceeds a limit, the error is errWorse, and facts and table are
// returned all the same.
func (b *bench) compare(ctx context.Context, names string) (facts []string, table string, err error) {
	chosen, err := choose(comparisons, names)
	if err != nil {
		return nil, "", err
	}
	if _, err := os.Stat(b.other); err != nil {
		return nil, "", fmt.Errorf("--beside: %w", err)
	}
	takes := func(m measurement[compared]) time.Duration { return 10*time.Second + time.Duration(b.rounds)*m.round }
	var all time.Duration
	for _, m := range chosen {
		all += takes(m)
	}
	b.logf("this takes about %.0f minutes", math.Ceil(all.Minutes()))
	var rows []compared
	for _, m := range chosen {
		// The timeout ends a hang, but allows for a busy machine.
		within, cancel := context.WithTimeout(ctx, 4*takes(m)+time.Minute)
		more, err := m.measure(within, b)
		cancel()
		if err != nil {
			return nil, "", err
		}
		for _, r := range more {
			r.measurement = m.name
			rows = append(rows, r)
		}
	}
	return b.verdict(rows)
}

// verdict returns facts and table, and errWorse if a figure is beyond its limit.
func (b *bench) verdict(rows []compared) (facts []string, table string, err error) {
	facts = []string{
		"now: this build; before: " + b.other,
		fmt.Sprintf("ratio: how much better now is than before, round by round (of CPU a GB: how much more it is); "+
			"in brackets the lowest and highest of the %d rounds, in which the builds take turns", b.rounds),
	}
	var worse []string
	for _, r := range rows {
		if !r.ok() && (len(worse) == 0 || worse[len(worse)-1] != r.measurement) {
			worse = append(worse, r.measurement)
		}
	}
	if len(worse) > 0 {
		err = fmt.Errorf("%w: see the table. Measure these again, alone, with nothing else on the machine:\n"+
			"  make bench BENCH='-beside %s -rows %s'\nWhat is beyond its limit once more counts, unless the ranges of "+
			"before and now overlap there", errWorse, b.other, strings.Join(worse, ","))
	}
	return facts, besideMarkdown(rows), err
}

// compared is a figure with its values for both builds.
type compared struct {
	measurement, what, unit string
	before, now, ratio      spread
	limit                   float64
	most                    bool // the limit is the highest allowed ratio, otherwise the lowest
}

func (c compared) ok() bool {
	if c.most {
		return c.ratio.median <= c.limit
	}
	return c.ratio.median >= c.limit
}

// overlap tells whether the ranges of both builds overlap.
func (c compared) overlap() bool { return c.before.overlaps(c.now) }

func besideMarkdown(rows []compared) string {
	var b strings.Builder
	b.WriteString("\n| what | before | now | ratio | limit | |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		limit, verdict := fmt.Sprintf("≥ %.2f", r.limit), "ok"
		if r.most {
			limit = fmt.Sprintf("≤ %.2f", r.limit)
		}
		if !r.ok() {
			verdict = "**worse**, the ranges are apart"
			if r.overlap() {
				verdict = "**worse**, the ranges overlap"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.what, significant(r.before, r.unit), significant(r.now, r.unit),
			r.ratio, limit, verdict)
	}
	return b.String()
}

// significant returns a spread with its unit, with three significant digits.
func significant(s spread, unit string) string {
	digits := func(v float64) string {
		if v == 0 {
			return "0"
		}
		return strconv.FormatFloat(v, 'f', max(0, 2-int(math.Floor(math.Log10(math.Abs(v))))), 64)
	}
	text := digits(s.median)
	if unit != "" {
		text += " " + unit
	}
	if s.low != s.high {
		text += fmt.Sprintf(" (%s to %s)", digits(s.low), digits(s.high))
	}
	return text
}

// figure is a number taken from the results.
type figure[T any] struct {
	what, unit string
	number     func(T) float64
	kind       kind
}

// kind says which values are better.
type kind int

const (
	lower  kind = iota // for waits and memory
	higher             // for speed
	cost               // lower is better, with a limit of its own
)

// compare compares the results of both builds.
func (f figure[T]) compare(of string, results [][]T) compared {
	before, now := values(results[0], f.number), values(results[1], f.number)
	c := compared{what: of, unit: f.unit, before: spreadOf(before), now: spreadOf(now), limit: minRatio}
	if f.what != "" {
		c.what += ", " + f.what
	}
	switch f.kind {
	case higher:
		c.ratio = ratio(now, before)
	case lower:
		c.ratio = ratio(before, now)
	case cost:
		c.ratio, c.limit, c.most = ratio(now, before), maxCost, true
	}
	return c
}

// pair is both builds, each in its own scene: before, and now.
type pair [2]*daemon

// startPair starts both builds in identical scenes, whose residents get their leases as real devices do. The builds may treat
// static addresses differently.
func (b *bench) startPair(ctx context.Context, o netlab.Options, how box.Setup, admit bool) (p pair, err error) {
	for i, program := range []string{b.other, b.binary} {
		s, err := netlab.Standard(ctx, o)
		if err != nil {
			return p, errors.Join(err, p.close())
		}
		d, err := box.Start(ctx, program, s, how)
		if err != nil {
			return p, errors.Join(fmt.Errorf("%s: %w", program, err), p.close())
		}
		p[i] = &daemon{d}
		if err = d.Join(ctx, s.Residents...); err == nil && admit {
			err = d.Admit(ctx, s.Residents...)
		}
		if err != nil {
			return p, errors.Join(fmt.Errorf("%s: %w", program, err), p.close())
		}
	}
	return p, nil
}

func (p pair) close() error {
	var errs []error
	for _, d := range p {
		if d != nil {
			errs = append(errs, d.Close())
		}
	}
	return errors.Join(errs...)
}

// contestants returns variants that measure the same on both builds.
func contestants[T any](p pair, measure func(context.Context, *daemon) (T, error)) []variant[T] {
	return []variant[T]{
		{"before", func(ctx context.Context) (T, error) { return measure(ctx, p[0]) }},
		{"now", func(ctx context.Context) (T, error) { return measure(ctx, p[1]) }},
	}
}

// rowsOf returns a row for each figure of the results.
func rowsOf[T any](what string, results [][]T, figures ...figure[T]) (rows []compared) {
	for _, f := range figures {
		rows = append(rows, f.compare(what, results))
	}
	return rows
}

// unlimited is a box without any limit. everyHigh is one with every limit, each above what the machine can do.
var (
	unlimited = box.Setup{Limits: "download = \"0\"\nupload = \"0\"\ndata = \"0\"", Donation: `cap = "0"`}
	everyHigh = box.Setup{
		Limits:   "download = \"40gbit\"\nupload = \"40gbit\"\ndata = \"100TB\"",
		Donation: "download = \"40gbit\"\nupload = \"40gbit\"\ncap = \"100TB\"",
	}
)

func throughputBeside(ctx context.Context, b *bench) (rows []compared, err error) {
	for _, offload := range []bool{true, false} {
		for _, c := range []struct {
			name string
			how  box.Setup
		}{{"no limit", unlimited}, {"every limit set, above the line's speed", everyHigh}} {
			more, err := b.throughputPair(ctx, offload, c.name, c.how)
			if err != nil {
				return nil, err
			}
			rows = append(rows, more...)
		}
	}
	return rows, nil
}

func (b *bench) throughputPair(ctx context.Context, offload bool, limits string, how box.Setup) (rows []compared, err error) {
	p, err := b.startPair(ctx, netlab.Options{Residents: 1, Direct: true, NoOffload: !offload}, how, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, reverse := range []bool{true, false} {
		what := fmt.Sprintf("throughput %s, %s", kindOf(reverse, offload), limits)
		many := *b // turns are short, since other load on the machine changes by the second
		many.rounds = 2*b.rounds + 1
		results, err := interleave(ctx, &many, what, contestants(p, func(ctx context.Context, d *daemon) (transfer, error) {
			return runner{resident: d.Residents[0], internet: d.Internet}.transfer(ctx, b, reverse)
		}))
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowsOf(what, results,
			figure[transfer]{"", "Gbit/s", func(t transfer) float64 { return t.rate / 1e9 }, higher},
			figure[transfer]{"CPU", "s a GB", cpuOf, cost})...)
	}
	return rows, nil
}

func pressBeside(ctx context.Context, b *bench) (rows []compared, err error) {
	p, err := b.startPair(ctx, netlab.Options{Residents: 50, Direct: true}, box.Setup{}, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, d := range p {
		if err := servePage(d.Internet.Host); err != nil {
			return nil, err
		}
	}
	p50 := figure[latency]{"median", "ms", func(p latency) float64 { return milliseconds(p.p50) }, lower}
	p99 := figure[latency]{"p99", "ms", func(p latency) float64 { return milliseconds(p.p99) }, lower}
	const what = "press to first forwarded byte"
	each := map[*daemon]int{} // so far: each time other residents press, as nobody presses that often
	results, err := interleave(ctx, b, what+", 20 in a row", contestants(p, func(ctx context.Context, d *daemon) (latency, error) {
		k := each[d] % len(d.Residents)
		each[d]++
		return d.press(ctx, slices.Repeat([]turn{d.Residents[k : k+1]}, 20), pressEnd)
	}))
	if err != nil {
		return nil, err
	}
	rows = rowsOf(what+", 20 in a row", results, p50)
	results, err = interleave(ctx, b, what+", 50 at once", contestants(p, func(ctx context.Context, d *daemon) (latency, error) {
		return d.press(ctx, []turn{d.Residents, d.Residents}, pressEnd)
	}))
	return append(rows, rowsOf(what+", 50 at once", results, p50, p99)...), err
}

func pagesBeside(ctx context.Context, b *bench) (rows []compared, err error) {
	p, err := b.startPair(ctx, netlab.Options{Residents: phones, Direct: true}, box.Setup{}, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, c := range []struct{ name, address, request, status string }{
		{"first page", portalAddress, getFirstPage, "HTTP/1.1 200"},
		{"a lesson", portalAddress, getLesson, "HTTP/1.1 200"},
		{"redirect", webAddress, getProbe, "HTTP/1.1 302"},
	} {
		l := load{address: c.address, request: c.request + requestHeaders, status: c.status, keep: true}
		what := fmt.Sprintf("%s, keep-alive, %d connections", c.name, phones*connsEach)
		results, err := interleave(ctx, b, what, contestants(p, func(ctx context.Context, d *daemon) (requestRate, error) {
			return l.run(ctx, d.Residents, orQuick(b, 700*time.Millisecond, 300*time.Millisecond))
		}))
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowsOf(what, results, figure[requestRate]{"", "a second", func(p requestRate) float64 { return float64(p) }, higher})...)

		what = c.name + ", a connection each, one after the other"
		l.keep = false
		l.request += "Connection: close\r\n\r\n"
		waits, err := interleave(ctx, b, what, contestants(p, func(ctx context.Context, d *daemon) (latency, error) {
			return l.oneByOne(ctx, d.Residents[0], 40)
		}))
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowsOf(what, waits,
			figure[latency]{"median", "ms", func(p latency) float64 { return milliseconds(p.p50) }, lower})...)
	}
	return rows, nil
}

// oneByOne sends requests one after the other, each over its own connection, and returns the times until the complete answers.
func (l load) oneByOne(ctx context.Context, r *netlab.Resident, times int) (latency, error) {
	var took []time.Duration
	err := r.Do(func() error {
		for range times {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			start := time.Now()
			conn, err := connect(l.address)
			if err != nil {
				return err
			}
			if _, err := l.converse(conn, start); err != nil {
				return err
			}
			took = append(took, time.Since(start))
		}
		return nil
	})
	if err != nil {
		return latency{}, err
	}
	return latency{quantile(took, 0.5), quantile(took, 0.99)}, nil
}

// use is a daemon's resource usage.
type use struct {
	memory
	idle  float64       // percent of a core
	round time.Duration // CPU time of a reconciliation after an event
}

func daemonBeside(ctx context.Context, b *bench) (rows []compared, err error) {
	p, err := b.startPair(ctx, netlab.Options{Residents: 50, Direct: true}, box.Setup{}, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	const what = "the daemon with 50 sessions"
	// The idle times may overlap.
	results, err := inParallel(ctx, b, what, contestants(p, func(ctx context.Context, d *daemon) (use, error) {
		return d.use(ctx, orQuick(b, 5*time.Second, 500*time.Millisecond))
	}))
	return rowsOf(what, results,
		figure[use]{"memory", "MB resident", func(u use) float64 { return megabytes(u.rss) }, lower},
		figure[use]{"memory of its own", "MB", func(u use) float64 { return megabytes(u.anonymous) }, lower},
		figure[use]{"idle", "% of a core", func(u use) float64 { return u.idle }, lower},
		figure[use]{"a round with an unchanged plan", "ms of CPU", func(u use) float64 { return milliseconds(u.round) }, lower},
	), err
}

func (u use) String() string {
	return fmt.Sprintf("%v, idle %.2f %%, %.2f ms of CPU a round", u.memory, u.idle, milliseconds(u.round))
}

// use lets the daemon idle. Then it wakes it by events that are far enough apart for one reconciliation each.
func (d *daemon) use(ctx context.Context, idle time.Duration) (u use, err error) {
	pid := d.Proc.Pid()
	spent := func(f func() error) (time.Duration, error) {
		before, err := cpuTime(pid)
		if err != nil {
			return 0, err
		}
		if err := f(); err != nil {
			return 0, err
		}
		after, err := cpuTime(pid)
		return after - before, err
	}
	start := time.Now()
	busy, err := spent(func() error { return sleep(ctx, idle) })
	if err != nil {
		return u, err
	}
	u.idle = 100 * float64(busy) / float64(time.Since(start))
	link, err := d.Box.Netlink().LinkByName("eth0")
	if err != nil {
		return u, err
	}
	const wakes, apart = 20, 100 * time.Millisecond
	busy, err = spent(func() error {
		for k := range wakes {
			if err := d.Box.Netlink().LinkSetAlias(link, fmt.Sprint("fibre ", k)); err != nil {
				return err
			}
			if err := sleep(ctx, apart); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return u, err
	}
	u.round = busy / wakes
	u.memory, err = memoryOf(pid)
	return u, err
}

func failoverBeside(ctx context.Context, b *bench) (rows []compared, err error) {
	p, err := b.startPair(ctx, netlab.Options{Residents: 2, Uplinks: 3}, box.Setup{More: threeLines}, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	going := map[*daemon]*connector{}
	for _, d := range p {
		if err := servePage(d.Internet.Host); err != nil {
			return nil, err
		}
		going[d] = startCalls(ctx, 25*time.Millisecond, d.Residents...)
		defer going[d].stop()
	}
	for _, f := range failures {
		if !f.typical {
			continue
		}
		results, err := inParallel(ctx, b, "no answer after "+f.what, contestants(p, func(ctx context.Context, d *daemon) (time.Duration, error) {
			return d.outage(ctx, going[d], f)
		}))
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowsOf("no answer to new connections when a line is lost: "+f.what, results,
			figure[time.Duration]{"", "s", time.Duration.Seconds, lower})...)
	}
	return rows, nil
}

func fairnessBeside(ctx context.Context, b *bench) (rows []compared, err error) {
	lends := fmt.Sprintf("download = %q\nupload = %q\ncap = \"0\"", lent, lent)
	p, err := b.startPair(ctx, contendedOptions(competitors, 25e6), box.Setup{Limits: unlimited.Limits, Donation: lends}, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, reverse := range []bool{true, false} {
		what := fmt.Sprintf("eight residents, one with %d streams, %s", greedy, direction(reverse))
		results, err := inParallel(ctx, b, what, contestants(p, func(ctx context.Context, d *daemon) (fairnessResult, error) {
			return contended{streams: greedy, scene: d.Scene}.run(ctx, orQuick(b, 500, 200), reverse)
		}))
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowsOf(what, results,
			figure[fairnessResult]{"Jain's index", "", func(s fairnessResult) float64 { return s.jain }, higher},
			figure[fairnessResult]{"all together", "Mbit/s", func(s fairnessResult) float64 { return s.total / 1e6 }, higher},
			figure[fairnessResult]{"another's ping, median", "ms", func(s fairnessResult) float64 { return milliseconds(s.idle50 + s.added50) }, lower},
			figure[fairnessResult]{"another's ping, p99", "ms", func(s fairnessResult) float64 { return milliseconds(s.idle99 + s.added99) }, lower})...)
	}
	return rows, nil
}
