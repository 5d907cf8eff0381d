package directory

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestStandard: every term has a key and a bit of its own, every older value has a meaning, and every type has a label.
func TestStandard(t *testing.T) {
	t.Parallel()
	keys := make(map[string]bool)
	for i, e := range enumerations {
		for bit, term := range e.terms {
			if keys[term.Key] {
				t.Errorf("the key %s is there twice", term.Key)
			}
			keys[term.Key] = true
			if m, ok := meaningOf(i, strings.ToUpper(term.Label)); !ok || m != (meaning{i, 1 << bit}) {
				t.Errorf("%s means %v", term.Label, m)
			}
		}
	}
	for _, o := range olderTerms {
		if o.terms == 0 {
			t.Errorf("%s means nothing", o.value)
		}
	}
	for c := range columns {
		if found, ok := columnOf(strings.ReplaceAll(c.String(), "_", " ")); !ok || found != c {
			t.Errorf("column %s is read as %d", c, found)
		}
	}
	for code, label := range types {
		if code != strings.ToUpper(code) || label == "" {
			t.Errorf("type %s: %q", code, label)
		}
	}
	// The constants and the lists are in the same order.
	for _, c := range []struct {
		terms Terms
		of    []Term
		key   string
	}{
		{Purchase, Services, "purchase"}, {Women, Audiences, "women"}, {Sight, Care, "sight"}, {Paid, Fees, "paid"},
		{EmmausRelay, Programmes, "emmaus-relay"}, {Fabriques, Labels, "fabriques"}, {ByPrescription, Access, "prescription"}, {Remote, Modes, "remote"},
	} {
		for bit, term := range c.of {
			if (term.Key == c.key) != (c.terms == 1<<bit) {
				t.Errorf("bit %d is %s, and %d should be %s", bit, term.Key, c.terms, c.key)
			}
		}
	}
}

func TestPhone(t *testing.T) {
	t.Parallel()
	for cell, want := range map[string][]Phone{
		"":                              nil,
		"+33180059880":                  {{"01 80 05 98 80", "+33180059880"}},
		"+33 (0)1 80 05 98 80":          {{"01 80 05 98 80", "+33180059880"}},
		"0033180059880":                 {{"01 80 05 98 80", "+33180059880"}},
		"33180059880":                   {{"01 80 05 98 80", "+33180059880"}},
		"01.80.05.98.80":                {{"01 80 05 98 80", "+33180059880"}},
		"01 80 05 98 80 poste 12":       {{"01 80 05 98 80", "+33180059880"}},
		"Tél : 01 80 05 98 80":          {{"01 80 05 98 80", "+33180059880"}},
		"3960":                          {{"39 60", "3960"}},
		"+333960":                       {{"39 60", "3960"}},
		"115":                           {{"115", "115"}},
		"116006":                        {{"116006", "116006"}},
		"+33800123456":                  {{"0 800 123 456", "0800123456"}},
		"+590590123456":                 {{"05 90 12 34 56", "+590590123456"}},
		"0594 12 34 56":                 {{"05 94 12 34 56", "+594594123456"}},
		"0696123456":                    {{"06 96 12 34 56", "+596696123456"}},
		"+262 262 12 34 56":             {{"02 62 12 34 56", "+262262123456"}},
		"+689 40 12 34 56":              {{"+689 40 12 34 56", "+68940123456"}},
		"01 80 05 98 80 ou 06 12345678": {{"01 80 05 98 80", "+33180059880"}, {"06 12 34 56 78", "+33612345678"}},
		"0180059880;0180059880":         {{"01 80 05 98 80", "+33180059880"}},
		"12":                            {{"12", "12"}},
		"999999":                        {{"999999", ""}},
		"+0123456789":                   {{"+0123456789", ""}},
		"javascript:alert(1)":           {{"javascript:alert(1)", ""}},
	} {
		if got := newConverter(today).phones(cell); !cmp.Equal(got, want) {
			t.Errorf("%q: %v, want %v", cell, got, want)
		}
	}
}

// FuzzPlace: whatever the cells are, the place is safe to show, and unchanged after it is stored and read.
func FuzzPlace(f *testing.F) {
	rows := strings.Split(made(3), "\n")
	for _, row := range rows[1:4] {
		f.Add(row)
	}
	f.Add("1,2,n\x00,\xff,<b>,javascript:x,\u202e,＂,3;4|5,2,3," + strings.Repeat("é ", 400))
	c := newConverter(today)
	names := strings.Split(strings.ReplaceAll(header, `"`, ""), ",")
	if err := c.columns(names); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, row string) {
		row = strings.ToValidUTF8(row, "\ufffd") // as the CSV reader does
		cells, _ := splitLine(row, ',')
		for len(cells) < len(names) {
			cells = append(cells, cells[len(cells)/2])
		}
		c.warn = warnings{}
		p, ok := c.place(cells[:len(names)])
		if !ok {
			return
		}
		if _, err := parseID(p.ID); err != nil || p.Name == "" || utf8.RuneCountInString(p.Name) > maxName {
			t.Errorf("%q: %v", p.ID, err)
		}
		for _, link := range append(append(p.Sites, p.Booking), p.AccessSheet) {
			u, err := url.Parse(link)
			if link != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
				t.Errorf("link %q", link)
			}
		}
		for _, e := range p.Emails {
			if strings.Count(e, "@") != 1 || strings.ContainsAny(e, " <>?&:/\"") {
				t.Errorf("e-mail address %q", e)
			}
		}
		for _, have := range p.Phones {
			if again, ok := phone(have.Dial); have.Dial != "" && (!ok || again != have) {
				t.Errorf("%v is read again as %v", have, again)
			}
		}
		if p.Located && !inFrance(p.At.Lat, p.At.Lon) {
			t.Errorf("at %v", p.At)
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var stored Place
		if err := json.Unmarshal(b, &stored); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, stored, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("stored otherwise: %s", diff)
		}
		for _, r := range string(b) {
			if unicode.Is(unicode.Bidi_Control, r) || r == 0 {
				t.Errorf("%q in %q", r, b)
			}
		}
		for _, w := range c.warn.list() {
			if strings.IndexFunc(w.Text, unicode.IsControl) >= 0 {
				t.Errorf("warning %q", w.Text)
			}
		}
	})
}

// TestParagraphs: a text of several lines is cut to the greatest number of characters, even if a line ends exactly there.
func TestParagraphs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"abc\n\n de ":   "abc\nde",
		"abcdefgh\nij":  "abcdefgh",
		"abcd\nefghijk": "abcd\nefg…",
		"abcdefghijk":   "abcdefg…",
		"\r\n\n":        "",
	} {
		c := newConverter(today)
		c.warn = warnings{}
		if got := c.paragraphs(0, text, 8); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
