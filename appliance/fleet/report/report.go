// Package report is what a box tells its fleet about a day. It owns the format, and the store of the days that no hub has yet.
//
// A report is a type of its own rather than a Status with some fields left out: a Status names lenders, networks and the person who
// paused, and gets new fields over time. In a report each text is one of a closed set or a version, a donation is a number, and a
// count of people below five is only "<5". So a report says nothing about a single resident or lender, whatever is written in a box's
// configuration.
//
//	Status ──▶ Of ──▶ Report ──▶ Encode ──▶ a file of the day ──▶ sent again and again
//	                                              │
//	                     removed once the hub shows the same bytes
package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/state"
)

// Form is the version of a report's format.
const Form = 1

// Report is what a box tells about a day. The same values always give the same text.
type Report struct {
	Form      int        `json:"form"`
	Day       Day        `json:"day"`
	Release   Version    `json:"release,omitempty"`
	Kernel    Version    `json:"kernel,omitempty"`
	Fell      *Fell      `json:"fell,omitempty"`      // the box rolled back from another release, which is still in its other slot
	Languages []Language `json:"languages,omitempty"` // that residents may choose, in order; absent from boxes of earlier releases
	State     Word       `json:"state"`               // at the time of writing
	Sessions  Count      `json:"sessions"`            // that began on that day
	Slow      Count      `json:"slow"`                // running ones that have used their data
	Refused   Count      `json:"refused"`             // devices that asked and did not get internet access
	Donations []Donation `json:"donations"`
	Faults    []Fault    `json:"faults"` // sorted by code, without duplicates
}

// Fell is a release that failed its trial, so that the box rolled back.
type Fell struct {
	Version Version `json:"version,omitempty"` // "" if it is unknown
	Why     Word    `json:"why"`               // one of FellWhy
}

// Language is a language of the residents' pages.
type Language struct {
	Code     Word `json:"code"`               // one of LanguageCodes
	Reviewed bool `json:"reviewed,omitempty"` // a speaker has reviewed it
}

// Donation is a donation without its name. Sizes are bytes on the uplink.
type Donation struct {
	Index int    `json:"n"`    // from 1, in the configuration's order
	Kind  Word   `json:"kind"` // of the uplink
	Bytes uint64 `json:"day"`  // on that day
	Used  uint64 `json:"used"` // in the period
	Cap   uint64 `json:"cap"`  // 0 if there is none
	Left  uint64 `json:"left"` // of the cap, for residents
	State Word   `json:"state"`
}

// Fault is a kind of problem, without its arguments.
type Fault struct {
	Code  Word `json:"code"`
	Error bool `json:"error,omitempty"` // the hotspot or a donation does not work
}

// Word is a word of a closed set.
type Word string

// Unknown is the Word for anything that is not in the set.
const Unknown Word = "other"

// Sets of words. Kinds are of uplinks. The first of DonationStates that applies counts.
var (
	Kinds          = []Word{"cable", "wifi", "phone", Unknown}
	DonationStates = []Word{"ended", "paused", "closed", "spent", "down", "fails", "used", "essential", "ready"}
	LanguageCodes  = []Word{"ar", "en", "es", "fr", "pt", "uk"}
)

// FellWhy holds the reasons why a release failed its trial.
var FellWhy = func() (all []Word) {
	for _, r := range state.TrialReasons {
		all = append(all, Word(r))
	}
	return all
}()

// Day is a calendar day in the box's zone.
type Day = protocol.Day

// Version is a version number.
type Version string

var (
	released = regexp.MustCompile(`^v(\d{1,5}\.\d{1,5}\.\d{1,5}(-[0-9]{1,3}\.?[0-9]{14}-[0-9a-f]{12}|-0\.[0-9]{14}-[0-9a-f]{12}|-rc\.?[0-9]{1,3})?)(\+dirty)?$`)
	kernel   = regexp.MustCompile(`^(\d{1,2}\.\d{1,3}\.\d{1,3})([-+~].*)?$`)
)

// Release returns the version of a release, "" for other text.
func Release(text string) Version {
	if m := released.FindStringSubmatch(text); m != nil {
		return Version(m[1])
	}
	return ""
}

// Kernel returns the version of a kernel release without its builder's suffix, "" for other text.
func Kernel(text string) Version {
	if m := kernel.FindStringSubmatch(text); m != nil {
		return Version(m[1])
	}
	return ""
}

// Count is a number of people or of their actions. Below five, and at zero, the exact number is not reported.
type Count uint64

// Few is the smallest count that is reported exactly.
const Few = 5

// few is the text of such a count.
const few = `"<5"`

// MarshalJSON returns the number, or "<5".
func (c Count) MarshalJSON() ([]byte, error) {
	if c < Few {
		return []byte(few), nil
	}
	return json.Marshal(uint64(c))
}

// UnmarshalJSON reads the result of MarshalJSON; "<5" is 0.
func (c *Count) UnmarshalJSON(text []byte) error {
	if string(text) == few {
		*c = 0
		return nil
	}
	var n uint64
	if err := json.Unmarshal(text, &n); err != nil {
		return err
	}
	if n < Few {
		return fmt.Errorf("a count of %d is told", n)
	}
	*c = Count(n)
	return nil
}

// Sums holds what a Status does not have about the day.
type Sums struct {
	Sessions  uint64 // that began
	Refused   uint64 // devices
	Languages []Language
}

