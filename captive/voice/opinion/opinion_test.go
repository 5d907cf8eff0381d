package opinion

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"passerelle/captive/voice/week"
)

const first = week.Week("2026-W10")

// published returns what everybody can see of the counts, as text.
func published(o *Opinions) string {
	var b bytes.Buffer
	if err := WriteCSV(&b, o.Results("")); err != nil {
		panic(err)
	}
	return b.String()
}

// press counts several presses for a service, or for question 1.
func press(o *Opinions, w week.Week, part Part, which, times int) {
	if times > 0 {
		o.Add(Press{Week: w, Part: part, Service: "caf.fr", Question: 1, Which: which}, times)
	}
}

// possible collects, for each published text, the counts that lead to it.
type possible map[string]map[string]map[int]bool

func (p possible) add(shown string, counts map[string]int) {
	if p[shown] == nil {
		p[shown] = make(map[string]map[int]bool)
	}
	for name, n := range counts {
		if p[shown][name] == nil {
			p[shown][name] = make(map[int]bool)
		}
		p[shown][name][n] = true
	}
}

// check fails the test if a published text leaves only one possible value for a small count.
func (p possible) check(t *testing.T) {
	t.Helper()
	if len(p) < 20 {
		t.Errorf("only %d tables were published", len(p))
	}
	for shown, counts := range p {
		for name, values := range counts {
			for n := range values {
				if len(values) == 1 && n >= 1 && n < Least {
					t.Errorf("%s can only be %d:\n%s", name, n, shown)
				}
			}
		}
	}
}

// For all tables of a service up to a size, no count from 1 to 4 can be derived from what is published: neither from the numbers nor
// from what is missing, even by somebody who knows the rules.
func TestNoSmallCountFollows(t *testing.T) {
	t.Parallel()
	const most = 9
	p := possible{}
	for a := range most {
		for b := range most {
			for h := range 2 * most {
				for i := range 2 * most {
					if h+i > a+b || h > most+3 || i > most+3 {
						continue // each hurdle follows a face
					}
					o := &Opinions{}
					press(o, first, Face, 0, a)
					press(o, first, Face, 1, b)
					press(o, first, Hurdle, 0, h)
					press(o, first, Hurdle, 1, i)
					o.Close(first.Add(1))
					p.add(published(o), map[string]int{"face 0": a, "face 1": b, "hurdle 0": h, "hurdle 1": i})
				}
			}
		}
	}
	p.check(t)
}

// The same holds over two weeks: what is published after the second reveals no small count of either week.
func TestNoSmallCountFollowsFromTwoWeeks(t *testing.T) {
	t.Parallel()
	const most = 10
	p := possible{}
	for a := range most {
		for h := 0; h <= a; h++ {
			for b := range 2 * most {
				for i := 0; h+i <= a+b; i++ {
					o := &Opinions{}
					press(o, first, Face, 0, a)
					press(o, first, Hurdle, 0, h)
					o.Close(first.Add(1))
					before := published(o)
					press(o, first.Add(1), Face, 0, b)
					press(o, first.Add(1), Hurdle, 0, i)
					o.Close(first.Add(2))
					if a+b >= most+Least || h+i >= most+Least {
						continue // larger counts than those of the loops may lead to it, too
					}
					p.add(before+"then\n"+published(o), map[string]int{
						"face, week 1": a, "face, week 2": b, "face": a + b, "hurdle, week 1": h, "hurdle, week 2": i, "hurdle": h + i,
					})
				}
			}
		}
	}
	p.check(t)
}

