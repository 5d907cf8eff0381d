package agenda

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/text/encoding/charmap"
)

// calendar returns a calendar file with these lines.
func calendar(lines ...string) string {
	return "BEGIN:VCALENDAR\nVERSION:2.0\n" + strings.Join(lines, "\n") + "\nEND:VCALENDAR\n"
}

// anEvent returns an event's lines.
func anEvent(lines ...string) string {
	return "BEGIN:VEVENT\n" + strings.Join(lines, "\n") + "\nEND:VEVENT"
}

// december returns a calendar's occurrences in December 2026 as text.
func december(t testing.TB, file string) (string, []Warning) {
	t.Helper()
	events, warnings, err := Read(strings.NewReader(file))
	if err != nil {
		t.Fatalf("%v of %.500s", err, file)
	}
	from := time.Date(2026, 12, 1, 0, 0, 0, 0, paris(t))
	return describe(Occurrences(events, from, from.AddDate(0, 1, 0))), warnings
}

// fold folds a file's lines every that many bytes.
func fold(file string, every int, by string) string {
	var b strings.Builder
	for line := range strings.Lines(file) {
		line = strings.TrimSuffix(line, "\n")
		for len(line) > every {
			b.WriteString(line[:every] + "\n" + by)
			line = line[every:]
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// TestForms: a calendar has the same events in every form in which programs write it.
func TestForms(t *testing.T) {
	t.Parallel()
	file := calendar(anEvent(
		`UID:a@lilas.example`,
		`SUMMARY;LANGUAGE="fr;x:y":Goûter d’été : crêpes\, thé\; café`,
		`DTSTART;X-A="Rue: 12;B";TZID="Europe/Paris":20261202T140000`,
		`DTEND;TZID=Europe/Paris:20261202T160000`,
		`DESCRIPTION:Première ligne\nDeuxième\\n ligne\N`,
	))
	want := "Wed 2026-12-02 14:00 +01 to Wed 2026-12-02 16:00 +01 | Goûter d’été : crêpes, thé; café | \"Première ligne\\nDeuxième\\\\n ligne\"\n"
	forms := map[string]string{
		"as it is": file, "a byte order mark": "\ufeff" + file, "empty lines": strings.ReplaceAll(file, "\n", "\n\n"),
		"without the last line end": strings.TrimSuffix(file, "\n"), "before it": "\n\n" + file,
		"lower-case names": strings.NewReplacer("SUMMARY", "summary", "DTSTART", "dtStart", "BEGIN:VEVENT", "begin:vevent", "TZID", "tzid").Replace(file),
		"twice":            file + file,
	}
	for _, every := range []int{1, 2, 3, 7, 20, 75} {
		forms[fmt.Sprint("folded after ", every)] = fold(file, every, " ")
		forms[fmt.Sprint("folded with tabs after ", every)] = fold(file, every, "\t")
	}
	for name, form := range forms {
		for end, lineEnd := range map[string]string{"LF": "\n", "CRLF": "\r\n", "CR": "\r", "CRCRLF": "\r\r\n"} {
			got, warnings := december(t, strings.ReplaceAll(form, "\n", lineEnd))
			if got != want || len(warnings) > 0 {
				t.Errorf("%s, %s: got\n%swant\n%s%v", name, end, got, want, warnings)
			}
		}
	}

	latin, err := charmap.Windows1252.NewEncoder().String(file)
	if err != nil {
		t.Fatal(err)
	}
	got, warnings := december(t, latin)
	if got != want || len(warnings) != 1 || !strings.Contains(warnings[0].What, "Windows-1252") {
		t.Errorf("Windows-1252: got\n%s%v", got, warnings)
	}
}

// TestHostileFiles: each hostile file gets a clear error or warning without delay, and its good events are kept.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	good := anEvent("UID:good", "SUMMARY:Good", "DTSTART:20261202T100000")
	const goodLine = "Wed 2026-12-02 10:00 +01 | Good\n"
	for name, file := range map[string]string{
		"a line of 1 MB":            calendar(anEvent("UID:x", "DESCRIPTION:"+strings.Repeat("x", 1_000_000)), good),
		"a folded line of 1 MB":     calendar("X-A:"+strings.Repeat("x\n ", 300_000), good),
		"NUL characters":            calendar("\x00\x00\x00", anEvent("UID:x\x00", "DTSTART:\x00"), good),
		"no colon":                  calendar("BEGIN", "END", ";;;", "\"", good),
		"an unbalanced quote":       calendar(anEvent("UID:x", `DTSTART;TZID="Europe/Paris:20261202T100000`), good),
		"a nested calendar":         calendar("BEGIN:VCALENDAR", "BEGIN:VCALENDAR", good, "END:VCALENDAR", "END:VCALENDAR"),
		"an unknown component":      calendar("BEGIN:VTODO", "BEGIN:VALARM", "DTSTART:20261202T100000", "END:VALARM", "END:VTODO", good),
		"an end too many":           calendar("END:VEVENT", "END:VTODO", "END", good),
		"an end too few":            calendar("BEGIN:VEVENT", "UID:x", good),
		"a component without end":   calendar("BEGIN:VTODO", "UID:x", good),
		"an alarm without its end":  calendar(good, "BEGIN:VEVENT", "UID:x", "BEGIN:VALARM", "END:VEVENT", "BEGIN:VEVENT", "UID:y", "END:VEVENT"),
		"a zone without offsets":    calendar("BEGIN:VTIMEZONE", "TZID:X", "BEGIN:STANDARD", "DTSTART:19700101T000000", "END:STANDARD", "END:VTIMEZONE", good),
		"a zone with a bad rule":    calendar("BEGIN:VTIMEZONE", "TZID:X", "BEGIN:STANDARD", "TZOFFSETFROM:+0100", "TZOFFSETTO:+0200", "DTSTART:19700101T000000", "RRULE:FREQ=SECONDLY", "END:STANDARD", "END:VTIMEZONE", good),
		"a zone outside the folder": calendar(anEvent("UID:x", "DTSTART;TZID=../../etc/passwd:20261102T100000"), good),
		"years far away":            calendar(anEvent("UID:x", "DTSTART:99990101T000000"), anEvent("UID:y", "DTSTART:00010101T000000", "RRULE:FREQ=DAILY"), good),
		"a month without days":      calendar(anEvent("UID:x", "DTSTART:20260230T000000"), good),
		"a thousand repeats":        calendar(anEvent("UID:x", "DTSTART:20200101T000000", "RRULE:FREQ=WEEKLY;COUNT=1000", "EXDATE:"+strings.Repeat("20261202T000000,", 999)+"20261202T000000"), good),
		"too many dates":            calendar(anEvent("UID:x", "DTSTART:20261201T000000", "RDATE:"+strings.Repeat("20261202T000000,", 2000)+"20261202T000000"), good),
		"an endless length":         calendar(anEvent("UID:x", "DTSTART:20261101T000000", "DURATION:P99999W"), good),
		"a negative length":         calendar(anEvent("UID:x", "DTSTART:20261101T000000", "DURATION:-P1D"), good),
		"a huge number":             calendar(anEvent("UID:x", "SEQUENCE:99999999999999999999", "DTSTART:20261101T000000", "DURATION:PT99999999999999999999H"), good),
		"a changed change":          calendar(anEvent("UID:x", "RECURRENCE-ID:20261102T000000", "DTSTART:20261102T000000", "RRULE:FREQ=DAILY"), good),
		"changes moved far away":    calendar(anEvent("UID:x", "RECURRENCE-ID;RANGE=THISANDFUTURE:20261102T000000", "DTSTART:20361102T000000"), good),
		"the past and the future":   calendar(anEvent("UID:x", "RECURRENCE-ID;RANGE=THISANDPRIOR:20261102T000000", "DTSTART:20261102T000000"), good),
		"many components":           calendar(strings.Repeat("BEGIN:X\nEND:X\n", 10_000), good),
	} {
		got, warnings := december(t, file)
		lines := strings.Split(got, "\n")
		if !strings.Contains(got, goodLine) {
			t.Errorf("%s: got\n%s%v", name, got, warnings)
		}
		if strings.ContainsRune(got, 0) || len(lines) > 60 || len(warnings) > maxWarnings+1 {
			t.Errorf("%s: got\n%.2000s%v", name, got, warnings)
		}
	}

	for name, test := range map[string]struct {
		file string
		want error
	}{
		"nothing":        {"", ErrNoCalendar},
		"a page":         {"<!doctype html><html><body>BEGIN:VCALENDAR</body></html>", ErrNoCalendar},
		"a table":        {"id;nom\n1;Centre", ErrNoCalendar},
		"a contact":      {"BEGIN:VCARD\nFN:A\nEND:VCARD\n", ErrNoCalendar},
		"binary":         {strings.Repeat("\x00\xff\x1b", 1000), ErrNoCalendar},
		"no event":       {calendar(), ErrNoEvent},
		"only bad ones":  {calendar(anEvent("UID:x")), ErrNoEvent},
		"half of it":     {calendar(good)[:60], ErrCut},
		"cut in a zone":  {"BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:X\n", ErrCut},
		"an event's end": {"BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:x\nEND:VCALENDAR\n", ErrCut},
		"UTF-16":         {"\xff\xfeB\x00E\x00G\x00", errUTF16},
		"6 MB":           {calendar(strings.Repeat("X-A:"+strings.Repeat("x", 996)+"\n", 6000), good), ErrTooLarge},
	} {
		if events, _, err := Read(strings.NewReader(test.file)); !errors.Is(err, test.want) || len(events) > 0 {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	broken := io.MultiReader(strings.NewReader("BEGIN:VCALENDAR\n"), badReader{})
	if _, _, err := Read(broken); !errors.Is(err, errBroken) {
		t.Errorf("a line that breaks: %v", err)
	}
	if _, _, err := Read(strings.NewReader(calendar(strings.Repeat(good+"\n", maxEvents+1)))); err == nil || !strings.Contains(err.Error(), "5000") {
		t.Errorf("too many events: %v", err)
	}
	if _, _, err := Read(strings.NewReader(strings.Repeat("BEGIN:VCALENDAR\n", 1000))); err == nil {
		t.Error("a thousand calendars within each other are read")
	}
}

var errBroken = errors.New("broken")

type badReader struct{}

func (badReader) Read([]byte) (int, error) { return 0, errBroken }

// TestManyEvents: with as many events as a file may have, each repeating as often as it may, the number of occurrences shown is bounded.
func TestManyEvents(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	for n := range maxEvents {
		fmt.Fprintln(&file, anEvent(fmt.Sprint("UID:", n), fmt.Sprintf("SUMMARY:%04d", maxEvents-n), "DTSTART:19900101T000000",
			"RRULE:FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23"))
	}
	events, _, err := Read(strings.NewReader(calendar(file.String())))
	if err != nil || len(events) != maxEvents {
		t.Fatal(len(events), err)
	}
	from := time.Date(2026, 12, 1, 0, 0, 0, 0, paris(t))
	all := Occurrences(events, from, from.AddDate(0, 0, 14))
	if len(all) != MaxShown || all[0].Title != "0001" || all[MaxShown-1].Title != "0500" || !all[MaxShown-1].Start.Equal(from) {
		t.Errorf("%d, from %v to %v", len(all), all[0], all[len(all)-1])
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(calendar(anEvent("UID:a", "SUMMARY:A\u202e\\, b", "DTSTART;TZID=Europe/Paris:20261202T100000", "DURATION:PT1H",
		"RRULE:FREQ=WEEKLY;COUNT=5", "EXDATE;VALUE=DATE:20261209"), anEvent("UID:a", "RECURRENCE-ID:20261216T090000Z", "DTSTART:20261217T100000"))))
	f.Add([]byte(calendar("BEGIN:VTIMEZONE", "TZID:X", "BEGIN:STANDARD", "TZOFFSETFROM:+0200", "TZOFFSETTO:+0100", "DTSTART:19701025T030000",
		"RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU", "END:STANDARD", "END:VTIMEZONE", anEvent("UID:b", "DTSTART;TZID=X:20261202T100000", "RDATE;VALUE=PERIOD:20261203T100000Z/PT2H"))))
	f.Add([]byte("\ufeffBEGIN:VCALENDAR\r\n\tX\r\nBEGIN:VEVENT\rDTSTART;VALUE=DATE:20261202\nEND:VEVENT\nEND:VCALENDAR"))
	from := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, file []byte) {
		events, warnings, err := Read(bytes.NewReader(file))
		if len(warnings) > maxWarnings+1 || err != nil && len(events) > 0 {
			t.Errorf("%d warnings, %d events, %v", len(warnings), len(events), err)
		}
		if err != nil {
			return
		}
		shown := describe(Occurrences(events, from, from.AddDate(0, 1, 0)))
		if strings.ContainsFunc(shown, func(r rune) bool { return unicode.Is(unicode.Bidi_Control, r) }) {
			t.Errorf("%q turns the direction of what follows", shown)
		}
		// A written calendar is read as the same events.
		var again bytes.Buffer
		if err := write(&again, events, nil, unknownTime); err != nil {
			t.Fatal(err)
		}
		for line := range bytes.SplitSeq(again.Bytes(), []byte("\r\n")) {
			if len(line) > foldAt {
				t.Errorf("a line of %d bytes", len(line))
			}
		}
		read, warnings, err := Read(bytes.NewReader(again.Bytes()))
		if err != nil {
			t.Fatalf("%v, %v:\n%s", err, warnings, again.Bytes())
		}
		if got := describe(Occurrences(read, from, from.AddDate(0, 1, 0))); got != shown {
			t.Errorf("it reads\n%swant\n%sof\n%s", got, shown, again.Bytes())
		}
	})
}
