// Package survey is what one hub knows of the boxes now: it keeps what the registry reports, and judges what needs somebody's attention.
// It is in memory only, and is rebuilt from the streams when the hub starts. It must not know pages, alerts or metrics, which read it, nor
// how reports arrive.
//
//	registry.Follow ──▶ Fleet ──▶ Boxes ──▶ Needs, Months
//
// A box may lie. A report of an impossible day is ignored, and a donation's bytes are not counted if no line could carry them in a day.
package survey

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"passerelle/appliance/fleet/command"
	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/fleet/report"
	"passerelle/cmd/hub/authority"
	"passerelle/cmd/hub/registry"
)

const (
	// recent is how many of a box's days are kept in full: they are enough to show its habit.
	recent = 40
	// maxDay is the most bytes that a day may have: those of a line of 10 Gbit/s.
	maxDay = 10e9 / 8 * 86400
	// future is how far a box's date may be ahead of the hub's, since the box has its own time zone.
	future = 48 * time.Hour
)

// Day is a box's report of a day, and when the hubs received it.
type Day struct {
	report.Report
	At time.Time
}

// Total has a day's sums.
type Total struct {
	Day      report.Day
	Sessions uint64 // at least: boxes do not report counts below five
	Bytes    uint64
}

// Box is a box as the hubs know it. Its slices are not changed once it is returned.
type Box struct {
	registry.Box
	Region string
	Days   []Day            // of the last weeks, the oldest first
	Totals []Total          // of a year, likewise
	Done   *command.Outcome // what became of the last command
	// Found is the box's last diagnosis, and FoundAt is when the hubs received it.
	Found   *report.Diagnosis
	FoundAt time.Time
	stray   time.Time // when it last reported something other than a day
}

// Newest returns the report of the newest day, nil if there is none.
func (b Box) Newest() *report.Report {
	if n := len(b.Days); n > 0 {
		return &b.Days[n-1].Report
	}
	return nil
}

// Release returns the version that the box runs, "" if it is unknown.
func (b Box) Release() report.Version {
	if r := b.Newest(); r != nil {
		return r.Release
	}
	return ""
}

// Called returns the name of the box's centre, or its own name.
func (b Box) Called() string { return cmp.Or(b.Centre, b.Name) }

// Fleet has all boxes. Its methods are safe for concurrent use. It implements [registry.Hears].
type Fleet struct {
	Now func() time.Time

	mu      sync.Mutex
	boxes   map[string]*Box
	regions map[string]string // of associations
	whole   bool
	fell    chan struct{} // see FellBack
}

// Whole implements [registry.Hears]: it notes that all that the hubs had has been reported.
func (f *Fleet) Whole() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.whole = true
}

// IsWhole tells whether all that the hubs had when this one began to follow has been reported. Before that, boxes seem to be missing.
func (f *Fleet) IsWhole() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.whole
}

// FellBack returns a channel that receives when a box reports for the first time that it went back from a release.
func (f *Fleet) FellBack() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fell == nil {
		f.fell = make(chan struct{}, 1)
	}
	return f.fell
}

func (f *Fleet) box(name string) *Box {
	if f.boxes == nil {
		f.boxes = map[string]*Box{}
	}
	b := f.boxes[name]
	if b == nil {
		b = &Box{Box: registry.Box{Name: name}}
		f.boxes[name] = b
	}
	return b
}

// Members implements [registry.Hears]: it keeps the associations with their regions.
func (f *Fleet) Members(m authority.Members) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.regions = map[string]string{}
	for name, a := range m.Associations {
		f.regions[name] = a.Region
	}
}

// Box implements [registry.Hears]: it keeps a box's record.
func (f *Fleet) Box(r registry.Box) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.box(r.Name)
	r.Seen = b.Seen
	if b.Association != "" && b.Association != r.Association { // the box was another association's
		*b = Box{}
		r.Seen = time.Time{}
	}
	b.Box = r
}

