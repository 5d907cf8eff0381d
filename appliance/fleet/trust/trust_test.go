package trust_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"passerelle/appliance/fleet/mirror"
	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/trust"
)

// start is when the world's first root is signed.
var start = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// world is a repository with the keys of its signers.
type world struct {
	t                    *testing.T
	repository           repository.Repository
	root, release, hub   []repository.Key
	association, another repository.Key
	now                  time.Time
}

func newKey(t *testing.T) repository.Key {
	t.Helper()
	k, err := repository.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, repository: repository.Repository{Dir: t.TempDir()}, now: start}
	for range 3 {
		w.root = append(w.root, newKey(t))
		w.release = append(w.release, newKey(t))
		w.hub = append(w.hub, newKey(t))
	}
	w.association, w.another = newKey(t), newKey(t)
	w.rotate(w.root[:2]...)
	w.publish("os/arm64/1/manifest.json", "first")
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// rotate publishes a root with the world's keys, signed by the given ones.
func (w *world) rotate(by ...repository.Key) {
	w.t.Helper()
	w.must(w.repository.StageRoot(repository.Keys{Root: public(w.root), Release: public(w.release), Hub: public(w.hub)}, w.now))
	w.sign(repository.Root, by...)
}

func public(keys []repository.Key) (out []repository.PublicKey) {
	for _, k := range keys {
		out = append(out, k.PublicKey)
	}
	return out
}

// sign signs a role's staged file and publishes it.
func (w *world) sign(role string, by ...repository.Key) {
	w.t.Helper()
	for _, k := range by {
		w.must(w.repository.Sign(role, k))
	}
	published, err := w.repository.Publish()
	w.must(err)
	if len(published) != 1 || published[0] != role {
		w.t.Fatalf("%v are published instead of %s", published, role)
	}
}

// publish adds a release, signed by two keys of three and sealed by the first hub.
func (w *world) publish(name, text string) {
	w.t.Helper()
	file, err := w.repository.Add(name, []byte(text))
	w.must(err)
	w.must(w.repository.Change(w.now, func(t *metadata.TargetsType) error { t.Targets[name] = file; return nil }))
	w.sign(repository.Targets, w.release[0], w.release[2])
	w.seal(0)
}

func (w *world) seal(hub int) {
	w.t.Helper()
	w.must(w.repository.Seal(w.hub[hub], w.now))
}

// box is a box that was built with the first root.
type box struct {
	dir     string
	built   []byte
	trusted bool
}

func (w *world) box() *box {
	w.t.Helper()
	root, err := os.ReadFile(filepath.Join(w.repository.Dir, "metadata/1.root.json"))
	w.must(err)
	return &box{dir: w.t.TempDir(), built: root, trusted: true}
}

// refresh does what a box does with a repository: it refreshes the trust, and returns the text of a target.
func (b *box) refresh(w *world, from trust.Source, name string) (string, error) {
	w.t.Helper()
	return b.open(w, from, name, false)
}

func (b *box) open(w *world, from trust.Source, name string, expired bool) (string, error) {
	w.t.Helper()
	t, err := trust.Open(trust.Options{Dir: b.dir, Root: b.built, Expired: expired, Clock: trust.Clock{
		Built: start, Now: func() (time.Time, bool) { return w.now, b.trusted },
	}})
	w.must(err)
	ctx := context.Background()
	if err := t.Refresh(ctx, from); err != nil {
		return "", err
	}
	target, err := t.Find(ctx, from, name)
	if err != nil {
		return "", err
	}
	text, err := trust.Fetch(ctx, from, target, 1<<20)
	return string(text), err
}

func (w *world) source() trust.Source { return mirror.Folder{FS: os.DirFS(w.repository.Dir)} }

// copied returns a copy of the repository as it is now.
func (w *world) copied() trust.Source {
	w.t.Helper()
	dir := w.t.TempDir()
	w.must(os.CopyFS(dir, os.DirFS(w.repository.Dir)))
	return mirror.Folder{FS: os.DirFS(dir)}
}

