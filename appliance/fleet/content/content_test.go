package content

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance/fleet/mirror"
	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/trust"
)

// people are the signers: a federation, and the technicians of two associations.
type people struct {
	*testing.T
	repository.Repository
	release, hub []repository.Key
	associations map[string]repository.Key
}

func newPeople(t *testing.T) *people {
	p := &people{T: t, Repository: repository.Repository{Dir: t.TempDir()}, associations: map[string]repository.Key{}}
	var root []repository.Key
	keys := repository.Keys{}
	for range 3 {
		for _, r := range []struct {
			private *[]repository.Key
			public  *[]repository.PublicKey
		}{{&root, &keys.Root}, {&p.release, &keys.Release}, {&p.hub, &keys.Hub}} {
			key := p.key()
			*r.private, *r.public = append(*r.private, key), append(*r.public, key.PublicKey)
		}
	}
	p.must(p.StageRoot(keys, time.Now()))
	p.sign(repository.Root, root[:2]...)
	p.must(p.Change(time.Now(), func(*metadata.TargetsType) error { return nil }))
	for _, name := range []string{"lilas", "paquerettes"} {
		key := p.key()
		p.associations[name] = key
		p.must(p.Delegate(name, &key.PublicKey, []string{folderOf(name)}, time.Now()))
	}
	p.sign(repository.Targets, p.release[:2]...)
	p.must(p.Seal(p.hub[0], time.Now()))
	return p
}

func (p *people) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *people) key() repository.Key {
	p.Helper()
	key, err := repository.NewKey()
	p.must(err)
	return key
}

func (p *people) sign(role string, keys ...repository.Key) {
	p.Helper()
	for _, key := range keys {
		p.must(p.Sign(role, key))
	}
	_, err := p.Publish()
	p.must(err)
}

// add has an association's technician sign a file of any folder, and seals the repository.
func (p *people) add(role, folder, name string, file []byte, change func(*Summary)) {
	p.Helper()
	at, target, s, err := Stage(p, folder, name, bytes.NewReader(file))
	p.must(err)
	change(&s)
	text, err := json.Marshal(s)
	p.must(err)
	target.Custom = (*json.RawMessage)(&text)
	p.must(p.ChangeOf(role, time.Now(), func(t *metadata.TargetsType) error {
		t.Targets[at] = target
		return nil
	}))
	p.sign(role, p.associations[role])
	p.must(p.Seal(p.hub[0], time.Now()))
}

// fresh returns the trust of a new box, refreshed.
func (p *people) fresh(from trust.Source) *trust.Trust {
	p.Helper()
	root, err := os.ReadFile(filepath.Join(p.Dir, "metadata", "1.root.json"))
	p.must(err)
	box, err := trust.Open(trust.Options{Dir: p.TempDir(), Root: root, Clock: trust.Clock{Now: func() (time.Time, bool) { return time.Now(), true }}})
	p.must(err)
	p.must(box.Refresh(p.Context(), from))
	return box
}

func (p *people) list(association string) []File {
	p.Helper()
	from := p.source()
	all, err := List(p.Context(), p.fresh(from), from, folderOf(association), "association "+association)
	p.must(err)
	return all
}

func (p *people) source() *counting {
	return &counting{Source: mirror.Folder{FS: os.DirFS(p.Dir)}, reads: map[string]int{}}
}

// counting counts reads, and may change what is read.
type counting struct {
	trust.Source
	reads  map[string]int
	change func(name string, text []byte) []byte
}

func (c *counting) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	c.reads[name]++
	text, err := c.Source.Read(ctx, name, limit)
	if c.change != nil {
		text = c.change(name, text)
	}
	return text, err
}

func same(*Summary) {}

func noise(n int) []byte {
	file := make([]byte, n)
	rand.NewChaCha8([32]byte{3}).Read(file)
	return file
}

func folderOf(association string) string { return "layers/association/" + association }

var lilas = Folder(folderOf("lilas"), Packs)

// TestCuts: a fetch is cut off before each chunk, and the cut may damage the last chunk that was written. The file is complete in the
// end, and each cut causes at most one chunk to be fetched twice.
func TestCuts(t *testing.T) {
	t.Parallel()
	p, want := newPeople(t), noise(5*ChunkSize+1234)
	p.add("lilas", lilas, "velo", want, same)
	f := p.list("lilas")[0]
	if f.Err != nil || f.Size != int64(len(want)) || f.Name != "velo" || f.Kind != Packs {
		t.Fatalf("%+v", f)
	}
	stopped := errors.New("stopped")
	for cut := int64(0); cut <= f.Size; cut += ChunkSize {
		for _, torn := range []bool{false, true} {
			from, to := p.source(), filepath.Join(t.TempDir(), "velo.zip")
			err := f.Fetch(t.Context(), from, to, func(done int64) error {
				if done >= cut {
					return stopped
				}
				return nil
			})
			if !errors.Is(err, stopped) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			there, err := os.ReadFile(to)
			if cut > 0 && (err != nil || int64(len(there)) != cut) {
				t.Fatalf("cut at %d: %d bytes are there, %v", cut, len(there), err)
			}
			if torn && cut > 0 { // only half of the last sector was written
				there[cut-7] ^= 1
				p.must(os.WriteFile(to, there[:cut-3], 0o600))
			}
			p.must(f.Fetch(t.Context(), from, to, func(int64) error { return nil }))
			if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, want) {
				t.Errorf("cut at %d: it is another file, %v", cut, err)
			}
			twice := 0
			for name, n := range from.reads {
				if n > 2 {
					t.Errorf("cut at %d: %s was fetched %d times", cut, name, n)
				}
				twice += n - 1
			}
			if most := map[bool]int{false: 0, true: 1}[torn]; twice > most {
				t.Errorf("cut at %d: %d files were fetched twice", cut, twice)
			}
		}
	}
}

