package survey

import (
	"cmp"
	"slices"
	"time"

	"passerelle/appliance/fleet/report"
	"passerelle/cmd/hub/registry"
)

// Kind is why something needs somebody's attention.
type Kind string

// The kinds, the most urgent first.
const (
	Fault   Kind = "fault"   // the hotspot or a donation does not work
	Silent  Kind = "silent"  // the box was not seen for longer than is usual for it
	Fell    Kind = "fell"    // the box went back to an older version
	Spent   Kind = "spent"   // a donation's cap was spent early
	Behind  Kind = "behind"  // the box runs an older version than the fleet
	Waiting Kind = "waiting" // a person has to compare the words
)

// Kinds lists all of them.
var Kinds = []Kind{Fault, Silent, Fell, Spent, Behind, Waiting}

// Need is why a box needs attention.
type Need struct {
	Kind     Kind
	Since    time.Time      // zero if unknown
	Code     report.Word    // of a Fault; of Fell: one of report.FellWhy, "" if the box did not say why
	Donation int            // of Spent, from 1
	Days     int            // of Spent: since the period began
	Version  report.Version // of Behind: the one that it should run; of Fell: the one that it went back from, "" if it does not know
}

const (
	// newBox is how long a box may be silent if its habit is not known yet.
	newBox = 3 * 24 * time.Hour
	// spare is the margin that is added to a box's longest silence.
	spare = 24 * time.Hour
	// early is how many days a cap should last at least.
	early = 24
	// settled is how long a version must have been in the fleet before boxes with an older one count as behind.
	settled = 14 * 24 * time.Hour
	// fellFor is how long it is shown that a box went back.
	fellFor = 14 * 24 * time.Hour
)

// Patience returns how long a box may be silent: its longest silence within the last weeks, plus a day. So a box that is off at weekends
// is not missed on a Sunday.
func (b Box) Patience() time.Duration {
	var times []time.Time
	for _, d := range b.Days {
		times = append(times, d.At)
	}
	if !b.stray.IsZero() {
		times = append(times, b.stray)
	}
	slices.SortFunc(times, time.Time.Compare)
	longest := time.Duration(0)
	for i := 1; i < len(times); i++ {
		longest = max(longest, times[i].Sub(times[i-1]))
	}
	if len(times) < 3 {
		return newBox
	}
	return longest + spare
}

// Current returns the version that a fleet should run: the newest that some box ran at least two weeks ago. It is "" if there is none.
func Current(boxes []Box, now time.Time) (current report.Version) {
	began := map[report.Version]report.Day{}
	for _, b := range boxes {
		for _, d := range b.Days {
			if first, ok := began[d.Release]; d.Release != "" && (!ok || d.Report.Day < first) {
				began[d.Release] = d.Report.Day
			}
		}
	}
	before := report.Day(now.Add(-settled).Format(time.DateOnly))
	for v, day := range began {
		if day <= before && (current == "" || compareVersions(v, current) > 0) {
			current = v
		}
	}
	return current
}

// Needs returns why a box needs attention, the most urgent first. current is the version that it should run.
func (b Box) Needs(current report.Version, now time.Time) (needs []Need) {
	switch b.Stage {
	case registry.Waiting:
		return []Need{{Kind: Waiting, Since: b.Asked}}
	case registry.Revoked:
		return nil
	}
	newest := b.Newest()
	if newest != nil {
		for _, f := range newest.Faults {
			if f.Error {
				needs = append(needs, Need{Kind: Fault, Code: f.Code, Since: b.faultSince(f.Code)})
			}
		}
	}
	since := b.Seen
	if since.IsZero() {
		since = b.Confirmed
	}
	if now.Sub(since) > b.Patience() {
		needs = append(needs, Need{Kind: Silent, Since: since})
	}
	if n, ok := b.fell(now); ok {
		needs = append(needs, n)
	}
	needs = append(needs, b.spent()...)
	if v := b.Release(); v != "" && current != "" && compareVersions(v, current) < 0 {
		needs = append(needs, Need{Kind: Behind, Version: current})
	}
	return needs
}

// faultSince returns the first day since which each report has the fault.
func (b Box) faultSince(code report.Word) (since time.Time) {
	for i := len(b.Days) - 1; i >= 0; i-- {
		if !slices.ContainsFunc(b.Days[i].Faults, func(f report.Fault) bool { return f.Code == code && f.Error }) {
			break
		}
		since = date(b.Days[i].Report.Day)
	}
	return since
}

func date(d report.Day) time.Time {
	t, err := time.Parse(time.DateOnly, string(d))
	if err != nil {
		return time.Time{}
	}
	return t
}

