package survey

import (
	"slices"
	"testing"
	"time"

	"passerelle/appliance/fleet/report"
	"passerelle/cmd/hub/authority"
	"passerelle/cmd/hub/registry"
)

const box = "aaaaaaaaaa"

var today = time.Date(2027, 3, 29, 9, 0, 0, 0, time.UTC) // a Monday

// fleet returns a fleet of one box, which has reported the days before today for which tell returns true, the oldest first. tell fills in
// the report of the day that was ago days ago.
func fleet(t *testing.T, days int, tell func(ago int, r *report.Report) bool) (*Fleet, Box) {
	t.Helper()
	f := &Fleet{Now: func() time.Time { return today }}
	f.Members(authority.Members{Associations: map[string]authority.Association{"lilas": {Region: "nord"}}})
	f.Box(registry.Box{Name: box, Association: "lilas", Stage: registry.Member, Confirmed: today.AddDate(0, 0, -days)})
	for ago := days; ago > 0; ago-- {
		at := today.AddDate(0, 0, -ago)
		r := report.Report{Form: report.Form, Day: report.Day(at.Format(time.DateOnly)), Release: "1.2.0", State: "sharing",
			Sessions: 12, Donations: []report.Donation{{Index: 1, Kind: "cable", Bytes: 1 << 30, Used: 1, Cap: 10 << 30, Left: 1, State: "ready"}}, Faults: []report.Fault{}}
		if !tell(ago, &r) {
			continue
		}
		say(t, f, r, at.Add(20*time.Hour))
	}
	boxes := f.Boxes()
	if len(boxes) != 1 {
		t.Fatalf("%d boxes", len(boxes))
	}
	return f, boxes[0]
}

func say(t *testing.T, f *Fleet, r report.Report, at time.Time) {
	t.Helper()
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	f.Report("lilas", box, r.Day.Report(), text, at)
}

func all(int, *report.Report) bool { return true }

func kinds(needs []Need) (k []Kind) {
	for _, n := range needs {
		k = append(k, n.Kind)
	}
	return k
}

func TestNeeds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		days    int
		tell    func(ago int, r *report.Report) bool
		current report.Version
		want    []Kind
	}{
		{"all is well", 30, all, "1.2.0", nil},
		{"off at weekends, on a Monday", 30, func(ago int, r *report.Report) bool {
			d := today.AddDate(0, 0, -ago).Weekday()
			return d != time.Saturday && d != time.Sunday
		}, "1.2.0", nil},
		{"silent for two days, who never was", 30, func(ago int, _ *report.Report) bool { return ago > 3 }, "1.2.0", []Kind{Silent}},
		{"a new box that said nothing for two days", 2, func(int, *report.Report) bool { return false }, "", nil},
		{"a new box that said nothing for four days", 4, func(int, *report.Report) bool { return false }, "", []Kind{Silent}},
		{"a fault since three days, and a warning", 30, func(ago int, r *report.Report) bool {
			if ago <= 3 {
				r.Faults = []report.Fault{{Code: "board-warm"}, {Code: "kernel-fails", Error: true}}
			}
			return true
		}, "1.2.0", []Kind{Fault}},
		{"behind", 30, all, "1.10.0", []Kind{Behind}},
		{"ahead", 30, all, "1.2.0-rc.1", nil},
		{"fell back", 30, func(ago int, r *report.Report) bool {
			if ago == 2 {
				r.Release = "1.3.0"
			}
			return true
		}, "1.2.0", []Kind{Fell}},
		{"went on after it fell back", 30, func(ago int, r *report.Report) bool {
			if ago == 3 || ago == 1 {
				r.Release = "1.3.0"
			}
			return true
		}, "1.2.0", nil},
		{"a cap spent after ten days", 30, func(ago int, r *report.Report) bool {
			d := &r.Donations[0]
			d.Used = uint64(100 - ago) // since the previous period
			if ago <= 12 {
				d.Used = uint64(13 - ago)
			}
			if ago <= 3 {
				d.State, d.Left = "spent", 0
			}
			return true
		}, "1.2.0", []Kind{Spent}},
		{"a cap spent in its last days", 40, func(ago int, r *report.Report) bool {
			d := &r.Donations[0]
			d.Used = uint64(100 - ago)
			if ago <= 28 {
				d.Used = uint64(29 - ago)
			}
			if ago <= 2 {
				d.State, d.Left = "spent", 0
			}
			return true
		}, "1.2.0", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, b := fleet(t, test.days, test.tell)
			needs := b.Needs(test.current, today)
			if !slices.Equal(kinds(needs), test.want) {
				t.Fatalf("it needs %+v, want %q", needs, test.want)
			}
			for _, n := range needs {
				switch n.Kind {
				case Spent:
					if n.Days != 10 || n.Donation != 1 {
						t.Errorf("%+v", n)
					}
				case Fault:
					if n.Code != "kernel-fails" || !n.Since.Equal(time.Date(2027, 3, 26, 0, 0, 0, 0, time.UTC)) {
						t.Errorf("%+v", n)
					}
				case Fell:
					if n.Version != "1.3.0" {
						t.Errorf("%+v", n)
					}
				}
			}
		})
	}
}

