package places

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"passerelle/captive/places/directory"
)

func TestVCard(t *testing.T) {
	t.Parallel()
	got := vCard(directory.Place{
		ID: "00000000000000a1", Name: `Le Fil, d’Ariane; "Chez \ nous"`, Complement: "Au fond\nde la cour",
		Address: "18 rue des Trois Fontaines", Postcode: "93500", Town: "Pantin",
		At: directory.Point{Lat: 48.893, Lon: 2.408}, Located: true,
		Phones: []directory.Phone{{Shown: "01 99 00 88 21", Dial: "+33199008821"}, {Shown: "3949", Dial: "3949"}},
		Emails: []string{"bonjour@fil.example"}, Sites: []string{"https://fil.example/a,b", "javascript:alert(1)"},
		Hours: "Mo-Fr 09:00-12:00\r\nEND:VCARD", Updated: time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC),
	})
	want := strings.ReplaceAll(`BEGIN:VCARD
VERSION:3.0
N:Le Fil\, d’Ariane\; "Chez \\ nous";;;;
FN:Le Fil\, d’Ariane\; "Chez \\ nous"
ORG:Le Fil\, d’Ariane\; "Chez \\ nous"
TEL;TYPE=WORK,VOICE:+33199008821
TEL;TYPE=WORK,VOICE:3949
EMAIL;TYPE=INTERNET:bonjour@fil.example
ADR;TYPE=WORK:;Au fond\nde la cour;18 rue des Trois Fontaines;Pantin;;93500
 ;France
GEO:48.893000;2.408000
URL:https://fil.example/a,b
NOTE:Mo-Fr 09:00-12:00\nEND:VCARD
REV:2026-03-04T00:00:00Z
UID:00000000000000a1
END:VCARD
`, "\n", "\r\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// property matches a content line (RFC 2425, section 5.8.2) whose value has no control characters.
var property = regexp.MustCompile(`^[A-Z]+(;[A-Z]+=[A-Z,]+)?:[^\x00-\x1f\x7f]*$`)

// Whatever a list contains, a vCard has only its own properties, and only lines that phones can read.
func FuzzVCard(f *testing.F) {
	f.Add("Le Fil", "4 place\r\nBEGIN:VCARD", "\xff\xfe;,\\")
	f.Add(strings.Repeat("é", 200), strings.Repeat("a", 75), "\r")
	f.Fuzz(func(t *testing.T, name, address, town string) {
		text := vCard(directory.Place{Name: name, Address: address, Town: town, Hours: town + name, Sites: []string{"https://" + town}})
		if !strings.HasSuffix(text, "\r\nEND:VCARD\r\n") || !utf8.ValidString(text) {
			t.Fatalf("not a whole card: %q", text)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
			if len(line) > maxOctets || !utf8.ValidString(line) {
				t.Errorf("%d octets: %q", len(line), line)
			}
		}
		lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(text, "\r\n ", ""), "\r\n"), "\r\n")
		var names []string
		for _, line := range lines {
			if !property.MatchString(line) {
				t.Errorf("no content line: %q", line)
			}
			name, _, _ := strings.Cut(line, ":")
			names = append(names, name)
		}
		if got := strings.Replace(strings.Join(names, " "), " URL", "", 1); strings.Replace(got, " NOTE", "", 1) != "BEGIN VERSION N FN ORG ADR;TYPE=WORK UID END" {
			t.Errorf("it has %s", got)
		}
	})
}
