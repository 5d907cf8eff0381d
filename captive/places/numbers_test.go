package places

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"passerelle/captive/web"
)

// saturday is the current time of the tests: 21 November 2026, 15:10.
var saturday = time.Date(2026, 11, 21, 15, 10, 0, 0, time.FixedZone("CET", 3600))

// codes are all languages.
var codes = []string{"fr", "en", "ar", "es", "pt", "uk"}

// The built-in numbers have all texts of the page in every language; each was looked up lately, and can be dialled.
func TestOwnNumbers(t *testing.T) {
	t.Parallel()
	var all []string
	for _, n := range builtInNumbers() {
		all = append(all, n.Number)
		for _, code := range codes {
			if n.Title[code] == "" || n.Text[code] == "" {
				t.Errorf("%s has no words in %s", n.Number, code)
			}
		}
		if n.Checked.After(saturday) {
			t.Errorf("%s was checked in %s", n.Number, n.Checked)
		}
		card := newNumberCard(web.Language("fr"), n, saturday)
		if want := "tel:"; !n.SMS && !strings.HasPrefix(string(card.Phone.Href), want) || n.SMS && card.Phone.Href != "sms:114" {
			t.Errorf("%s is %q", n.Number, card.Phone.Href)
		}
	}
	if got := strings.Join(all, ", "); got != "112, 15, 17, 18, 114, 115, 119, 3919, 116 006, 3114, 3018" {
		t.Errorf("the numbers are %s", got)
	}
}

const oneNumber = `[[number]]
number = "3000"
group = "talk"
source = "the town hall"
checked = "2026-10"
hours = "Mo-Fr 09:00-17:00"
title.fr = "La mairie"
`

// A broken technician's file is refused as a whole, the error names the line, and the built-in numbers stay.
func TestBrokenNumbers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                  ":1: no [[number]]",
		"[[number]\n":                       ":1: ",
		oneNumber + "free = \"yes\"":        ":8: ",
		oneNumber + "price = \"0 €\"":       ":8: number.price: unknown key",
		"\n\n" + oneNumber + "[x]\ny = 1\n": ":10: x: unknown key",
		oneNumber + oneNumber:               ":8: number: 3000 is there twice",
		strings.Replace(oneNumber, `"3000"`, `"javascript:alert(1)"`, 1):              `:1: number: "javascript:alert(1)" is not what a phone dials`,
		strings.Replace(oneNumber, `"talk"`, `"chat"`, 1):                             `:1: group: "chat" is neither "emergency" nor "talk"`,
		strings.Replace(oneNumber, `source = "the town hall"`, "", 1):                 ":1: source: missing",
		strings.Replace(oneNumber, `"2026-10"`, `"October"`, 1):                       `:5: "October" is no month such as 2026-11`,
		strings.Replace(oneNumber, `checked = "2026-10"`, "", 1):                      ":1: checked: missing",
		strings.Replace(oneNumber, "Mo-Fr", "weekdays", 1):                            ":6: at byte 1",
		strings.Replace(oneNumber, `"Mo-Fr 09:00-17:00"`, `" "`, 1):                   ":6: leave hours out",
		strings.Replace(oneNumber, "title.fr", "title.en", 1):                         ":1: title.fr: missing",
		oneNumber + "title.xx = \"Xx\"\n":                                             `:1: "xx" is no language of the pages`,
		strings.Replace(oneNumber, `group = "talk"`, "", 1):                           `:1: group: "" is neither`,
		"# only a comment\n" + strings.Replace(oneNumber, "number = \"3000\"", "", 1): ":2: number: missing",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, numbersFile)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		numbers, err := readNumbers(dir)
		if err == nil || !strings.HasPrefix(err.Error(), path+want) && !strings.Contains(err.Error(), path+want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		if len(numbers) != len(builtInNumbers()) {
			t.Errorf("%q: %d numbers are shown", text, len(numbers))
		}
	}
}

// A technician's file replaces the built-in numbers.
func TestOtherNumbers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := New(dir, slog.New(slog.DiscardHandler))
	p.refresh()
	if len(p.nationalNumbers()) != len(builtInNumbers()) {
		t.Errorf("without a file %d numbers", len(p.nationalNumbers()))
	}
	if err := os.WriteFile(filepath.Join(dir, numbersFile), []byte(oneNumber), 0o600); err != nil {
		t.Fatal(err)
	}
	before := p.currentVersion()
	p.refresh()
	if n := p.nationalNumbers(); len(n) != 1 || n[0].Number != "3000" || p.currentVersion() == before {
		t.Errorf("with a file %v", n)
	}
	groups := newNumberGroups(web.Language("ar"), p.nationalNumbers(), saturday)
	if len(groups) != 1 || groups[0].Numbers[0].Title != "La mairie" || groups[0].Numbers[0].Lang == nil {
		t.Errorf("in Arabic: %+v", groups)
	}
}

func FuzzNumbers(f *testing.F) {
	f.Add(string(ownNumbers))
	f.Add(oneNumber)
	f.Fuzz(func(t *testing.T, text string) {
		numbers, err := parseNumbers("numbers.toml", []byte(text))
		if (err == nil) == (len(numbers) == 0) {
			t.Errorf("%d numbers, %v", len(numbers), err)
		}
		for _, n := range numbers {
			if !strings.HasPrefix(string(newNumberCard(web.Language("fr"), n, saturday).Phone.Href), map[bool]string{false: "tel:", true: "sms:"}[n.SMS]) {
				t.Errorf("%q is not to be called", n.Number)
			}
		}
	})
}
