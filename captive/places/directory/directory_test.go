package directory

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMemory: 20,000 places need no more than 4 MB of memory, including all their hours and words.
func TestMemory(t *testing.T) {
	dir := t.TempDir()
	text := made(many)
	if _, err := importer(dir).Read(t.Context(), strings.NewReader(text), -1, "essai.csv", ""); err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	d := opened(t, dir)
	if _, total, err := d.Find(Query{Now: today, OpenNow: true}, 0, 10); err != nil || total == 0 {
		t.Fatal(total, err)
	}
	used := int64(heap()) - int64(before)
	if used > 4<<20 {
		t.Errorf("%d places use %d bytes", many, used)
	}
	t.Logf("%d places with %d different hours: %d kB", many, len(d.lists[0].hours.flags), used>>10)
	runtime.KeepAlive(d)
}

// everything returns all listed places.
func everything(t testing.TB, d *Directory) (all []Place) {
	t.Helper()
	hits, total, err := d.Find(Query{}, 0, 1<<20)
	if err != nil || total != len(hits) {
		t.Fatal(total, len(hits), err)
	}
	for _, h := range hits {
		all = append(all, h.Place)
	}
	return all
}

// TestFind compares queries with a search through all places, one by one.
func TestFind(t *testing.T) {
	t.Parallel()
	d, report := imported(t, made(600))
	all := everything(t, d)
	if len(all) != report.Listed || report.Listed >= report.Places {
		t.Errorf("%d places are listed of %d: %d", report.Listed, report.Places, len(all))
	}
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(15, 16))
	for range 300 {
		from := Point{42 + 8*rnd.Float64(), -1 + 6*rnd.Float64()}
		q := Query{
			From: &from, Now: time.Date(2026, time.Month(1+rnd.IntN(12)), 1+rnd.IntN(28), 8+rnd.IntN(12), rnd.IntN(60), 0, 0, paris),
			OpenNow: rnd.IntN(3) == 0, Free: rnd.IntN(4) == 0, Languages: rnd.IntN(6) == 0, Itinerant: rnd.IntN(6) == 0,
		}
		if rnd.IntN(3) == 0 {
			q.Services = 1 << rnd.IntN(len(Services))
		}
		if rnd.IntN(6) == 0 {
			q.Audiences = 1 << rnd.IntN(len(Audiences))
		}
		if rnd.IntN(6) == 0 {
			q.Care, q.Modes = 1<<rnd.IntN(len(Care)), 1<<rnd.IntN(len(Modes))
		}
		if rnd.IntN(6) == 0 {
			q.Programmes = FranceServices
		}
		if rnd.IntN(6) == 0 {
			p := all[rnd.IntN(len(all))]
			q.Town, q.Postcode = strings.ToUpper(p.Town), p.Postcode
		}
		var want []Hit
		for _, p := range all {
			if !p.Services.Terms.Has(q.Services) || !p.Care.Terms.Has(q.Care) || !p.Modes.Terms.Has(q.Modes) ||
				!p.Programmes.Terms.Has(q.Programmes) || !p.Audiences.Terms.Has(q.Audiences) && p.Audiences.Terms != 0 ||
				q.OpenNow && p.Opening(q.Now).State != OpenNow ||
				q.Free && !p.Fees.Terms.Has(Free) || q.Languages && p.Care.Terms&(English|OtherLanguages) == 0 ||
				q.Itinerant && !p.Itinerant || q.Town != "" && !strings.EqualFold(p.Town, q.Town) || q.Postcode != "" && p.Postcode != q.Postcode {
				continue
			}
			want = append(want, Hit{p, from.distance(p.At)})
		}
		slices.SortStableFunc(want, func(a, b Hit) int { return cmp.Compare(a.Distance, b.Distance) })
		offset, most := rnd.IntN(30), rnd.IntN(20)
		got, total, err := d.Find(q, offset, most)
		if err != nil || total != len(want) {
			t.Fatalf("%+v: %d places, want %d, %v", q, total, len(want), err)
		}
		want = want[min(offset, len(want)):min(offset+most, len(want))]
		for i := range got {
			// In memory positions are exact to about a metre.
			if len(got) != len(want) || math.Abs(got[i].Distance-want[i].Distance) > 2 {
				t.Fatalf("%+v from %d: %v, want %v", q, offset, ids(got), ids(want))
			}
		}
	}
}