// TestFell: that a box went back counts from the day on which it reports it, even for a version that it never reported to run. It is shown
// for two weeks, and no longer once the box has moved on.
func TestFell(t *testing.T) {
	t.Parallel()
	fell := &report.Fell{Version: "1.3.0", Why: "pages"}
	on := func(first, last int) func(int, *report.Report) bool {
		return func(ago int, r *report.Report) bool {
			if ago <= first && ago >= last {
				r.Fell = fell
			}
			return true
		}
	}
	for name, x := range map[string]struct {
		first, last int
		want        []Need
	}{
		"yesterday":         {1, 1, []Need{{Kind: Fell, Since: today.Truncate(24*time.Hour).AddDate(0, 0, -1), Version: "1.3.0", Code: "pages"}}},
		"for a week":        {7, 1, []Need{{Kind: Fell, Since: today.Truncate(24*time.Hour).AddDate(0, 0, -7), Version: "1.3.0", Code: "pages"}}},
		"for three weeks":   {21, 1, nil},
		"until a week ago":  {9, 7, nil},
		"before it told it": {0, 0, nil},
	} {
		f, b := fleet(t, 30, on(x.first, x.last))
		if got := b.Needs("", today); !slices.Equal(got, x.want) {
			t.Errorf("%s: it needs %+v, want %+v", name, got, x.want)
		}
		halt := slices.ContainsFunc(Releases(f.Boxes(), today), func(r Release) bool { return r.Version == "1.3.0" && r.Halt() })
		if halt != (x.want != nil) {
			t.Errorf("%s: the release is to be halted: %t", name, halt)
		}
	}
	// Until the box has read its slots, it knows that it went back, but not from which version.
	_, b := fleet(t, 3, func(ago int, r *report.Report) bool {
		r.Fell = fell
		if ago == 3 {
			r.Fell = &report.Fell{Why: report.Unknown}
		}
		return true
	})
	if got := b.Needs("", today); len(got) != 1 || got[0].Since != today.Truncate(24*time.Hour).AddDate(0, 0, -3) {
		t.Errorf("it needs %+v", got)
	}
}

// TestFellBack: the channel receives when a box reports that it went back, and again only when that part of its report changes.
func TestFellBack(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 3, all)
	news := f.FellBack()
	told := func() bool {
		select {
		case <-news:
			return true
		default:
			return false
		}
	}
	r := report.Report{Form: report.Form, Day: report.Day(today.Format(time.DateOnly)), Release: "1.2.0", State: "sharing", Faults: []report.Fault{}}
	for _, x := range []struct {
		what string
		fell *report.Fell
		want bool
	}{
		{"nothing", nil, false},
		{"it went back", &report.Fell{Version: "1.3.0", Why: "pages"}, true},
		{"the same", &report.Fell{Version: "1.3.0", Why: "pages"}, false},
		{"from another one", &report.Fell{Version: "1.4.0", Why: "pages"}, true},
		{"another took its place", nil, false},
	} {
		r.Fell = x.fell
		say(t, f, r, today)
		if got := told(); got != x.want {
			t.Errorf("%s: told: %t", x.what, got)
		}
	}
}

