package daemon

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/content"
	"passerelle/appliance/fleet/handouts"
	"passerelle/appliance/fleet/layer"
	"passerelle/appliance/fleet/mirror"
	"passerelle/appliance/state"
	"passerelle/captive/admin"
	"passerelle/captive/records"
	"passerelle/captive/tutorials/lessons"
)

// hand makes the fleet hand out a file at a level; a nil file withdraws it.
func (s *signer) hand(level layer.Level, of string, kind content.Kind, name string, file []byte) {
	s.Helper()
	folder := content.Folder(layer.Folder(level, of), kind)
	if file == nil {
		s.change(func(t *metadata.TargetsType) { delete(t.Targets, path.Join(folder, name)) })
		return
	}
	at, target, _, err := content.Stage(s, folder, name, bytes.NewReader(file))
	s.must(err)
	s.change(func(t *metadata.TargetsType) { t.Targets[at] = target })
}

// aPack returns a pack of one page, with a picture of size bytes of noise.
func aPack(t *testing.T, title string, size int) []byte {
	t.Helper()
	picture := make([]byte, size)
	rand.NewChaCha8([32]byte{5}).Read(picture)
	copy(picture, "\x89PNG\r\n\x1a\n")
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range map[string][]byte{"index.html": []byte("<title>" + title + `</title><img src="a.png">`), "a.png": picture} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = w.Write(text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// aList returns a list of n places.
func aList(n int) []byte {
	text := "id,nom,commune,code_postal,adresse,date_maj\n"
	for i := range n {
		text += fmt.Sprintf("p%d,Lieu %d,Grenoble,38000,%d rue Basse,2026-10-01\n", i, i, i)
	}
	return []byte(text)
}

// handoutWorld is a box that takes the handouts of a folder.
type handoutWorld struct {
	*memberWorld
	people  *signer
	dir     string
	shelves admin.Content
	reads   []string // shares that were reloaded
	why     string   // why nothing may be fetched, once left is used up
	left    int      // how often the box may still fetch something
}

func newHandoutWorld(t *testing.T) *handoutWorld {
	people := newSigner(t)
	w := &handoutWorld{memberWorld: newMemberWorld(t, "", filepath.Join(people.Dir, "metadata", "1.root.json")), people: people, left: 1 << 30}
	w.dir = filepath.Dir(w.folder)
	w.stop() // the tests decide when the box takes something
	w.box.setHubs(hubName)
	w.again()
	people.change(func(*metadata.TargetsType) {})
	return w
}

// again restarts the box's part, as a restart of the daemon does.
func (w *handoutWorld) again() {
	refresh := func(share string) error { w.reads = append(w.reads, share); return nil }
	w.shelves = ContentOf(w.dir, refresh, time.Now)
	w.handouts = HandoutsOf(w.dir, w.shelves, handouts.Options{Log: slog.New(slog.DiscardHandler), May: func() string {
		if w.left--; w.left < 0 {
			return w.why
		}
		return ""
	}})
}

// takes makes the box take what is there, and compares the result of each file with NAME STATE WHY.
func (w *handoutWorld) takes(want ...string) {
	w.t.Helper()
	w.member.take(w.t.Context(), mirror.Folder{FS: os.DirFS(w.people.Dir)}, fleet.Group{Association: "lilas", Region: "nord"})
	f := w.fleet()
	var got []string
	for _, h := range f.Handouts {
		got = append(got, strings.TrimSpace(h.Name+" "+h.State+" "+h.Why))
	}
	if f.Files != "" {
		got = append(got, f.Files)
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		w.t.Errorf("%q instead of %q", got, want)
	}
}

// title returns the title of a pack on the box, "" if it is not there.
func (w *handoutWorld) title(name string) string {
	packs, problems := lessons.Packs(Content(w.dir, "tutorials"))
	if len(problems) > 0 {
		w.t.Error(problems)
	}
	for _, p := range packs {
		if p.Name == name {
			return p.Title
		}
	}
	return ""
}

func (w *handoutWorld) want(name, title string) {
	w.t.Helper()
	if got := w.title(name); got != title {
		w.t.Errorf("the pack %s is %q instead of %q", name, got, title)
	}
}

// own imports a pack as a technician.
func (w *handoutWorld) own(name, title string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "a.zip")
	w.people.must(os.WriteFile(file, aPack(w.t, title, 999), 0o600))
	shelf := w.shelves.Packs
	p, err := shelf.Check(w.t.Context(), file, name)
	w.people.must(err)
	w.people.must(shelf.Import(w.t.Context(), file, p))
}

// nothingComes checks that no partly fetched file is left.
func (w *handoutWorld) nothingComes() {
	w.t.Helper()
	w.people.must(filepath.WalkDir(filepath.Join(w.dir, fleetFolder, "coming"), func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			w.t.Errorf("%s is left", name)
		}
		return err
	}))
}