// Whatever is pressed in whatever weeks, a number that is shown is at least 5, numbers change from one day to the next by 0 or at least
// 5, and each press is shown at most once.
func TestSteps(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		o := &Opinions{}
		choices := []ChoiceText{{Text: "a"}, {Text: "b"}, {Text: "c"}}
		if err := o.Ask("Q", choices); err != nil {
			t.Fatal(err)
		}
		pressed, before := map[string]int{}, map[string]int{}
		now := first
		for range 200 {
			parts := []Part{Face, Choice}
			part, which := parts[random.IntN(2)], random.IntN(3)
			press(o, now, part, which, 1)
			pressed[fmt.Sprint(part, which)]++
			if part == Face && random.IntN(3) > 0 {
				hurdle := random.IntN(2)
				press(o, now, Hurdle, hurdle, 1)
				pressed[fmt.Sprint(Hurdle, hurdle)]++
			}
			if random.IntN(8) == 0 {
				now = now.Add(1 + random.IntN(2))
				o.Close(now)
			}
			after, faces, hurdles := map[string]int{}, 0, 0
			for _, table := range o.tables() {
				for i, c := range table.counts {
					key := fmt.Sprint(table.part, i)
					after[key] = c.Shown("")
					switch table.part {
					case Face:
						faces += c.Shown("")
					case Hurdle:
						hurdles += c.Shown("")
					}
					for w, n := range c.Weeks {
						if n < Least || w >= o.Open {
							t.Fatalf("seed %d: %s shows %d in %s, now %s", seed, key, n, w, o.Open)
						}
					}
					if step := after[key] - before[key]; step != 0 && step < Least || after[key]+c.Waiting != pressed[key] {
						t.Fatalf("seed %d: %s went from %d to %d, %d wait, %d pressed", seed, key, before[key], after[key], c.Waiting, pressed[key])
					}
				}
			}
			if hurdles > faces {
				t.Fatalf("seed %d: %d hurdles and %d faces are shown", seed, hurdles, faces)
			}
			before = after
		}
		for name := range maps.Keys(pressed) {
			if name != "hurdle0" && name != "hurdle1" && before[name] == 0 && pressed[name] > 40 {
				t.Errorf("seed %d: %s is never shown", seed, name)
			}
		}
	}
}

// Counts are kept for 13 months, including those that wait.
func TestKept(t *testing.T) {
	t.Parallel()
	o := &Opinions{}
	if err := o.Ask("Old?", []ChoiceText{{Text: "a"}, {Text: "b"}}); err != nil {
		t.Fatal(err)
	}
	press(o, first, Face, 0, 7)
	press(o, first, Face, 1, 3)
	press(o, first, Choice, 1, 6)
	if err := o.Ask("New?", []ChoiceText{{Text: "a"}, {Text: "b"}}); err != nil {
		t.Fatal(err)
	}
	for n := range 60 {
		o.Close(first.Add(n))
		s, old := o.Services["caf.fr"], o.Question(1)
		if kept := n <= 57; (s != nil) != kept || (old != nil) != kept || kept && (s.Faces[0].Shown("") > 0) != (n > 0) {
			t.Fatalf("after %d weeks: %+v, %+v", n, s, old)
		}
	}
	if o.Question(o.Current) == nil {
		t.Error("the current question is gone")
	}
	// If the clock is set back, nothing is lost.
	open := o.Open
	o.Add(Press{Week: first, Part: Face, Service: "msa.fr", Which: 2}, 1)
	if s := o.Services["msa.fr"]; o.Open != open || s == nil || s.Faces[2].Waiting != 1 || s.Faces[2].Since != open {
		t.Errorf("open %s, %+v", o.Open, s)
	}
}