// TestUnreviewed: unreviewed languages are listed for the whole fleet, those of the most boxes first, and no box needs attention because of
// them.
func TestUnreviewed(t *testing.T) {
	t.Parallel()
	f, b := fleet(t, 3, func(_ int, r *report.Report) bool {
		r.Languages = []report.Language{{Code: "ar"}, {Code: "fr", Reviewed: true}, {Code: "uk"}}
		return true
	})
	if needs := b.Needs("", today); needs != nil || !slices.Equal(b.Unreviewed(), []report.Word{"ar", "uk"}) {
		t.Errorf("it needs %+v, and has to be reviewed %q", needs, b.Unreviewed())
	}
	older := b
	older.Days = nil
	other := b
	other.Days = []Day{{Report: report.Report{Languages: []report.Language{{Code: "uk"}}}}}
	if got, want := Unreviewed(append(f.Boxes(), older, other)), []Tongue{{"uk", 2}, {"ar", 1}}; !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestCurrent: a version is current two weeks after the first box ran it.
func TestCurrent(t *testing.T) {
	t.Parallel()
	since := func(from int) func(int, *report.Report) bool {
		return func(ago int, r *report.Report) bool {
			if ago <= from {
				r.Release = "1.10.0"
			}
			return true
		}
	}
	_, young := fleet(t, 30, since(13))
	_, old := fleet(t, 30, since(15))
	if v := Current([]Box{young}, today); v != "1.2.0" {
		t.Errorf("after 13 days the fleet should run %q", v)
	}
	if v := Current([]Box{young, old}, today); v != "1.10.0" {
		t.Errorf("after 15 days the fleet should run %q", v)
	}
	if v := Current(nil, today); v != "" {
		t.Errorf("no box should run %q", v)
	}
}

// TestLies: impossible reports are ignored, and sums do not overflow.
func TestLies(t *testing.T) {
	t.Parallel()
	f, before := fleet(t, 3, all)
	r := before.Days[0].Report
	r.Donations = []report.Donation{{Index: 1, Kind: "cable", Bytes: 1<<64 - 1, State: "ready"}, {Index: 2, Kind: "cable", Bytes: 7, State: "ready"}}
	r.Sessions = 1 << 60
	say(t, f, r, today)
	if m := Months(f.Boxes()); len(m) != 1 || m[0].Bytes != 2<<30+7 || m[0].Sessions != 24+maxSessions || m[0].Days != 3 || m[0].Boxes != 1 {
		t.Errorf("the sums are %+v", m)
	}
	for _, day := range []string{"2031-01-01", "2020-01-01"} {
		r.Day = report.Day(day)
		say(t, f, r, today)
	}
	text, _ := before.Days[0].Encode()
	f.Report("lilas", box, "day.0101", text, today)                      // another day's name
	f.Report("lilas", box, "day.0328", []byte(`{"form":1}`), today)      // no report
	f.Report("roses", box, r.Day.Report(), text, today.AddDate(1, 0, 0)) // another association's
	b := f.Boxes()[0]
	if len(b.Days) != 3 || len(b.Totals) != 3 || b.Seen.After(today) || b.Association != "lilas" {
		t.Errorf("%d days, %d totals, seen %s, of %s", len(b.Days), len(b.Totals), b.Seen, b.Association)
	}
	if n := b.Newest(); n == nil || n.Day != "2027-03-28" {
		t.Errorf("the newest is %+v", n)
	}

	// A box whose record the hubs lost is known by its reports.
	f.Report("lilas", "bbbbbbbbbb", before.Days[0].Report.Day.Report(), text, today)
	if all := f.Boxes(); len(all) != 2 || all[1].Stage != registry.Member || all[1].Region != "nord" {
		t.Errorf("%+v", all)
	}
}

// TestBounded: at most a year of sums and some weeks of reports are kept of a box.
func TestBounded(t *testing.T) {
	t.Parallel()
	_, b := fleet(t, 364, all)
	if len(b.Days) != recent || len(b.Totals) != 364 || b.Days[recent-1].Report.Day != "2027-03-28" {
		t.Errorf("%d days until %s, %d totals", len(b.Days), b.Days[len(b.Days)-1].Report.Day, len(b.Totals))
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	in := []report.Version{"0.9.9", "1.2.0-0.20270101000000-aaaaaaaaaaaa", "1.2.0-rc.2", "1.2.0-rc.10", "1.2.0", "1.10.0", "2.0.0"}
	if !slices.IsSortedFunc(in, compareVersions) {
		t.Error("versions are not in their order")
	}
	for i := 1; i < len(in); i++ {
		if compareVersions(in[i-1], in[i]) >= 0 {
			t.Errorf("%s is not before %s", in[i-1], in[i])
		}
	}
}

// TestReleases: a version should be halted when boxes go back from it, but not for one box of many.
func TestReleases(t *testing.T) {
	t.Parallel()
	back := func(ago int, r *report.Report) bool {
		if ago == 2 {
			r.Release = "1.3.0"
		}
		return true
	}
	onward := func(ago int, r *report.Report) bool {
		if ago <= 2 {
			r.Release = "1.3.0"
			if ago == 1 {
				r.Faults = []report.Fault{{Code: "kernel-fails", Error: true}}
			}
		}
		return true
	}
	_, fell := fleet(t, 10, back)
	_, went := fleet(t, 10, onward)
	_, silent := fleet(t, 30, func(ago int, _ *report.Report) bool { return ago > 5 })
	revoked := went
	revoked.Stage = registry.Revoked
	boxes := []Box{fell, went, silent, revoked}
	want := []Release{{"1.3.0", 1, 1, 1}, {"1.2.0", 2, 1, 0}}
	if got := Releases(boxes, today); !slices.Equal(got, want) || !got[0].Halt() || got[1].Halt() {
		t.Errorf("%+v, want %+v", got, want)
	}
	for range 48 {
		boxes = append(boxes, went)
	}
	if r := Releases(boxes, today)[0]; r.Tried() != 50 || r.Halt() {
		t.Errorf("one of fifty went back: %+v", r)
	}
	boxes = append(boxes, fell)
	if r := Releases(boxes, today)[0]; r.Tried() != 51 || !r.Halt() {
		t.Errorf("two of %d went back: %+v", r.Tried(), r)
	}
}