// Report implements [registry.Hears]: it keeps what a box reported.
func (f *Fleet) Report(association, name, what string, body []byte, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.box(name)
	if b.Stage == "" { // the hubs lost its record: see registry.Boxes
		b.Association, b.Stage = association, registry.Member
	} else if b.Association != association {
		return
	}
	if at.After(b.Seen) {
		b.Seen = at
	}
	switch what {
	case protocol.Done:
		b.stray = at
		if o, err := command.ParseOutcome(body); err == nil {
			b.Done = &o
		}
	case protocol.Diagnosis:
		b.stray = at
		if d, err := report.ParseDiagnosis(body); err == nil {
			b.Found, b.FoundAt = &d, at
		}
	default:
		r, err := report.Parse(body)
		if err == nil && string(what) == r.Day.Report() {
			before := b.lastFell()
			b.keep(Day{r, at}, f.Now())
			if now := b.lastFell(); now != nil && (before == nil || *now != *before) {
				select {
				case f.fell <- struct{}{}:
				default: // nobody has asked for the channel, or it is full
				}
			}
		}
	}
}

// lastFell returns the release that the box's newest report says that it went back from, nil if there is none.
func (b *Box) lastFell() *report.Fell {
	if r := b.Newest(); r != nil {
		return r.Fell
	}
	return nil
}

// keep keeps a day. It makes new slices, since others may be reading the old ones.
func (b *Box) keep(d Day, now time.Time) {
	t, err := time.Parse(time.DateOnly, string(d.Day))
	if err != nil || t.After(now.Add(future)) || t.Before(now.AddDate(-1, 0, 0)) {
		return
	}
	total := Total{Day: d.Day, Sessions: uint64(d.Sessions)}
	for _, x := range d.Donations {
		if x.Bytes <= maxDay-total.Bytes {
			total.Bytes += x.Bytes
		}
	}
	b.Totals = insert(b.Totals, total, func(t Total) report.Day { return t.Day }, 366)
	b.Days = insert(b.Days, d, func(d Day) report.Day { return d.Report.Day }, recent)
}

// insert returns a copy of a list that is sorted by day, with x inserted or in place of the element of its day. Only the newest most
// elements stay.
func insert[T any](list []T, x T, day func(T) report.Day, most int) []T {
	i, found := slices.BinarySearchFunc(list, day(x), func(t T, d report.Day) int { return cmp.Compare(day(t), d) })
	next := make([]T, 0, len(list)+1)
	next = append(append(next, list[:i]...), x)
	if found {
		i++
	}
	next = append(next, list[i:]...)
	return next[max(0, len(next)-most):]
}

// Boxes returns all boxes, by region, association, centre and name.
func (f *Fleet) Boxes() []Box {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Box, 0, len(f.boxes))
	for _, b := range f.boxes {
		c := *b
		c.Region = f.regions[b.Association]
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Box) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Association, b.Association), cmp.Compare(a.Centre, b.Centre), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// Associations returns the associations with their regions.
func (f *Fleet) Associations() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]string{}
	for a, r := range f.regions {
		all[a] = r
	}
	return all
}

// Words returns the words of a box that waits, as people read them.
func Words(b registry.Box) string { return strings.Join(b.Words[:], " ") }

// compareVersions compares two releases: numbers as numbers, and a pre-release, as rc.1, comes before its release (semver.org, 11).
func compareVersions(a, b report.Version) int {
	split := func(v report.Version) (numbers, before string) {
		numbers, before, _ = strings.Cut(strings.TrimSuffix(string(v), "+dirty"), "-")
		return
	}
	an, ab := split(a)
	bn, bb := split(b)
	if c := compareNumbers(an, bn); c != 0 {
		return c
	}
	switch {
	case ab == bb:
		return 0
	case ab == "":
		return 1
	case bb == "":
		return -1
	}
	return compareNumbers(ab, bb)
}

func compareNumbers(a, b string) int {
	return slices.CompareFunc(strings.FieldsFunc(a, isBreak), strings.FieldsFunc(b, isBreak), func(x, y string) int {
		digits := func(s string) bool { return strings.Trim(s, "0123456789") == "" }
		if digits(x) && digits(y) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			return cmp.Or(cmp.Compare(len(x), len(y)), bytes.Compare([]byte(x), []byte(y)))
		}
		return cmp.Compare(x, y)
	})
}

func isBreak(r rune) bool { return r == '.' || r == '-' }