// Presses for answers or questions that do not exist are not counted.
func TestStrayPresses(t *testing.T) {
	t.Parallel()
	o := &Opinions{}
	for _, p := range []Press{
		{Part: Face, Service: "caf.fr", Which: -1}, {Part: Face, Service: "caf.fr", Which: len(Faces)}, {Part: "x", Service: "caf.fr"},
		{Part: Choice, Question: 1}, {Part: Choice},
	} {
		p.Week = first
		o.Add(p, 100)
	}
	o.Close(first.Add(1))
	if rows := o.Results(""); rows != nil {
		t.Errorf("%v", rows)
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	two := []ChoiceText{{Text: "oui", Picture: "yes"}, {Text: "non"}}
	o := &Opinions{}
	for range 2 {
		if err := o.Ask("Ouvrir le soir ?", two); err != nil || o.Current != 1 || len(o.Questions) != 1 {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	for _, test := range []struct {
		text    string
		choices []ChoiceText
		want    string
	}{
		{"", two, "empty"}, {" a", two, "space"}, {"a\u202eb", two, "cannot be shown"}, {"a\nb", two, "cannot be shown"}, {"\xff", two, "cannot be shown"},
		{strings.Repeat("é", MaxQuestion+1), two, "201 characters"}, {"a", two[:1], "2 to 6 choices"},
		{"a", slices.Repeat(two, 4), "2 to 6 choices"}, {"a", slices.Repeat(two, 2), "twice"},
		{"a", []ChoiceText{{Text: "b"}, {}}, "empty"}, {"a", []ChoiceText{{Text: "b"}, {Text: strings.Repeat("c", MaxChoice+1)}}, "61 characters"},
	} {
		if err := o.Ask(test.text, test.choices); err == nil || !strings.Contains(err.Error(), test.want) || o.Current != 1 {
			t.Errorf("%q: %v, want %q", test.text, err, test.want)
		}
	}
	for s, want := range map[string]ChoiceText{
		"oui": {Text: "oui"}, "yes:oui": {Text: "oui", Picture: "yes"}, "yes: oui": {Text: "oui", Picture: "yes"},
		"12:30": {Text: "12:30"}, "Quand : le soir": {Text: "Quand : le soir"},
	} {
		if c, err := ParseChoice(s); err != nil || c != want {
			t.Errorf("%q: %+v, %v", s, c, err)
		}
	}
	if _, err := ParseChoice("yess:oui"); err == nil || !strings.Contains(err.Error(), "there are accompany,") {
		t.Errorf("an unknown pictogram: %v", err)
	}
}

// The CSV is valid, has no formulas, and its schema describes it.
func TestCSV(t *testing.T) {
	t.Parallel()
	o := &Opinions{}
	evil := []string{`=HYPERLINK("http://evil")`, "+1", "-1", "@sum", `"a", b`}
	var choices []ChoiceText
	for _, text := range evil {
		choices = append(choices, ChoiceText{Text: text})
	}
	if err := o.Ask("=1+1", choices); err != nil {
		t.Fatal(err)
	}
	press(o, first, Choice, 0, 6)
	press(o, first, Choice, 1, 4)
	press(o, first, Face, 4, 12)
	press(o, first, Hurdle, 0, 8)
	press(o, first.Add(2), Face, 4, 2)
	var b, schema bytes.Buffer
	if err := WriteCSV(&b, o.Results("")); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"week,part,subject,answer,count\r\n", "2026-W10,face,caf.fr,very-good,12\r\n", "2026-W10,face,caf.fr,bad,fewer than 5\r\n",
		"2026-W10,hurdle,caf.fr,account,8\r\n", "2026-W11,hurdle,caf.fr,account,not shown\r\n",
		`2026-W10,choice,'=1+1,"'=HYPERLINK(""http://evil"")",6` + "\r\n", "2026-W10,choice,'=1+1,'+1,fewer than 5\r\n",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("no line %q in:\n%s", line, &b)
		}
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 1+2*(len(Faces)+len(Hurdles)+len(evil)) {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	if rows := o.Results("2026-W11"); rows != nil {
		t.Errorf("of a week in which nothing was shown: %v", rows)
	}
	if err := WriteSchema(&schema); err != nil {
		t.Fatal(err)
	}
	var described struct{ Fields []struct{ Name string } }
	if err := json.Unmarshal(schema.Bytes(), &described); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range described.Fields {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, header(rows)) {
		t.Errorf("the schema describes %q", names)
	}
}

func header(rows [][]string) []string {
	if len(rows) == 0 {
		return nil
	}
	return rows[0]
}

func FuzzCSV(f *testing.F) {
	f.Add("=1")
	f.Add("\t\"\n\r@")
	f.Fuzz(func(t *testing.T, text string) {
		var b bytes.Buffer
		if err := WriteCSV(&b, []Row{{first, Choice, text, text, 5}}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(rows) != 2 || strings.IndexAny(rows[1][2], "=+-@\t\r") == 0 {
			t.Errorf("%q: %q, %v", text, rows, err)
		}
	})
}