func refused(t *testing.T, err error, reason trust.Reason) {
	t.Helper()
	var r *trust.Refusal
	if !errors.As(err, &r) || r.Reason != reason {
		t.Errorf("the error is %v, instead of a refusal because it is %s", err, reason)
	}
}

func (w *world) reads(b *box, from trust.Source, name, want string) {
	w.t.Helper()
	if text, err := b.refresh(w, from, name); err != nil || text != want {
		w.t.Errorf("%s: %q, %v", name, text, err)
	}
}

func TestReleases(t *testing.T) {
	w := newWorld(t)
	b := w.box()
	w.reads(b, w.source(), "os/arm64/1/manifest.json", "first")
	w.now = w.now.Add(day)
	w.publish("os/arm64/2/manifest.json", "second")
	w.reads(b, w.source(), "os/arm64/2/manifest.json", "second")
	w.reads(b, w.source(), "os/arm64/1/manifest.json", "first")
	_, err := b.refresh(w, w.source(), "os/arm64/3/manifest.json")
	refused(t, err, trust.Missing)
}

// A thief has one key of each kind, and signs with it whatever it may sign, and more.
func TestStolenKeys(t *testing.T) {
	for name, thief := range map[string]func(w *world) repository.Key{
		"a root key":           func(w *world) repository.Key { return w.root[0] },
		"a release key":        func(w *world) repository.Key { return w.release[1] },
		"a hub's key":          func(w *world) repository.Key { return w.hub[2] },
		"an association's key": func(w *world) repository.Key { return w.association },
		"nobody's key":         func(w *world) repository.Key { return w.another },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.delegate()
			honest := w.copied()
			key := thief(w)
			for role, forge := range map[string]func(){
				"targets": func() { forgeTargets(w, key) },
				"root":    func() { forgeRoot(w, key) },
			} {
				b := w.box()
				w.reads(b, honest, "os/arm64/1/manifest.json", "first")
				forge()
				_, err := b.refresh(w, w.source(), "os/arm64/1/manifest.json")
				refused(t, err, trust.Unsigned)
				if t.Failed() {
					t.Fatalf("forged %s", role)
				}
				w.must(os.RemoveAll(w.repository.Dir))
				w.must(os.CopyFS(w.repository.Dir, honest.(mirror.Folder).FS))
			}
		})
	}
}

// forgeTargets publishes another first release, signed by one key. The thief also has access to a hub, which seals it.
func forgeTargets(w *world, key repository.Key) {
	w.t.Helper()
	w.changeFirst()
	w.force(repository.Targets, 3, key)
	w.must(w.repository.Seal(w.hub[0], w.now.Add(time.Hour)))
}

// forgeRoot publishes a root with the thief's own keys, one of which is the stolen key, and another first release under it.
func forgeRoot(w *world, key repository.Key) {
	w.t.Helper()
	own := []repository.Key{key, newKey(w.t), newKey(w.t)}
	releases := []repository.Key{newKey(w.t), newKey(w.t), newKey(w.t)}
	hub := newKey(w.t)
	w.must(w.repository.StageRoot(repository.Keys{Root: public(own), Release: public(releases), Hub: public([]repository.Key{hub})}, w.now))
	w.force(repository.Root, 2, own...)
	w.changeFirst()
	w.sign(repository.Targets, releases[:2]...)
	w.must(w.repository.Seal(hub, w.now.Add(time.Hour)))
}

// changeFirst stages targets with another text for the first release.
func (w *world) changeFirst() {
	w.t.Helper()
	file, err := w.repository.Add("os/arm64/1/manifest.json", []byte("forged"))
	w.must(err)
	w.must(w.repository.Change(w.now, func(t *metadata.TargetsType) error {
		t.Targets["os/arm64/1/manifest.json"] = file
		return nil
	}))
}

// force publishes a staged file with the signatures that these keys may add, whether they suffice or not.
func (w *world) force(role string, version int, keys ...repository.Key) {
	w.t.Helper()
	for _, k := range keys {
		w.repository.Sign(role, k) // a key that may not sign leaves the file unchanged
	}
	staged := filepath.Join(w.repository.Dir, "staged", role+".json")
	text, err := os.ReadFile(staged)
	w.must(err)
	w.must(os.WriteFile(filepath.Join(w.repository.Dir, "metadata", fmt.Sprintf("%d.%s.json", version, role)), text, 0o644))
	w.must(os.Remove(staged))
}