// TestHandouts: what the box's levels hand out is imported, replaced by its next version, and removed when it is withdrawn. The
// nearest level takes precedence over the others, and people at the box over all levels.
func TestHandouts(t *testing.T) {
	t.Parallel()
	w := newHandoutWorld(t)
	p := w.people
	w.takes()
	p.hand(layer.All, "", content.Packs, "velo", aPack(t, "One", 150_000))
	p.hand(layer.Association, "paquerettes", content.Packs, "autre", aPack(t, "Not for us", 99))
	p.hand(layer.Region, "nord", content.Places, "nord", aList(20))
	w.takes("velo here", "nord here")
	w.want("velo", "One")
	w.want("autre", "")
	w.nothingComes()
	if !slices.Equal(w.reads, []string{"tutorials", "places"}) {
		t.Errorf("read again: %v", w.reads)
	}
	items, _ := w.shelves.Places.Items()
	if len(items) != 1 || items[0].Count != 20 || items[0].File != "nord.csv" {
		t.Errorf("%+v", items)
	}
	// After a restart nothing is fetched again.
	w.again()
	w.why, w.left = "not now", 0
	w.takes("velo here", "nord here")
	w.left = 1 << 30

	// The association's pack of the same name takes precedence. When it is withdrawn, the federation's comes back.
	p.hand(layer.Association, "lilas", content.Packs, "velo", aPack(t, "Two", 150_000))
	w.takes("velo here", "nord here")
	w.want("velo", "Two")
	p.hand(layer.Association, "lilas", content.Packs, "velo", nil)
	w.takes("velo here", "nord here")
	w.want("velo", "One")

	// People at the box take precedence.
	w.own("velo", "Ours")
	w.takes("velo own", "nord here")
	p.hand(layer.All, "", content.Packs, "velo", aPack(t, "Three", 99))
	w.takes("velo own", "nord here")
	w.want("velo", "Ours")
	p.hand(layer.All, "", content.Packs, "velo", nil)
	p.hand(layer.Region, "nord", content.Places, "nord", nil)
	w.takes()
	w.want("velo", "Ours")
	if items, _ := w.shelves.Places.Items(); len(items) != 1 || !items[0].Removed || !items[0].Undo {
		t.Errorf("a list that is withdrawn: %+v", items)
	}

	// A pack that was removed at the box comes back only with its next version.
	p.hand(layer.All, "", content.Packs, "four", aPack(t, "Four", 99))
	w.takes("four here")
	p.must(w.shelves.Packs.Remove("four", ""))
	w.takes("four removed")
	p.hand(layer.All, "", content.Packs, "four", aPack(t, "Four B", 99))
	w.takes("four here")
	p.hand(layer.All, "", content.Packs, "four", nil)
	w.takes()
	w.want("four", "")
	w.nothingComes()
}