// TestNewVersion: if an older version of a file is there, only the chunks that differ in the next version are fetched.
func TestNewVersion(t *testing.T) {
	t.Parallel()
	p, file := newPeople(t), noise(6*ChunkSize)
	p.add("lilas", lilas, "velo", file, same)
	to := filepath.Join(t.TempDir(), "velo.zip")
	from := p.source()
	p.must(p.list("lilas")[0].Fetch(t.Context(), from, to, func(int64) error { return nil }))
	next := slices.Clone(file[:5*ChunkSize+9])
	next[2*ChunkSize] ^= 1
	p.add("lilas", lilas, "velo", next, same)
	from = p.source()
	p.must(p.list("lilas")[0].Fetch(t.Context(), from, to, func(int64) error { return nil }))
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, next) {
		t.Errorf("it is another file, %v", err)
	}
	if len(from.reads) != 2 { // the index and one chunk: the last chunk is a prefix of what is there
		t.Errorf("fetched: %v", from.reads)
	}
}

// TestDamaged: one wrong bit in the index, a chunk or the whole file is refused. The file is complete once the source is right.
func TestDamaged(t *testing.T) {
	t.Parallel()
	p, file := newPeople(t), noise(3*ChunkSize)
	p.add("lilas", lilas, "velo", file, same)
	f := p.list("lilas")[0]
	flip := func(text []byte) []byte {
		text = slices.Clone(text)
		text[len(text)/2] ^= 4
		return text
	}
	for what, change := range map[string]func(name string, text []byte) []byte{
		"index": func(name string, text []byte) []byte {
			if strings.HasSuffix(name, ".velo") {
				return flip(text)
			}
			return text
		},
		"chunk": func(name string, text []byte) []byte {
			if !strings.HasSuffix(name, ".velo") {
				return flip(text)
			}
			return text
		},
		"long": func(name string, text []byte) []byte { return append(slices.Clone(text), 0) },
		"none": func(string, []byte) []byte { return nil },
	} {
		from, to := p.source(), filepath.Join(t.TempDir(), "velo.zip")
		from.change = change
		err := f.Fetch(t.Context(), from, to, func(int64) error { return nil })
		if r, ok := errors.AsType[*trust.Refusal](err); !ok || r.Reason != trust.Damaged {
			t.Errorf("%s: %v", what, err)
		}
		from.change = nil
		p.must(f.Fetch(t.Context(), from, to, func(int64) error { return nil }))
	}
	p.add("lilas", lilas, "menteur", file, func(s *Summary) { s.SHA256 = strings.Repeat("0", 64) })
	for _, f := range p.list("lilas") {
		err := f.Fetch(t.Context(), p.source(), filepath.Join(t.TempDir(), f.Name), func(int64) error { return nil })
		if r, ok := errors.AsType[*trust.Refusal](err); (f.Name == "menteur") != (ok && r.Reason == trust.Damaged) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// TestOthers: what an association signs in the folder of another one, or of the fleet, is ignored. A file that no box can take is
// listed with the reason. A delegated role that has signed nothing yet has no files.
func TestOthers(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	if all := p.list("lilas"); len(all) != 0 {
		t.Errorf("before anybody signs: %v", all)
	}
	file := noise(ChunkSize + 1)
	p.add("lilas", Folder(folderOf("paquerettes"), Packs), "intrus", file, same)
	p.add("lilas", Folder("layers/all", Places), "intrus", file, same)
	p.add("lilas", lilas, "grand", file, func(s *Summary) { s.Size = MaxSize + 1 })
	p.add("lilas", lilas, "autre", file, func(s *Summary) { s.Size *= 3 })
	p.add("lilas", lilas, "Nom", file, same)
	p.add("paquerettes", Folder(folderOf("paquerettes"), Places), "sud", file, same)
	var got []string
	for _, f := range append(p.list("lilas"), p.list("paquerettes")...) {
		got = append(got, fmt.Sprint(f, ": ", f.Err))
	}
	want := []string{
		`Nom of association lilas: "Nom": a name has lower-case letters, digits and single -, 40 at most`,
		"autre of association lilas: its index is not one of its size",
		"grand of association lilas: it has 1000000001 bytes, and at most 1000000000 are taken",
		"sud of association paquerettes: <nil>",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	from := p.source()
	if all, err := List(t.Context(), p.fresh(from), from, "layers/all", "the fleet"); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestFull: a full disk is reported, and so is a lack of room.
func TestFull(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	p.add("lilas", lilas, "velo", noise(ChunkSize+1), same)
	f := p.list("lilas")[0]
	from := p.source()
	dir := t.TempDir()
	p.must(f.Fetch(t.Context(), from, filepath.Join(dir, "first"), func(int64) error { return nil }))
	p.must(os.Symlink("/dev/full", filepath.Join(dir, "full")))
	if err := f.Fetch(t.Context(), from, filepath.Join(dir, "full"), func(int64) error { return nil }); err == nil {
		t.Error("a full disk takes a file")
	}
	disk, err := os.Open(dir)
	p.must(err)
	defer disk.Close()
	if err := room(disk, 1<<60); err == nil || !strings.Contains(err.Error(), "MB free") {
		t.Errorf("room for 1 EB: %v", err)
	}
}