// delegate lets an association publish its own packs and fragments.
func (w *world) delegate() {
	w.t.Helper()
	w.must(w.repository.Delegate("lilas", &w.association.PublicKey, []string{"packs/lilas", "config/lilas"}, w.now))
	w.sign(repository.Targets, w.release[0], w.release[1])
	w.associate("lilas", w.association, "packs/lilas/lessons.zip", "lessons")
}

func (w *world) associate(role string, key repository.Key, name, text string) {
	w.t.Helper()
	file, err := w.repository.Add(name, []byte(text))
	w.must(err)
	w.must(w.repository.ChangeOf(role, w.now, func(t *metadata.TargetsType) error { t.Targets[name] = file; return nil }))
	w.sign(role, key)
	w.seal(1)
}

// An association can sign below its own paths, and nowhere else.
func TestAssociations(t *testing.T) {
	w := newWorld(t)
	w.delegate()
	b := w.box()
	w.reads(b, w.source(), "packs/lilas/lessons.zip", "lessons")
	// Its role lists a release and another association's pack: boxes do not ask it for these.
	w.now = w.now.Add(time.Hour)
	w.associate("lilas", w.association, "os/arm64/9/manifest.json", "not its own")
	_, err := b.refresh(w, w.source(), "os/arm64/9/manifest.json")
	refused(t, err, trust.Missing)
	w.now = w.now.Add(time.Hour)
	w.associate("lilas", w.association, "packs/tilleuls/lessons.zip", "not its own")
	_, err = b.refresh(w, w.source(), "packs/tilleuls/lessons.zip")
	refused(t, err, trust.Missing)
	w.reads(b, w.source(), "packs/lilas/lessons.zip", "lessons")
	// After revocation, what it signed is refused.
	w.must(w.repository.Delegate("lilas", nil, nil, w.now))
	w.sign(repository.Targets, w.release[1], w.release[2])
	w.now = w.now.Add(time.Hour)
	w.seal(0)
	_, err = b.refresh(w, w.source(), "packs/lilas/lessons.zip")
	refused(t, err, trust.Missing)
}

// Lost keys: two of three replace the third, for root and releases. A box that was offline for three such changes follows them.
func TestLostKeys(t *testing.T) {
	w := newWorld(t)
	away := w.box()
	w.reads(away, w.source(), "os/arm64/1/manifest.json", "first")
	for i := range 3 {
		w.now = w.now.Add(100 * day)
		kept := w.root[1:]
		w.root = append(append([]repository.Key(nil), kept...), newKey(t))
		w.release = append(append([]repository.Key(nil), w.release[1:]...), newKey(t))
		w.rotate(kept...)
		w.publish(fmt.Sprintf("os/arm64/%d/manifest.json", i+2), "later")
	}
	w.reads(away, w.source(), "os/arm64/4/manifest.json", "later")
	w.reads(w.box(), w.source(), "os/arm64/4/manifest.json", "later") // a new box with the first root
	w.reads(away, w.source(), "os/arm64/1/manifest.json", "first")
}

// A box that has seen a newer state of the repository refuses an older one, even after a restart.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	old := w.copied()
	w.now = w.now.Add(day)
	w.publish("os/arm64/2/manifest.json", "second")
	b := w.box()
	w.reads(b, w.source(), "os/arm64/2/manifest.json", "second")
	_, err := b.refresh(w, old, "os/arm64/1/manifest.json")
	refused(t, err, trust.Older)
	w.reads(b, w.source(), "os/arm64/2/manifest.json", "second")
	w.reads(w.box(), old, "os/arm64/1/manifest.json", "first") // a box that has seen nothing accepts it until it expires
}