// TestHandoutsRefused: a file that an import refuses, or that is not what was signed, changes nothing, and the status says why.
func TestHandoutsRefused(t *testing.T) {
	t.Parallel()
	w := newHandoutWorld(t)
	p := w.people
	p.hand(layer.All, "", content.Packs, "velo", aPack(t, "One", 99))
	p.hand(layer.All, "", content.Places, "nord", aList(100))
	w.takes("velo here", "nord here")
	p.hand(layer.All, "", content.Packs, "velo", []byte("no zip"))
	p.hand(layer.All, "", content.Places, "nord", aList(9))
	p.hand(layer.All, "", content.Packs, "media", aPack(t, "A reserved name", 99))
	w.takes(`media failed "media" cannot be a pack's name`, "velo failed velo.zip", "nord failed far fewer places than before")
	w.want("velo", "One")

	// A flipped bit in a chunk.
	p.hand(layer.All, "", content.Packs, "media", nil)
	p.hand(layer.All, "", content.Places, "nord", aList(101))
	p.hand(layer.All, "", content.Packs, "velo", aPack(t, "Two", 99))
	chunks, err := filepath.Glob(filepath.Join(p.Dir, "targets", "layers", "all", "packs", "??", "*"))
	p.must(err)
	flip := func() {
		for _, name := range chunks {
			text, err := os.ReadFile(name)
			p.must(err)
			text[len(text)/3] ^= 1
			p.must(os.WriteFile(name, text, 0o600))
		}
	}
	flip()
	w.takes("velo failed velo of the fleet is refused (damaged): the chunk at 0", "nord here")
	w.want("velo", "One")
	flip()
	w.takes("velo here", "nord here")
	w.want("velo", "Two")

	// An older signed version is not taken.
	old := t.TempDir()
	p.must(os.CopyFS(old, os.DirFS(p.Dir)))
	p.hand(layer.All, "", content.Packs, "velo", nil)
	w.takes("nord here")
	w.member.take(t.Context(), mirror.Folder{FS: os.DirFS(old)}, fleet.Group{Association: "lilas"})
	if f := w.fleet(); !strings.Contains(f.Files, "timestamp.json is refused (older)") {
		t.Errorf("an older repository: %+v", f)
	}
	w.want("velo", "")
	// A hub that has lost its repository removes nothing.
	w.member.take(t.Context(), mirror.Folder{FS: os.DirFS(t.TempDir())}, fleet.Group{Association: "lilas"})
	if items, _ := w.shelves.Places.Items(); len(items) != 1 || items[0].Count != 101 {
		t.Errorf("%+v", items)
	}
}

// TestHandoutsWait: a transfer stops after any chunk when nothing may be fetched, and resumes from there.
func TestHandoutsWait(t *testing.T) {
	t.Parallel()
	w := newHandoutWorld(t)
	w.people.hand(layer.All, "", content.Packs, "velo", aPack(t, "One", 4*content.ChunkSize))
	w.why = "the cap is spent"
	for day := range 6 { // the index, and five chunks
		w.left = 1
		if day > 0 && (!w.handouts.Ready() || w.handouts.Ready()) {
			t.Error("it does not say once that something may be fetched")
		}
		w.left = 1
		if day == 5 {
			w.takes("velo here")
			break
		}
		w.takes("velo waits the cap is spent")
		if got := w.fleet().Handouts[0].Done; got != uint64(max(day-1, 0))*content.ChunkSize {
			t.Errorf("day %d: %d bytes are there", day, got)
		}
		w.again()
		w.left = 0
		w.takes("velo waits the cap is spent")
	}
	w.want("velo", "One")
	if w.handouts.Ready() {
		t.Error("nothing waits any more")
	}
}