// fell returns the release that the box reports that it went back from. Boxes with older software do not report that; for them their
// versions show it.
func (b Box) fell(now time.Time) (n Need, ok bool) {
	newest := b.Newest()
	if newest == nil || newest.Fell == nil {
		return b.older(now)
	}
	n = Need{Kind: Fell, Version: newest.Fell.Version, Code: newest.Fell.Why}
	for i := len(b.Days) - 1; i >= 0; i-- { // finds since when; the version may be in later reports only
		if f := b.Days[i].Fell; f == nil || f.Version != n.Version && f.Version != "" {
			break
		}
		n.Since = date(b.Days[i].Report.Day)
	}
	return n, now.Sub(n.Since) <= fellFor
}

// older finds the last change of the box's version within fellFor. ok is true if that was to an older version.
func (b Box) older(now time.Time) (n Need, ok bool) {
	for i := len(b.Days) - 1; i > 0; i-- {
		later, before := b.Days[i], b.Days[i-1]
		if later.Release == "" || before.Release == "" {
			continue
		}
		at := date(later.Report.Day)
		switch c := compareVersions(later.Release, before.Release); {
		case now.Sub(at) > fellFor, c > 0:
			return Need{}, false
		case c < 0:
			return Need{Kind: Fell, Since: at, Version: before.Release}, true
		}
	}
	return Need{}, false
}

// spent returns the donations whose cap is spent now and lasted less than early days. A period begins on a day on which less of the cap is
// used than on the day before. If no such day is known, the donation is not returned.
func (b Box) spent() (needs []Need) {
	newest := b.Newest()
	if newest == nil {
		return nil
	}
	for i, d := range newest.Donations {
		if d.State != "spent" || d.Cap == 0 {
			continue
		}
		spentOn, began := date(newest.Day), time.Time{}
		for j := len(b.Days) - 1; j >= 0; j-- {
			day := b.Days[j]
			if i >= len(day.Donations) {
				break
			}
			if day.Donations[i].State == "spent" {
				spentOn = date(day.Report.Day)
			}
			if j > 0 && i < len(b.Days[j-1].Donations) && day.Donations[i].Used < b.Days[j-1].Donations[i].Used {
				began = date(day.Report.Day)
				break
			}
		}
		if days := int(spentOn.Sub(began).Hours()/24) + 1; !began.IsZero() && days < early {
			needs = append(needs, Need{Kind: Spent, Donation: i + 1, Days: days, Since: spentOn})
		}
	}
	return needs
}

// Unreviewed returns the languages that residents may choose at a member's box and that no speaker has reviewed.
func (b Box) Unreviewed() (codes []report.Word) {
	if r := b.Newest(); r != nil && b.Stage == registry.Member {
		for _, l := range r.Languages {
			if !l.Reviewed {
				codes = append(codes, l.Code)
			}
		}
	}
	return codes
}

// Tongue is a language that no speaker has reviewed, and how many boxes show it.
type Tongue struct {
	Code  report.Word
	Boxes int
}

// Unreviewed returns the languages that boxes show and that no speaker has reviewed, those of the most boxes first. The federation has them
// reviewed once for all boxes, so no box needs attention because of them.
func Unreviewed(boxes []Box) (all []Tongue) {
	for _, code := range report.LanguageCodes {
		t := Tongue{Code: code}
		for _, b := range boxes {
			if slices.Contains(b.Unreviewed(), code) {
				t.Boxes++
			}
		}
		if t.Boxes > 0 {
			all = append(all, t)
		}
	}
	slices.SortStableFunc(all, func(a, b Tongue) int { return cmp.Compare(b.Boxes, a.Boxes) })
	return all
}

// Month is what boxes did in a month.
type Month struct {
	Month    string // YYYY-MM
	Boxes    int    // that reported any day of it
	Days     int    // that were reported, by all boxes
	Sessions uint64 // at least
	Bytes    uint64
}

// Months adds up the boxes' days, the newest month first.
func Months(boxes []Box) []Month {
	of := map[string]*Month{}
	for _, b := range boxes {
		last := ""
		for _, t := range b.Totals {
			name := string(t.Day[:len("2006-01")])
			m := of[name]
			if m == nil {
				m = &Month{Month: name}
				of[name] = m
			}
			if name != last {
				m.Boxes++
				last = name
			}
			m.Days++
			m.Sessions += min(t.Sessions, maxSessions)
			m.Bytes += t.Bytes
		}
	}
	all := make([]Month, 0, len(of))
	for _, m := range of {
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b Month) int { return cmp.Compare(b.Month, a.Month) })
	return all
}

// maxSessions is the most sessions that a box can have on a day: one begins each second.
const maxSessions = 86400