// A hub that signs a new timestamp over an older snapshot (mix and match) is refused by a box that has seen a newer one.
func TestMixAndMatch(t *testing.T) {
	w := newWorld(t)
	old := w.copied()
	w.now = w.now.Add(day)
	w.publish("os/arm64/2/manifest.json", "second")
	b := w.box()
	w.reads(b, w.source(), "os/arm64/2/manifest.json", "second")
	// The hub's key seals the older repository, later.
	dir := t.TempDir()
	w.must(os.CopyFS(dir, old.(mirror.Folder).FS))
	w.now = w.now.Add(day)
	w.must(repository.Repository{Dir: dir}.Seal(w.hub[0], w.now))
	_, err := b.refresh(w, mirror.Folder{FS: os.DirFS(dir)}, "os/arm64/1/manifest.json")
	refused(t, err, trust.Older)
}

// A repository that no hub seals any more is refused once its timestamp expires. Somebody at the box may ignore the expiry, but
// nothing else.
func TestFreeze(t *testing.T) {
	w := newWorld(t)
	frozen := w.copied()
	b := w.box()
	w.reads(b, frozen, "os/arm64/1/manifest.json", "first")
	w.now = w.now.Add(40 * day)
	_, err := b.refresh(w, frozen, "os/arm64/1/manifest.json")
	refused(t, err, trust.Expired)
	if text, err := b.open(w, frozen, "os/arm64/1/manifest.json", true); err != nil || text != "first" {
		t.Errorf("somebody at the box: %q, %v", text, err)
	}
	w.publish("os/arm64/2/manifest.json", "second")
	w.reads(b, w.source(), "os/arm64/2/manifest.json", "second")
	_, err = b.open(w, frozen, "os/arm64/1/manifest.json", true)
	refused(t, err, trust.Older)
	// Years later, with everything expired, the root too.
	w.now = w.now.Add(12 * 365 * day)
	_, err = b.refresh(w, w.source(), "os/arm64/2/manifest.json")
	refused(t, err, trust.Expired)
	if text, err := b.open(w, w.source(), "os/arm64/2/manifest.json", true); err != nil || text != "second" {
		t.Errorf("somebody at the box, years later: %q, %v", text, err)
	}
}

// An untrusted clock neither expires nor revives anything: the last trusted day counts.
func TestClock(t *testing.T) {
	w := newWorld(t)
	b := w.box()
	frozen := w.copied()
	w.now = w.now.Add(40 * day)
	_, err := b.refresh(w, frozen, "os/arm64/1/manifest.json")
	refused(t, err, trust.Expired)
	// After a power cut the clock starts at 1970, and nothing has set it.
	b.trusted = false
	w.now = time.Unix(0, 0)
	_, err = b.refresh(w, frozen, "os/arm64/1/manifest.json")
	refused(t, err, trust.Expired)
	// A box that has never had a trusted clock uses the build time.
	fresh := w.box()
	fresh.trusted = false
	w.now = start.Add(1000 * day)
	w.reads(fresh, frozen, "os/arm64/1/manifest.json", "first")
}

// A stolen hub key signs versions far in the future. Once the root revokes it, boxes that accepted them recover.
func TestFastForward(t *testing.T) {
	w := newWorld(t)
	b := w.box()
	w.reads(b, w.source(), "os/arm64/1/manifest.json", "first")
	honest := w.copied()
	w.must(w.repository.Seal(w.hub[2], start.Add(1e5*day)))
	w.reads(b, w.source(), "os/arm64/1/manifest.json", "first")
	w.must(os.RemoveAll(w.repository.Dir))
	w.must(os.CopyFS(w.repository.Dir, honest.(mirror.Folder).FS))
	w.now = w.now.Add(day)
	w.publish("os/arm64/2/manifest.json", "second")
	_, err := b.refresh(w, w.source(), "os/arm64/2/manifest.json")
	refused(t, err, trust.Older)
	w.hub = w.hub[:2]
	w.rotate(w.root[1:]...)
	w.now = w.now.Add(day)
	w.seal(1)
	w.reads(b, w.source(), "os/arm64/2/manifest.json", "second")
}