// TestHandoutsCut: an import that had ended before a power cut counts, even if its end was not recorded.
func TestHandoutsCut(t *testing.T) {
	t.Parallel()
	w := newHandoutWorld(t)
	p := w.people
	p.hand(layer.All, "", content.Packs, "velo", aPack(t, "One", 99))
	w.takes("velo here")
	file := records.File[[]handouts.Record]{Path: filepath.Join(w.dir, fleetFolder, "handouts.json"), Version: 1}
	was, err := file.Read()
	p.must(err)
	set := func(k handouts.Record) {
		_, err := file.Update(func(all *[]handouts.Record) error { *all = []handouts.Record{k}; return nil })
		p.must(err)
	}
	for _, k := range []handouts.Record{
		{Kind: content.Packs, Name: "velo", Begun: was[0].SHA256, Replaces: handouts.NoEdition},                             // it has ended
		{Kind: content.Packs, Name: "velo", SHA256: "old", Edition: was[0].Edition, Begun: "new", Replaces: was[0].Edition}, // it has not
	} {
		set(k)
		w.again()
		w.takes("velo here")
		if now, err := file.Read(); err != nil || len(now) != 1 || now[0].Begun != "" || now[0].SHA256 != was[0].SHA256 {
			t.Errorf("%+v, %v", now, err)
		}
	}
}

// TestHandoutsBudget: through a hub, a pack is fetched while nobody is online, and takes as many days as the fleet's budget of the
// line requires.
func TestHandoutsBudget(t *testing.T) {
	t.Parallel()
	hub, people := newTestHub(t), newSigner(t)
	w := newMemberWorld(t, hub.listen, filepath.Join(people.Dir, "metadata", "1.root.json"))
	const budget = 1_000_000
	w.box.locked(func() {
		c := *w.box.file
		c.Fleet.Budget, c.Donations = budget, slices.Clone(c.Donations)
		c.Donations[0].Period, c.Donations[0].Cap = "day", 0
		w.box.file, w.box.status.Residents.Sessions = &c, 1
	})
	hub.must(hub.desk.AddAssociation(t.Context(), "ana", "lilas", ""))
	code, err := hub.desk.MakeSticker(t.Context(), "ana", "lilas", time.Now().AddDate(0, 0, 1))
	hub.must(err)
	w.box.setHubs(hubName)
	w.follow()
	hub.must(w.join(hub.bundle(), code))
	w.eventually("the box waits", func() bool { return w.fleet().Stage == "waiting" })
	hub.must(hub.desk.Confirm(t.Context(), "ana", w.fleet().Box, w.fleet().Words))
	w.eventually("the box is connected", func() bool { return w.fleet().Connected })

	const size = 2_000_000
	people.hand(layer.Association, "lilas", content.Packs, "velo", aPack(t, "One", size))
	people.deliver(hub)
	velo := func() (f state.FleetFile) {
		if all := w.fleet().Handouts; len(all) == 1 {
			f = all[0]
		}
		return f
	}
	w.eventually("it waits for residents", func() bool { f := velo(); return f.State == handouts.Waits && f.Why == "residents" && f.Done == 0 })
	w.box.locked(func() { w.box.status.Residents.Sessions = 0 })
	sum, before := uint64(0), uint64(0)
	for day := 1; ; day++ {
		w.eventually("the budget is spent, or it is here", func() bool {
			f := velo()
			return f.State == handouts.Here || f.State == handouts.Waits && strings.Contains(f.Why, "is used up") && f.Done > before
		})
		before = velo().Done
		text, err := os.ReadFile(w.path)
		hub.must(err)
		var booked struct {
			Lines map[string]struct{ Bytes uint64 }
		}
		hub.must(json.Unmarshal(text, &booked))
		n := booked.Lines["fleet\n"+secretTexts[1]].Bytes
		if n > budget {
			t.Errorf("day %d: %d bytes of %d are used", day, n, budget)
		}
		sum += n
		t.Logf("day %d: %d bytes, %+v", day, n, velo())
		if velo().State == handouts.Here {
			if day < 3 {
				t.Errorf("it took %d days", day)
			}
			break
		}
		w.box.locked(func() {
			w.box.status.Donations[0].PeriodStart = w.box.status.Donations[0].PeriodStart.Add(24 * time.Hour)
		})
	}
	if sum > size*5/4 {
		t.Errorf("%d bytes for %d", sum, size)
	}
}