// Of returns the report of a day from the box's status. release is this program's version.
func Of(day Day, release string, s state.Status, sums Sums) Report {
	r := Report{
		Form: Form, Day: day, Release: Release(release), Kernel: Kernel(s.System.Kernel), State: oneOf(Word(s.State), states),
		Sessions: Count(sums.Sessions), Slow: Count(max(0, s.Residents.Slow)), Refused: Count(sums.Refused),
		Donations: []Donation{}, Faults: []Fault{},
	}
	for i, d := range s.Donations {
		x := Donation{Index: i + 1, Kind: kindOf(d), Used: d.Used, Cap: d.Cap, Left: d.Left, State: stateOf(d)}
		for _, sum := range d.Days {
			if Day(sum.Date.Format(time.DateOnly)) == day {
				x.Bytes = sum.Bytes
			}
		}
		r.Donations = append(r.Donations, x)
	}
	for _, p := range s.Problems {
		f := Fault{oneOf(Word(p.Code), codes), p.Severity() == state.Error}
		if !slices.Contains(r.Faults, f) {
			r.Faults = append(r.Faults, f)
		}
	}
	r.Fell = fellOf(s.Updates)
	for _, l := range sums.Languages {
		if l.Code = oneOf(l.Code, LanguageCodes); l.Code != Unknown && !slices.ContainsFunc(r.Languages, func(x Language) bool { return x.Code == l.Code }) {
			r.Languages = append(r.Languages, l)
		}
	}
	slices.SortFunc(r.Languages, func(a, b Language) int { return cmp.Compare(a.Code, b.Code) })
	slices.SortFunc(r.Faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), compareBool(a.Error, b.Error))
	})
	return r
}

// fellOf returns the release that the box rolled back from, nil if it did not.
func fellOf(u *state.Updates) *Fell {
	if u == nil || u.FellBack == "" {
		return nil
	}
	return &Fell{Version: Release("v" + u.FellBack), Why: oneOf(Word(u.FellBackCode), FellWhy)}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// oneOf returns w if it is in the set, Unknown otherwise.
func oneOf(w Word, set []Word) Word {
	if slices.Contains(set, w) {
		return w
	}
	return Unknown
}

// words returns a closed set of texts as words.
func words[T ~string](of []T) (all []Word) {
	for _, w := range of {
		all = append(all, Word(w))
	}
	return all
}

var (
	states = words(state.States)
	codes  = words(state.Codes)
)

// kindOf returns the kind of a donation's uplink.
func kindOf(d state.Donation) Word {
	switch {
	case d.Interface == "usb":
		return "phone"
	case d.Signal != 0 || strings.HasPrefix(d.Interface, "wl"):
		return "wifi"
	case strings.HasPrefix(d.Interface, "e"): // eth0, enp3s0, enx…
		return "cable"
	}
	return Unknown
}

// stateOf returns the state of a donation.
func stateOf(d state.Donation) Word {
	switch {
	case d.Ended:
		return "ended"
	case d.PausedBy != "":
		return "paused"
	case !d.Open:
		return "closed"
	case d.Essential:
		return "essential"
	case d.Spent:
		return "spent"
	case !d.Up:
		return "down"
	case !d.Works:
		return "fails"
	case d.Chosen:
		return "used"
	}
	return "ready"
}

// Encode returns a report's text.
func (r Report) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // "<5" stays as it is
	err := e.Encode(r)
	text := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if err == nil && len(text) > protocol.MaxReport {
		err = fmt.Errorf("a report of %d bytes; it has at most %d", len(text), protocol.MaxReport)
	}
	if err != nil {
		return nil, fmt.Errorf("write the report of %s: %w", r.Day, err)
	}
	return text, nil
}

// Parse reads the text of a report. It refuses what Encode does not write: a hub reads what boxes send, and a box may lie.
func Parse(text []byte) (Report, error) {
	if len(text) > protocol.MaxReport {
		return Report{}, fmt.Errorf("%d bytes long; a report has at most %d", len(text), protocol.MaxReport)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return Report{}, fmt.Errorf("no report: %w", err)
	}
	if err := r.check(); err != nil {
		return Report{}, fmt.Errorf("no report: %w", err)
	}
	if again, err := r.Encode(); err != nil || string(again) != string(text) {
		return Report{}, errors.New("no report: it is not written as one")
	}
	return r, nil
}

func (r Report) check() error {
	for _, v := range []struct {
		what string
		ok   bool
	}{
		{"form", r.Form == Form},
		{"day", r.Day.Valid()},
		{"release", r.Release == "" || Release("v"+string(r.Release)) == r.Release},
		{"kernel", r.Kernel == "" || Kernel(string(r.Kernel)) == r.Kernel},
		{"state", oneOf(r.State, states) == r.State},
		{"donations", !slices.ContainsFunc(r.Donations, func(d Donation) bool {
			return !slices.Contains(Kinds, d.Kind) || !slices.Contains(DonationStates, d.State)
		})},
		{"fell", r.Fell == nil || oneOf(r.Fell.Why, FellWhy) == r.Fell.Why && (r.Fell.Version == "" || Release("v"+string(r.Fell.Version)) == r.Fell.Version)},
		{"languages", !slices.ContainsFunc(r.Languages, func(l Language) bool { return !slices.Contains(LanguageCodes, l.Code) }) &&
			slices.IsSortedFunc(r.Languages, func(a, b Language) int { return cmp.Or(cmp.Compare(a.Code, b.Code), -1) })}, // without duplicates
		{"faults", !slices.ContainsFunc(r.Faults, func(f Fault) bool { return oneOf(f.Code, codes) != f.Code })},
	} {
		if !v.ok {
			return fmt.Errorf("its %s is none", v.what)
		}
	}
	for i, d := range r.Donations {
		if d.Index != i+1 {
			return errors.New("its donations are not numbered in order")
		}
	}
	return nil
}