// A file from the source is missing, too long, or cut off: nothing wrong is read, nothing is lost, and the next source works.
func TestBadSource(t *testing.T) {
	w := newWorld(t)
	w.delegate()
	b := w.box()
	w.reads(b, w.source(), "packs/lilas/lessons.zip", "lessons")
	w.now = w.now.Add(day)
	w.publish("os/arm64/2/manifest.json", "second")
	for what, spoil := range map[string]func(text []byte) ([]byte, error){
		"missing":    func([]byte) ([]byte, error) { return nil, fs.ErrNotExist },
		"broken":     func([]byte) ([]byte, error) { return nil, errors.New("the stick was pulled out") },
		"empty":      func([]byte) ([]byte, error) { return nil, nil },
		"half":       func(text []byte) ([]byte, error) { return text[:len(text)/2], nil },
		"not JSON":   func([]byte) ([]byte, error) { return []byte("<html>"), nil },
		"JSON":       func([]byte) ([]byte, error) { return []byte(`{"signed":{"_type":"timestamp"}}`), nil },
		"null":       func([]byte) ([]byte, error) { return []byte(`{"signatures":null,"signed":null}`), nil },
		"one letter": func(text []byte) ([]byte, error) { text[len(text)*2/3] ^= 1; return text, nil },
	} {
		for _, file := range []string{"timestamp", "snapshot", "targets"} {
			bad := spoiled{w.source(), file, spoil}
			if text, err := b.refresh(w, bad, "os/arm64/2/manifest.json"); err == nil && text != "second" {
				t.Errorf("%s %s: %q", what, file, text)
			} else if err == nil && file == "timestamp" {
				t.Errorf("%s %s: no error", what, file)
			}
		}
	}
	w.reads(b, w.source(), "os/arm64/2/manifest.json", "second")
}

type spoiled struct {
	trust.Source
	file  string
	spoil func([]byte) ([]byte, error)
}

func (s spoiled) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	text, err := s.Source.Read(ctx, name, limit)
	if base := filepath.Base(name); err == nil && (base == s.file+".json" || strings.HasSuffix(base, "."+s.file+".json")) {
		return s.spoil(text)
	}
	return text, err
}

// What the box saved may be damaged on its card. It then begins with the root that it was built with, and never trusts the damaged
// file.
func TestDamagedCard(t *testing.T) {
	w := newWorld(t)
	w.delegate()
	b := w.box()
	w.reads(b, w.source(), "packs/lilas/lessons.zip", "lessons")
	files, err := os.ReadDir(b.dir)
	w.must(err)
	if len(files) < 4 {
		t.Fatalf("only %d files are saved", len(files))
	}
	for _, f := range files {
		for _, text := range []string{"", "{", "\x00\x00\x00", `{"signed":{"_type":"root","version":99},"signatures":[]}`} {
			w.must(os.WriteFile(filepath.Join(b.dir, f.Name()), []byte(text), 0o600))
			w.reads(b, w.source(), "packs/lilas/lessons.zip", "lessons")
		}
	}
}

// Whatever is changed in a signed file, the box reads what was signed, or nothing.
func TestChangedFiles(t *testing.T) {
	w := newWorld(t)
	w.rotate(w.root[1:]...)
	w.seal(1)
	honest := w.source()
	b := w.box()
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 0))
		file := []string{"timestamp", "snapshot", "targets", "2.root"}[r.IntN(4)]
		bad := spoiled{honest, file, func(text []byte) ([]byte, error) {
			for range 1 + r.IntN(4) {
				at, n := r.IntN(len(text)), r.IntN(20)
				switch r.IntN(4) {
				case 0:
					text[at] ^= 1 << r.IntN(8)
				case 1:
					text = append(text[:at:at], text[min(len(text), at+n):]...)
				case 2:
					text = append(text[:at:at], append([]byte(strings.Repeat("[", n)), text[at:]...)...)
				case 3:
					text = append(text[:at:at], append(text[r.IntN(at+1):at:at], text[at:]...)...)
				}
				if len(text) == 0 {
					return text, nil
				}
			}
			return text, nil
		}}
		if seed%20 == 0 {
			b = w.box()
		}
		if text, err := b.refresh(w, bad, "os/arm64/1/manifest.json"); err == nil && text != "first" {
			t.Fatalf("seed %d: %q", seed, text)
		}
	}
	w.reads(b, honest, "os/arm64/1/manifest.json", "first")
}