func ids(hits []Hit) (all []string) {
	for _, h := range hits {
		all = append(all, fmt.Sprintf("%s %.0f", h.ID, h.Distance))
	}
	return all
}

const small = "id,nom,commune,code_postal,adresse,latitude,longitude,services,date_maj,modalites_acces\n" +
	"1,Médiathèque des Lilas,Valfleury,12000,1 rue A,44.35,2.57,Aide aux démarches administratives,2026-01-01,\n" +
	"2,Centre social,Bourg-lès-Monts,12100,2 rue A,44.10,3.08,,2026-01-01,\n" +
	"3,Atelier,Valfleury,12000,3 rue A,,,,2026-01-01,\n" +
	"4,Réserve des Lilas,Valfleury,12000,4 rue A,44.35,2.57,,2026-01-01,Ce lieu n’accueille pas de public\n"

func names(hits []Hit) string {
	var all []string
	for _, h := range hits {
		all = append(all, h.Name)
	}
	return strings.Join(all, ", ")
}

func TestFindWordsAndPlaces(t *testing.T) {
	t.Parallel()
	d, _ := imported(t, small)
	near := &Point{44.1, 3.08}
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{}, "Centre social, Atelier, Médiathèque des Lilas"},
		{Query{From: near}, "Centre social, Médiathèque des Lilas, Atelier"},
		{Query{Words: "mediatheque lila"}, "Médiathèque des Lilas"},
		{Query{Words: "mediateque"}, "Médiathèque des Lilas"},
		{Query{Words: "valfleury"}, "Atelier, Médiathèque des Lilas"},
		{Query{Words: "lilas"}, "Médiathèque des Lilas"},
		{Query{Words: "démarche"}, "Médiathèque des Lilas"},
		{Query{Words: "12100"}, "Centre social"},
		{Query{Words: "xyzzyxyzzy"}, ""},
		{Query{Words: " ?! "}, ""},
		{Query{Town: "bourg les monts"}, "Centre social"},
		{Query{Postcode: "12000"}, "Atelier, Médiathèque des Lilas"},
		{Query{Postcode: "1200"}, ""},
		{Query{Services: Procedures}, "Médiathèque des Lilas"},
	} {
		hits, total, err := d.Find(c.q, 0, 10)
		if err != nil || names(hits) != c.want || total != len(hits) {
			t.Errorf("%+v: %s, want %s; %v", c.q, names(hits), c.want, err)
		}
	}
	if hits, _, _ := d.Find(Query{From: near}, 0, 10); math.Abs(hits[1].Distance-49_400) > 500 || hits[2].Distance >= 0 {
		t.Errorf("distances %v", ids(hits))
	}
	for _, c := range []struct{ offset, most int }{{-1, -1}, {5, 3}, {0, 0}} {
		if hits, total, err := d.Find(Query{}, c.offset, c.most); len(hits) != 0 || total != 3 || err != nil {
			t.Errorf("%v: %v, %d, %v", c, hits, total, err)
		}
	}
	if places, sure, err := d.Search("lilas", 5); err != nil || len(places) != 1 || sure < 0.5 || places[0].List != "essai" {
		t.Errorf("search: %v, %v", places, err)
	}
	// A place that receives nobody has a page, but is never listed.
	if p, err := d.Place(hashID("4")); err != nil || p.Receives || p.Name != "Réserve des Lilas" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, id := range []string{"", "x", "0000000000000000", strings.Repeat("a", 17), "../../etc/passwd"} {
		if _, err := d.Place(id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("place %q: %v", id, err)
		}
	}
	for code, want := range map[string]string{
		"12000": "44.35 2.57 true true", "12100": "44.10 3.08 true true", "12999": "44.27 2.74 false true",
		"75020": "0.00 0.00 false false", "": "0.00 0.00 false false", "x": "0.00 0.00 false false",
	} {
		at, exact, ok := d.Postcode(code)
		if got := fmt.Sprintf("%.2f %.2f %t %t", at.Lat, at.Lon, exact, ok); got != want {
			t.Errorf("postcode %q: %s, want %s", code, got, want)
		}
	}
	d.Close()
	if _, _, err := d.Find(Query{}, 0, 10); err == nil {
		t.Error("a closed directory finds places")
	}
}

