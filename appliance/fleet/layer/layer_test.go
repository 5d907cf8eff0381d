package layer

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/config"
	"passerelle/appliance/fleet/trust"
)

// written is what passerelle init writes.
var written = sync.OnceValues(func() (*config.Config, error) { return config.Parse("example.toml", config.Example()) })

// box returns the configuration that passerelle init writes, in a fleet, with further changes.
func box(t testing.TB, changes ...func(*config.Config)) *config.Config {
	t.Helper()
	whole, err := written()
	if err != nil {
		t.Fatal(err)
	}
	c := *whole
	c.Fleet.Hubs = []string{"un.flotte.fr"}
	for _, change := range changes {
		change(&c)
	}
	return &c
}

// layerOf returns a layer with a fragment.
func layerOf(t testing.TB, level Level, name, text string) Layer {
	t.Helper()
	f, err := config.ParseFragment("fragment.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Layer{level, name, f}
}

// text returns a result for comparison.
func text(r Result) string {
	var b strings.Builder
	for _, s := range r.Set {
		fmt.Fprintf(&b, "%s = %s (%s)\n", s.Key, s.Value, s.By)
	}
	for _, x := range r.Refused {
		fmt.Fprintf(&b, "- %s = %s (%s): %s\n", x.Key, x.Value, x.By, x.Why)
	}
	for _, p := range r.Proposed {
		fmt.Fprintf(&b, "? %s (%s) %v\n", p.Service, p.By, p.Accepted)
	}
	return b.String()
}

func TestMerge(t *testing.T) {
	all := layerOf(t, All, "", `[limits]
session = "90m"
download = "3mbit"
[places]
url = "https://places.federation.fr/list.csv"
[agenda]
url = "https://agenda.federation.fr/all.ics"
[portal]
fr = "Bonjour"
ar = "مرحبا"`)
	region := layerOf(t, Region, "idf", `[limits]
session = "1h"
download = "5mbit"
[agenda]
url = "https://agenda.idf.fr/all.ics"`)
	lilas := layerOf(t, Association, "lilas", `[box]
languages = ["en", "ar", "fr"]
[limits]
data = "0"
after = "0"
[essential]
add = ["mairie-lilas.fr", "caf.fr"]
remove = ["pix.fr", "nosuch.fr"]
rate = "2mbit"
[agenda]
url = ""
[fleet]
hours = "Mo-Su 02:00-04:00"`)
	file := box(t)
	before := string(config.Format(file))
	r := Merge(file, []Layer{lilas, region, all}, []string{"mairie-lilas.fr", "other.fr"})
	want := `box.languages = ["en", "ar", "fr"] (association lilas)
limits.session = "1h" (region idf)
limits.download = "3mbit" (the fleet)
limits.after = "0" (association lilas)
essential.add = ["mairie-lilas.fr"] (association lilas)
essential.remove = ["pix.fr"] (association lilas)
places.url = "https://places.federation.fr/list.csv" (the fleet)
agenda.url = "" (association lilas)
fleet.hours = "Mo-Su 02:00-04:00" (association lilas)
portal.fr = "Bonjour" (the fleet)
- box.languages = ["ar"] (association lilas): the box does not offer it, and a fragment adds none
- limits.session = "90m" (the fleet): region idf says otherwise
- limits.download = "5mbit" (region idf): it is more than the box gives without it, and a fragment only lowers
- limits.data = "0" (association lilas): it is more than the box gives without it, and a fragment only lowers
- essential.add = ["caf.fr"] (association lilas): it is open already
- essential.remove = ["nosuch.fr"] (association lilas): it is not open
- essential.rate = "2mbit" (association lilas): it is so already
- agenda.url = "https://agenda.federation.fr/all.ics" (the fleet): region idf says otherwise
- agenda.url = "https://agenda.idf.fr/all.ics" (region idf): association lilas says otherwise
- portal.ar = "مرحبا" (the fleet): the box does not offer this language
? mairie-lilas.fr (association lilas) true
`
	want = strings.ReplaceAll(want, `"90m"`, `"1h30m"`)
	if diff := cmp.Diff(want, text(r)); diff != "" {
		t.Error(diff)
	}
	c := r.Config
	if c.Limits.Session != time.Hour || c.Limits.Download != 3e6 || c.Limits.Upload != 1e6 || c.Limits.Data != 500e6 || c.Limits.After != 0 ||
		c.Places.URL != "https://places.federation.fr/list.csv" || c.Agenda.URL != "" || c.Fleet.Hours.String() != "Mo-Su 02:00-04:00" {
		t.Errorf("%+v", c)
	}
	if !slices.Equal(c.Box.Languages, []string{"en", "fr"}) || c.Box.Language != "fr" {
		t.Errorf("languages %q, else %q", c.Box.Languages, c.Box.Language)
	}
	if e := c.Essential; e.Opens("www.pix.fr") || !e.Opens("rdv.mairie-lilas.fr") || !e.Opens("caf.fr") {
		t.Errorf("%q", e.Names)
	}
	if diff := cmp.Diff(map[string]string{"fr": "Bonjour"}, r.Portal); diff != "" {
		t.Error(diff)
	}
	if after := string(config.Format(file)); after != before {
		t.Errorf("the file's configuration has changed: %s", cmp.Diff(before, after))
	}
}

// The file wins: what somebody has chosen in it stays, whatever the fleet says, and so do the keys in its keep list.
func TestFileWins(t *testing.T) {
	lilas := layerOf(t, Association, "lilas", `[box]
languages = ["en"]
[limits]
session = "1h"
upload = "64kbit"
[essential]
remove = ["@france"]
[places]
url = "https://a.fr/"
[agenda]
url = "https://b.fr/"
[portal]
fr = "Bonjour"`)
	file := box(t, func(c *config.Config) {
		c.Box.Languages = []string{"fr", "ar"}
		c.Limits.Session = 3 * time.Hour
		c.Essential.Names = []string{"@france", "paris.fr"}
		c.Places.URL = "https://lieux.centre.fr/"
		c.Fleet.Keep = []string{"limits.upload", "portal.fr", "essential.add"}
	})
	r := Merge(file, []Layer{lilas}, nil)
	want := `agenda.url = "https://b.fr/" (association lilas)
- box.languages = ["en"] (association lilas): the box's file says otherwise
- limits.session = "1h" (association lilas): the box's file says otherwise
- limits.upload = "64kbit" (association lilas): the box keeps its own ([fleet] keep)
- essential.remove = ["@france"] (association lilas): the box's file says otherwise
- places.url = "https://a.fr/" (association lilas): the box's file says otherwise
- portal.fr = "Bonjour" (association lilas): the box keeps its own ([fleet] keep)
`
	if diff := cmp.Diff(want, text(r)); diff != "" {
		t.Error(diff)
	}
	if r.Config.Limits != file.Limits {
		t.Errorf("%+v", r.Config.Limits)
	}
}

// A proposal has no effect before it is accepted, nor after it is withdrawn. Accepting it opens no other name.
func TestProposals(t *testing.T) {
	asks := layerOf(t, All, "", "[essential]\nadd = [\"a.fr\", \"b.fr\"]")
	again := layerOf(t, Region, "idf", "[essential]\nadd = [\"b.fr\", \"x.a.fr\"]")
	withdraws := layerOf(t, Association, "lilas", "[essential]\nremove = [\"b.fr\"]")
	for _, test := range []struct {
		layers   []Layer
		accepted []string
		open     string
		proposed string
	}{
		{[]Layer{asks}, nil, "", "? a.fr (the fleet) false\n? b.fr (the fleet) false\n"},
		{[]Layer{asks}, []string{"b.fr"}, "b.fr", "? a.fr (the fleet) false\n? b.fr (the fleet) true\n"},
		{[]Layer{asks, withdraws}, []string{"b.fr"}, "", "? a.fr (the fleet) false\n"},
		{[]Layer{withdraws, asks}, []string{"b.fr"}, "", "? a.fr (the fleet) false\n"},
		{[]Layer{asks, again}, []string{"x.a.fr"}, "x.a.fr", "? a.fr (the fleet) false\n? b.fr (the fleet) false\n? x.a.fr (region idf) true\n"},
		{nil, []string{"a.fr"}, "", ""},
	} {
		r := Merge(box(t), test.layers, test.accepted)
		_, proposed, _ := strings.Cut("\n"+text(r), "\n?")
		if proposed != "" {
			proposed = "?" + proposed
		}
		if proposed != test.proposed {
			t.Errorf("%v: proposed %q, want %q", test.layers, proposed, test.proposed)
		}
		for _, name := range []string{"a.fr", "b.fr", "x.a.fr"} {
			if open := r.Config.Essential.Opens(name); open != (name == test.open) {
				t.Errorf("%v, accepted %q: %s is open: %v", test.layers, test.accepted, name, open)
			}
		}
	}
}

// A box without a fleet has its file's configuration, and nothing else.
func TestNoFleet(t *testing.T) {
	file := box(t, func(c *config.Config) { c.Fleet.Hubs = nil })
	r := Merge(file, []Layer{layerOf(t, All, "", "[limits]\nsession = \"1m\"\n[essential]\nadd = [\"a.fr\"]")}, []string{"a.fr"})
	if r.Config != file || text(r) != "" || r.Portal != nil {
		t.Errorf("%s", text(r))
	}
}

// No box opens more services than a file may have, and the lists of three layers stay within that bound.
func TestManyServices(t *testing.T) {
	many := func(level Level) Layer {
		var names []string
		for i := range 50 {
			names = append(names, fmt.Sprintf("%s%d.fr", level, i))
		}
		return layerOf(t, level, "x", "[essential]\nadd = "+quoted(names...))
	}
	layers := []Layer{many(All), many(Region), many(Association)}
	var accepted []string
	for _, l := range layers {
		accepted = append(accepted, l.Fragment.Add...)
	}
	file := box(t, func(c *config.Config) {
		for i := range 190 {
			c.Essential.Names = append(slices.Clip(c.Essential.Names), fmt.Sprintf("own%d.fr", i))
		}
	})
	r := Merge(file, layers, accepted)
	if n := len(r.Config.Essential.Names); n != config.MaxEssential {
		t.Errorf("%d names", n)
	}
	if _, err := config.Parse("merged", config.Format(r.Config)); err != nil {
		t.Error(err)
	}
	if p := r.Proposed[149]; p.Accepted {
		t.Error("a service that is not open counts as accepted")
	}
}

// The paths of fragments keep levels and names apart: a delegation of one folder covers no other level and no other name.
func TestPaths(t *testing.T) {
	for _, name := range []string{"lilas", "a-1", "all", "region"} {
		if err := trust.CheckRole(name); err != nil {
			t.Fatal(err)
		}
		for _, level := range Levels {
			for _, other := range Levels {
				for _, otherName := range []string{"lilas", "a-1", "all", "region"} {
					same := level == other && (name == otherName || level == All)
					if below := strings.HasPrefix(Path(level, name), Folder(other, otherName)+"/"); below != same {
						t.Errorf("%s is in %s: %v", Path(level, name), Folder(other, otherName), below)
					}
				}
			}
		}
	}
}

// random returns a random fragment.
func random(r *rand.Rand) *config.Fragment {
	f := &config.Fragment{}
	some := func() bool { return r.IntN(3) == 0 }
	rates := []config.Rate{0, 64e3, 500e3, 1e6, 2e6, 4e6, 8e6, 1e9}
	if some() {
		f.Session = new([]time.Duration{time.Minute, time.Hour, 2 * time.Hour, 24 * time.Hour}[r.IntN(4)])
	}
	if some() {
		f.Download = new(rates[r.IntN(len(rates))])
	}
	if some() {
		f.Upload = new(rates[r.IntN(len(rates))])
	}
	if some() {
		f.Data = new([]config.Size{0, 1e6, 500e6, 600e9}[r.IntN(4)])
	}
	if some() {
		f.After = new([]config.Rate{0, 16e3, 64e3, 1e6}[r.IntN(4)])
	}
	if some() {
		f.Rate = new(rates[1+r.IntN(len(rates)-1)])
	}
	names := []string{"caf.fr", "pix.fr", "a.fr", "b.a.fr", "c.fr", "ameli.fr"}
	list := func(from []string) (some []string) {
		for _, name := range from {
			if r.IntN(2) == 0 {
				some = append(some, name)
			}
		}
		r.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		return some
	}
	if some() {
		f.Add = list(names)
	}
	if some() {
		f.Remove = list(append(names, config.France))
	}
	if some() {
		f.Languages = append(list([]string{"fr", "en", "ar", "es"}), "pt")
	}
	if some() {
		f.Places = new([]string{"", "https://a.fr/", "https://b.fr/"}[r.IntN(3)])
	}
	if some() {
		f.Portal = map[string]string{"fr": "a", "ar": "b"}
	}
	return f
}

// lowest returns the lowest of the layers' values of a limit and the file's. It skips values that mean unlimited.
func lowest[T config.Rate | config.Size | time.Duration](file T, none bool, said ...*T) T {
	low := file
	for _, v := range said {
		if v != nil && !(none && *v == 0) && (*v < low || none && low == 0) {
			low = *v
		}
	}
	return low
}

// Whatever the layers say, and in any order: no limit is above the file's. Each limit is the lowest of all values, unless somebody
// chose it in the file. Nothing is open that was not open before or accepted. The result is valid, and merging again changes nothing.
func TestNeverRaises(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		file := box(t)
		if r.IntN(3) == 0 {
			file.Limits = config.Limits{Session: 2 * time.Hour, After: 64e3} // no other limit
		}
		if r.IntN(4) == 0 {
			file.Limits.Download = 3e6
		}
		if r.IntN(4) == 0 {
			file.Essential.Names = []string{"caf.fr", "d.fr"}
		}
		var layers []Layer
		for _, level := range Levels {
			if r.IntN(4) > 0 {
				layers = append(layers, Layer{level, "x", random(r)})
			}
		}
		var accepted []string
		if r.IntN(2) == 0 {
			accepted = []string{"a.fr", "b.a.fr", "d.fr", "nobody-proposed.fr"}
		}
		result := Merge(file, layers, accepted)
		c, l := result.Config, file.Limits
		said := func(of func(*config.Fragment) *config.Rate) (all []*config.Rate) {
			for _, x := range layers {
				all = append(all, of(x.Fragment))
			}
			return all
		}
		want := config.Limits{Session: l.Session, Download: l.Download, Upload: l.Upload, Data: l.Data, After: l.After}
		if !slices.Contains(file.Chosen(), "limits.download") {
			want.Download = lowest(l.Download, true, said(func(f *config.Fragment) *config.Rate { return f.Download })...)
		}
		want.Upload = lowest(l.Upload, true, said(func(f *config.Fragment) *config.Rate { return f.Upload })...)
		want.After = lowest(l.After, false, said(func(f *config.Fragment) *config.Rate { return f.After })...)
		for _, x := range layers {
			want.Session = lowest(want.Session, false, x.Fragment.Session)
			want.Data = lowest(want.Data, true, x.Fragment.Data)
		}
		if c.Limits != want {
			t.Fatalf("seed %d: limits %+v, want %+v", seed, c.Limits, want)
		}
		if want := lowest(file.Essential.Rate, false, said(func(f *config.Fragment) *config.Rate { return f.Rate })...); c.Essential.Rate != want {
			t.Fatalf("seed %d: rate %v, want %v", seed, c.Essential.Rate, want)
		}
		for _, name := range c.Essential.Expand() {
			proposed := slices.ContainsFunc(layers, func(l Layer) bool { return slices.Contains(l.Fragment.Add, name) })
			if !file.Essential.Opens(name) && !(proposed && slices.Contains(accepted, name)) {
				t.Fatalf("seed %d: %s is open", seed, name)
			}
		}
		for _, language := range c.Box.Languages {
			if !slices.Contains(file.Box.Languages, language) {
				t.Fatalf("seed %d: %s is offered", seed, language)
			}
		}
		checkOutside(t, seed, file, c)
		// The limits do not depend on which layer says what.
		swapped := slices.Clone(layers)
		r.Shuffle(len(swapped), func(i, j int) { swapped[i].Fragment, swapped[j].Fragment = swapped[j].Fragment, swapped[i].Fragment })
		if other := Merge(file, swapped, accepted).Config; other.Limits != c.Limits {
			t.Fatalf("seed %d: %+v in another order, %+v", seed, other.Limits, c.Limits)
		}
		// Neither the order in the slice nor merging again matters.
		slices.Reverse(layers)
		if again := Merge(file, layers, accepted); text(again) != text(result) {
			t.Fatalf("seed %d: %s", seed, cmp.Diff(text(result), text(again)))
		}
		again := Merge(c, layers, accepted).Config
		if diff := cmp.Diff(string(config.Format(c)), string(config.Format(again))); diff != "" {
			t.Fatalf("seed %d: merged again: %s", seed, diff)
		}
		if _, err := config.Parse("merged", config.Format(c)); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		// Every key of a fragment is in one of the lists.
		for _, l := range layers {
			for key := range l.Fragment.Values() {
				if key == "essential.add" && len(l.Fragment.Add) == 0 || key == "essential.remove" && len(l.Fragment.Remove) == 0 {
					continue
				}
				known := slices.ContainsFunc(result.Set, func(s Setting) bool { return s.Key == key && s.By == l.String() }) ||
					slices.ContainsFunc(result.Refused, func(x Refused) bool { return x.Key == key && x.By == l.String() }) ||
					key == "essential.add" || key == "essential.remove" // a proposal, or a withdrawn one
				if !known {
					t.Fatalf("seed %d: what became of %s of %s?\n%s", seed, key, l, text(result))
				}
			}
		}
	}
}

