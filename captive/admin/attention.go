package admin

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/admin/refusals"
	"passerelle/captive/web"
)

// Disk describes the disk that holds the box's state, in bytes. Free is what the box may still write.
type Disk struct{ Free, Total uint64 }

// List is a list of places. Updated is when it was made; zero if unknown.
type List struct {
	Name    string
	Updated time.Time
}

// remark is the severity of a finding that can wait. It is lower than the severities of problems.
const remark state.Severity = "remark"

// Thresholds of findings.
const (
	capLow     = 10            // percent of a cap
	paceSpare  = 20            // a pace that exceeds the cap by less than 1/20 of what is left is not reported
	flapStops  = 4             // failures of an uplink within a day
	diskLow    = 1_000_000_000 // bytes; a tenth of the disk if that is less
	listMonths = 6             // age of a list of places, in months
)

// finding is something that needs a technician's attention.
type finding struct {
	Code     string // its words are attention.CODE
	Severity state.Severity
	Lines    []string
	Detail   string // in English, from the box; "" for none
	To       string // the page that helps; "" for none
	Clock    bool   // confirming the clock resolves it
}

// Pictogram returns the name of the finding's pictogram.
func (f finding) Pictogram() string {
	switch {
	case f.Clock:
		return "clock"
	case f.Severity == remark:
		return "eye"
	}
	return "fault"
}

// facts is the input that findings are made from.
type facts struct {
	now      time.Time // in the box's zone
	box      state.Status
	hours    []hour
	refusals []refusals.Day
	disk     Disk // zero if unknown
	lists    []List
	unknowns []string // offered languages that no speaker has reviewed
}

// helpful maps a problem's code to the page that helps with it. A problem without a page must be fixed at the box itself.
var helpful = map[state.Code]string{
	state.ConfigRefused:  textPath,
	state.HotspotRadio:   settingsPath + "/hotspot",
	state.NetworkOverlap: settingsPath + "/hotspot",
	state.StickAbsent:    backupPath,
	state.StickDamaged:   backupPath,
	state.StickFails:     backupPath,
	state.StickFull:      backupPath,
	state.StickReadOnly:  backupPath,
}

// findings returns what needs attention: errors first, remarks last.
func (f facts) findings(w *web.Words) (all []finding) {
	add := func(code string, severity state.Severity, to, detail string, pairs ...string) {
		all = append(all, finding{
			Code: code, Severity: severity, To: to, Detail: detail, Lines: w.Lines("attention."+code, pairs...), Clock: code == "clock-unknown",
		})
	}
	for _, p := range f.box.Problems {
		var pairs []string
		detail := "" // what the words do not say
		for name, value := range p.Args {
			if day, err := time.Parse(time.DateOnly, value); err == nil && name == "until" {
				value = w.Day(day) + " " + strconv.Itoa(day.Year())
			}
			pairs = append(pairs, name, value)
			if name == "error" || name == "line" {
				detail = p.String()
			}
		}
		code := string(p.Code)
		if _, err := w.Message("attention." + code); err != nil { // a code of another release
			code = string(state.Failed)
		}
		add(code, p.Severity(), helpful[p.Code], detail, pairs...)
	}
	if !f.box.Clock.Trusted {
		add("clock-unknown", state.Warning, "", "", "day", w.Day(f.now)+" "+strconv.Itoa(f.now.Year()), "at", w.At(f.now))
	}
	for i, d := range f.box.Donations {
		f.ofDonation(w, d, donationPath+"/"+strconv.Itoa(i+1), add)
	}
	if wifi := f.box.Hotspot.WiFi; wifi != nil && wifi.AtCapacity {
		add("radio-full", state.Warning, settingsPath+"/hotspot", "", "number", w.Count("device", wifi.Stations))
	}
	if f.disk.Total > 0 && f.disk.Free < min(f.disk.Total/10, diskLow) {
		add("disk-full", state.Warning, "", "", "size", w.Size(f.disk.Free))
	}
	if slots := f.box.Slots; slots != nil {
		switch {
		case !slots.Proven():
			add("slot-trial", remark, "", "")
		case slots.Failed != "":
			add("slot-failed", state.Warning, "", "")
		}
	}
	for _, l := range f.lists {
		if !l.Updated.IsZero() && l.Updated.AddDate(0, listMonths, 0).Before(f.now) && f.box.Clock.Trusted {
			add("places-old", state.Warning, adminPath+"places", "", "name", l.Name, "month", w.Month(l.Updated.In(f.now.Location())))
		}
	}
	if len(f.unknowns) > 0 {
		add("not-reviewed", remark, settingsPath+"/languages", "", "names", strings.Join(f.unknowns, ", "))
	}
	order := map[state.Severity]int{state.Error: 0, state.Warning: 1, remark: 2}
	slices.SortStableFunc(all, func(a, b finding) int { return cmp.Compare(order[a.Severity], order[b.Severity]) })
	return all
}

// ofDonation adds the findings of a donation: at most one about its uplink, and one about its cap.
func (f facts) ofDonation(
	w *web.Words, d state.Donation, to string, add func(code string, severity state.Severity, to, detail string, pairs ...string),
) {
	if d.PausedBy != "" || !d.Open {
		return // it is not in use, so nothing can be observed
	}
	stops := 0
	for _, h := range f.hours {
		stops += h.stops[d.Name]
	}
	switch {
	case stops >= flapStops:
		add("line-flaps", state.Warning, "", d.Why, "name", d.Name, "times", w.Count("time", stops))
	case !d.Works && f.box.State == state.Sharing: // otherwise the State says so
		add("line-down", state.Warning, "", d.Why, "name", d.Name)
	case d.Works && d.Slow:
		add("line-slow", state.Warning, to, "", "name", d.Name)
	}
	if d.Cap == 0 || d.Spent || d.Lost {
		return
	}
	if d.Left < d.Cap/100*capLow {
		add("cap-low", state.Warning, to, "", "name", d.Name, "left", w.Size(d.Left), "cap", w.Size(d.Cap))
	} else if share := usedShare(d); share >= mostlyUsedFrom {
		add("cap-mostly-used", state.Warning, to, "", "name", d.Name, "percent", strconv.Itoa(share), "left", w.Size(d.Left))
	} else if end, ok := f.lasts(d); !ok {
		add("cap-pace", state.Warning, to, "", "name", d.Name, "day", w.Day(end))
	}
}

// lasts reports whether a cap lasts until it resets, if each day uses as much as today, or as yesterday if that was more. If
// not, end is the day on which it runs out.
func (f facts) lasts(d state.Donation) (end time.Time, ok bool) {
	today := state.DateOf(f.now).Time
	days := int(state.DateOf(d.Resets.In(f.now.Location())).Sub(today) / dayLength) // including today
	if !f.box.Clock.Trusted || d.Resets.IsZero() || days < 2 {
		return time.Time{}, true
	}
	used, pace := usedOn(d, today), usedOn(d, today.AddDate(0, 0, -1))
	pace = max(pace, used)
	rest := pace*uint64(days) - used // what this pace still needs
	if pace == 0 || rest <= d.Left+d.Left/paceSpare {
		return time.Time{}, true
	}
	return f.now.AddDate(0, 0, int((d.Left+used)/pace)), false
}

// usedOn returns how many bytes a donation carried on a day.
func usedOn(d state.Donation, day time.Time) uint64 {
	for _, x := range d.Days {
		if x.Date.Equal(day) {
			return x.Bytes
		}
	}
	return 0
}