// TestLists: several lists are used together; for a place in several lists the newest record counts.
func TestLists(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a": small,
		"b": strings.NewReplacer("2026-01-01", "2026-02-01", "Médiathèque des Lilas", "Médiathèque neuve").Replace(small[:strings.Index(small, "2,Centre")]),
		"c": "id,nom,commune,code_postal,adresse\n9,Ailleurs,Aulnay,93600,1 rue\n1,Vieille médiathèque,Valfleury,12000,1 rue A\n",
	} {
		if _, err := importer(dir).Import(t.Context(), write(t, text), name); err != nil {
			t.Fatal(err)
		}
	}
	d := opened(t, dir)
	hits, total, err := d.Find(Query{}, 0, 10)
	if want := "Ailleurs, Centre social, Atelier, Médiathèque neuve"; names(hits) != want || total != 4 || err != nil {
		t.Errorf("%s, want %s; %v", names(hits), want, err)
	}
	if p, err := d.Place(hashID("1")); err != nil || p.List != "b" || p.Name != "Médiathèque neuve" {
		t.Errorf("%+v, %v", p, err)
	}
	var got []string
	for _, l := range d.Lists() {
		got = append(got, fmt.Sprintf("%s %s %d %d %s %t", l.Name, l.File, l.Places, l.Listed, l.Updated.Format(time.DateOnly), l.Undo))
	}
	want := "a essai.csv 4 3 2026-01-01 false; b essai.csv 1 1 2026-02-01 false; c essai.csv 2 2 0001-01-01 false"
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("lists %s, want %s", s, want)
	}
	if empty, problems := Open(dir + "/none"); len(problems) != 0 || len(empty.Lists()) != 0 {
		t.Errorf("a missing folder: %v", problems)
	} else if _, total, err := empty.Find(Query{Words: "a", OpenNow: true}, 0, 10); total != 0 || err != nil {
		t.Error(total, err)
	}
}

// importing names the folder in which TestKilled's child imports lists until it is killed.
const importing = "PASSERELLE_TEST_IMPORTING"

// TestKilled kills imports at random moments: the old or the new list is intact, and the next import works.
func TestKilled(t *testing.T) {
	t.Parallel()
	texts := []string{made(50), made(55)}
	if dir := os.Getenv(importing); dir != "" {
		for i := 0; ; i++ {
			imp := importer(dir)
			imp.Progress = func(int64, int64) { fmt.Println("read") }
			if _, err := imp.Read(t.Context(), strings.NewReader(texts[i%2]), -1, "essai.csv", "liste"); err != nil {
				t.Fatal(err)
			}
			fmt.Println("imported")
		}
	}
	dir := t.TempDir()
	if _, err := importer(dir).Read(t.Context(), strings.NewReader(texts[0]), -1, "essai.csv", "liste"); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(17, 18))
	for range 20 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), importing+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		told := make([]byte, 1+rnd.IntN(60))
		if _, err := out.Read(told); err != nil {
			t.Error(err)
		}
		for range rnd.IntN(10) {
			out.Read(told)
		}
		cmd.Process.Kill()
		cmd.Wait() // it was killed
		d, problems := Open(dir)
		lists := d.Lists()
		if len(problems) > 0 || len(lists) != 1 || lists[0].Places != 50 && lists[0].Places != 55 {
			t.Fatalf("%v, %v", lists, problems)
		}
		everything(t, d)
		d.Close()
	}
	if _, err := importer(dir).Read(t.Context(), strings.NewReader(texts[0]), -1, "essai.csv", "liste"); err != nil {
		t.Error(err)
	}
	if left := tree(t, dir); strings.Contains(left, ".import-") {
		t.Errorf("left behind: %s", left)
	}
}