// checkOutside fails the test if anything differs that no fragment has a key for.
func checkOutside(t *testing.T, seed uint64, file, merged *config.Config) {
	t.Helper()
	for _, d := range config.Differences(file, merged) {
		if !slices.Contains(config.FragmentKeys, d.Key) && d.Key != "essential.names" {
			t.Fatalf("seed %d: %s has changed", seed, d.Key)
		}
	}
	if !reflect.DeepEqual(merged.Donations, file.Donations) {
		t.Fatalf("seed %d: a donation has changed", seed)
	}
}

// Any text that parses is harmless.
func FuzzMerge(f *testing.F) {
	f.Add([]byte("[limits]\nsession = \"1h\"\ndata = \"1MB\""), []byte("[essential]\nadd = [\"a.fr\"]\nremove = [\"@france\"]"))
	f.Add([]byte("[box]\nlanguages = [\"en\"]"), []byte("[portal]\nfr = \"a\""))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		var layers []Layer
		for i, text := range [][]byte{one, two} {
			if fragment, err := config.ParseFragment("f", text); err == nil {
				layers = append(layers, Layer{Levels[i], "x", fragment})
			}
		}
		file := box(t)
		c := Merge(file, layers, nil).Config
		checkOutside(t, 0, file, c)
		for _, l := range [][2]uint64{
			{uint64(c.Limits.Session), uint64(file.Limits.Session)}, {uint64(c.Limits.Download), uint64(file.Limits.Download)},
			{uint64(c.Limits.Upload), uint64(file.Limits.Upload)}, {uint64(c.Limits.Data), uint64(file.Limits.Data)},
			{uint64(c.Limits.After), uint64(file.Limits.After)}, {uint64(c.Essential.Rate), uint64(file.Essential.Rate)},
		} {
			if l[0] > l[1] {
				t.Fatalf("a limit of %d became %d", l[1], l[0])
			}
		}
		if _, err := config.Parse("merged", config.Format(c)); err != nil {
			t.Fatal(err)
		}
	})
}
