package update_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"passerelle/appliance/fleet/trust"
	"passerelle/image/update"
	"passerelle/image/update/pack"
	"passerelle/image/update/plan"
)

const (
	slotSize = 6 << 20
	bootAt   = 5 << 20
)

// files is a repository that counts the bytes that are read.
type files struct {
	names map[string][]byte
	read  int64
	spoil func(name string, text []byte) []byte
}

func (f *files) Read(_ context.Context, name string, limit int64) ([]byte, error) {
	text, found := f.names[name]
	if !found {
		return nil, fs.ErrNotExist
	}
	if f.spoil != nil {
		text = f.spoil(name, bytes.Clone(text))
	}
	if int64(len(text)) > limit {
		return nil, errors.New("too long")
	}
	f.read += int64(len(text))
	return text, nil
}

func (f *files) store(folder string, name plan.Hash, text []byte) error {
	f.names[trust.Hashed(folder, name)] = text
	return nil
}

// random returns bytes that do not compress, the same for the same seed.
func random(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, n)
	r.Read(b)
	return b
}

// system holds a slot's parts.
type system struct{ root, boot []byte }

// releases returns two releases. In the second one's root, a piece in the middle is longer, one piece is changed, and the end is new.
func releases() (before, after system) {
	before = system{random(1, 2<<20), random(2, 400<<10)}
	root := bytes.Clone(before.root[:500<<10])
	root = append(root, random(3, 30<<10)...)
	root = append(root, before.root[500<<10:]...)
	for i := 1 << 20; i < 1<<20+100<<10; i += 97 {
		root[i] ^= 0x55
	}
	root = append(root, random(4, 200<<10)...)
	return before, system{root, append(random(5, 90<<10), before.boot[50<<10:]...)}
}

func (s system) slot() *disk {
	d := &disk{bytes: random(99, slotSize)}
	copy(d.bytes, s.root)
	copy(d.bytes[bootAt:], s.boot)
	return d
}

// released returns the repository and the manifest of a release, with deltas from other releases.
func released(t testing.TB, s system, from ...system) (*files, plan.Manifest) {
	t.Helper()
	f := &files{names: map[string][]byte{}}
	var olds []pack.Old
	for _, o := range from {
		olds = append(olds, pack.Old{Root: o.root})
	}
	m, err := pack.Release(plan.Manifest{Version: "2026.12.01", Board: "test", Epoch: 2, Needs: 1}, []pack.Part{
		{Part: plan.Part{Name: plan.RootPart}, From: bytes.NewReader(s.root)},
		{Part: plan.Part{Name: plan.BootPart, At: bootAt}, From: bytes.NewReader(s.boot)},
	}, olds, f.store)
	if err != nil {
		t.Fatal(err)
	}
	return f, m
}

// disk is a slot in memory. With a limit, it fails at that write or sync, and loses what was not synced except for a random part.
type disk struct {
	bytes   []byte
	pending []write
	left    int // writes and syncs before the failure; 0 for no limit
	chance  *rand.Rand
}

type write struct {
	at   int64
	text []byte
}

var errCut = errors.New("power cut")

func (d *disk) ReadAt(b []byte, at int64) (int, error) {
	if at >= int64(len(d.bytes)) {
		return 0, io.EOF
	}
	n := copy(b, d.bytes[at:])
	for _, w := range d.pending { // what is not synced yet
		if from := max(w.at, at); from < min(w.at+int64(len(w.text)), at+int64(n)) {
			copy(b[from-at:n], w.text[from-w.at:])
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (d *disk) step() error {
	if d.left == 0 {
		return nil
	}
	if d.left--; d.left > 0 {
		return nil
	}
	for _, w := range d.pending {
		if n := d.chance.IntN(len(w.text) + 1); d.chance.IntN(2) == 0 {
			copy(d.bytes[w.at:], w.text[:n])
		}
	}
	d.pending = nil
	return errCut
}

func (d *disk) WriteAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > int64(len(d.bytes)) {
		return 0, io.ErrShortWrite
	}
	d.pending = append(d.pending, write{at, bytes.Clone(b)})
	if err := d.step(); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (d *disk) Sync() error {
	if err := d.step(); err != nil {
		return err
	}
	for _, w := range d.pending {
		copy(d.bytes[w.at:], w.text)
	}
	d.pending = nil
	return nil
}

func (d *disk) has(s system) bool {
	return bytes.Equal(d.bytes[:len(s.root)], s.root) && bytes.Equal(d.bytes[bootAt:bootAt+len(s.boot)], s.boot)
}

// bootable tells whether the boot part begins like that of one of the releases.
func (d *disk) bootable(systems ...system) bool {
	for _, s := range systems {
		if bytes.Equal(d.bytes[bootAt:bootAt+4096], s.boot[:4096]) {
			return true
		}
	}
	return false
}

// install installs a release in a slot, as a box does.
func install(f *files, m plan.Manifest, running, into *disk) error {
	i := update.Installation{Manifest: m, From: f, Running: running, Into: into}
	ctx := context.Background()
	if err := i.Load(ctx); err != nil {
		return err
	}
	p, err := i.Plan(ctx)
	if err != nil {
		return err
	}
	return i.Install(ctx, p)
}

// TestInstall: with a delta less is fetched than without, and hardly anything is fetched twice.
func TestInstall(t *testing.T) {
	before, after := releases()
	size := int64(len(after.root) + len(after.boot))
	read := map[bool]int64{}
	for _, delta := range []bool{false, true} {
		var from []system
		if delta {
			from = append(from, before)
		}
		f, m := released(t, after, from...)
		into := &disk{bytes: make([]byte, slotSize)}
		if err := install(f, m, before.slot(), into); err != nil {
			t.Fatal(err)
		}
		if !into.has(after) {
			t.Fatal("the slot has something else")
		}
		read[delta] = f.read
		f.read = 0
		if err := install(f, m, before.slot(), into); err != nil {
			t.Fatal(err)
		}
		if f.read > m.Index.Size+50<<10 {
			t.Errorf("installed once more, %d bytes are fetched", f.read)
		}
	}
	if read[true] >= read[false] || read[false] >= size*2/3 {
		t.Errorf("of %d bytes, %d are fetched with a delta, and %d without", size, read[true], read[false])
	}
}

// TestPowerCuts: a power cut at any write. The slot is not bootable before it is complete, and the next attempt resumes.
func TestPowerCuts(t *testing.T) {
	before, after := releases()
	f, m := released(t, after, before)
	whole := &disk{bytes: random(98, slotSize)}
	if err := install(f, m, before.slot(), whole); err != nil {
		t.Fatal(err)
	}
	once := f.read
	for cut := 1; ; cut++ {
		into := before.slot() // it holds an older release
		into.left, into.chance = cut, rand.New(rand.NewPCG(7, uint64(cut)))
		f.read = 0
		err := install(f, m, before.slot(), into)
		if err == nil {
			if !into.has(after) {
				t.Fatal("the slot has something else")
			}
			if cut < 20 {
				t.Fatalf("only %d writes and syncs: this tests nothing", cut)
			}
			return
		}
		if !errors.Is(err, errCut) {
			t.Fatalf("cut at step %d: %v", cut, err)
		}
		if cut > 2 && into.bootable(before, after) && !into.has(after) {
			t.Fatalf("cut at step %d: the slot can be booted, and is not whole", cut)
		}
		into.left = 0
		if err := install(f, m, before.slot(), into); err != nil {
			t.Fatalf("after a cut at step %d: %v", cut, err)
		}
		if !into.has(after) {
			t.Fatalf("after a cut at step %d: the slot has something else", cut)
		}
		// What was synced is not fetched again, except for what was in progress: this test syncs as rarely as once per root.
		if f.read > 2*once+m.Index.Size {
			t.Errorf("cut at step %d: %d bytes are fetched, and %d without a cut", cut, f.read, once)
		}
	}
}

// TestSpoiled: whatever is wrong with one file, the slot is not bootable, and nothing wrong is accepted.
func TestSpoiled(t *testing.T) {
	before, after := releases()
	f, m := released(t, after, before)
	install(f, m, before.slot(), &disk{bytes: make([]byte, slotSize)})
	spoils := map[string]func([]byte) []byte{
		"one bit":     func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"first bit":   func(b []byte) []byte { b[0] ^= 0x80; return b },
		"shorter":     func(b []byte) []byte { return b[:len(b)-1] },
		"longer":      func(b []byte) []byte { return append(b, 0) },
		"empty":       func([]byte) []byte { return nil },
		"other bytes": func(b []byte) []byte { return random(42, len(b)) },
	}
	for what, spoil := range spoils {
		for n := range 6 {
			seen := 0
			f.spoil = func(name string, text []byte) []byte {
				if seen++; seen-1 == n {
					return spoil(text)
				}
				return text
			}
			into := before.slot()
			err := install(f, m, before.slot(), into)
			if seen <= n {
				t.Errorf("%s of file %d: only %d are fetched", what, n, seen)
			}
			if err == nil && !into.has(after) {
				t.Errorf("%s of file %d: no error, and the slot has something else", what, n)
			}
			if err == nil && n < 2 {
				t.Errorf("%s of index or delta: no error", what)
			}
			if err != nil && n > 1 && into.bootable(before, after) {
				t.Errorf("%s of file %d: the slot can be booted after %v", what, n, err)
			}
		}
	}
}

// TestDamagedRunning: a damaged running slot never yields a wrong byte. What it cannot provide is fetched.
func TestDamagedRunning(t *testing.T) {
	before, after := releases()
	f, m := released(t, after, before)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		running := before.slot()
		for range 1 + r.IntN(50) {
			running.bytes[r.IntN(len(before.root))] ^= byte(1 + r.IntN(255))
		}
		into := &disk{bytes: make([]byte, slotSize)}
		if err := install(f, m, running, into); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !into.has(after) {
			t.Fatalf("seed %d: the slot has something else", seed)
		}
	}
}

// TestDictionaryGoesBad: if a dictionary is damaged between planning and installing (a dying card), the chunks' own files are fetched.
func TestDictionaryGoesBad(t *testing.T) {
	before, after := releases()
	f, m := released(t, after, before)
	running, into := before.slot(), &disk{bytes: make([]byte, slotSize)}
	i := update.Installation{Manifest: m, From: f, Running: running, Into: into}
	if err := i.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := i.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	applies := 0
	for _, s := range p.Steps {
		if s.Kind == plan.Apply {
			applies++
		}
	}
	if applies == 0 {
		t.Fatal("the plan has no run: this tests nothing")
	}
	for n := range running.bytes {
		running.bytes[n] ^= 0xff
	}
	if err := i.Install(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if !into.has(after) {
		t.Fatal("the slot has something else")
	}
}

// forgetful is a card that loses writes. This is found out before the slot can be booted.
type forgetful struct{ *disk }

func (f forgetful) WriteAt(b []byte, at int64) (int, error) {
	if at > 1<<20 && at < 1<<20+300<<10 {
		return len(b), nil
	}
	return f.disk.WriteAt(b, at)
}

func TestForgetfulCard(t *testing.T) {
	before, after := releases()
	f, m := released(t, after)
	into := before.slot()
	i := update.Installation{Manifest: m, From: f, Running: before.slot(), Into: forgetful{into}}
	if err := i.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := i.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Install(t.Context(), p); err == nil || into.bootable(before, after) {
		t.Errorf("error %v, bootable %v", err, into.bootable(before, after))
	}
}

// TestBudget: an installation ends when the budget is used up, and the next one resumes.
func TestBudget(t *testing.T) {
	before, after := releases()
	f, m := released(t, after)
	into := &disk{bytes: make([]byte, slotSize)}
	spent := errors.New("the day's budget is spent")
	total, days := int64(0), 0
	for days = 1; days <= 20; days++ {
		budget := int64(200 << 10)
		i := update.Installation{Manifest: m, From: f, Running: before.slot(), Into: into, Fetched: func(n int64) error {
			if budget -= n; budget < 0 {
				return spent
			}
			total += n
			return nil
		}}
		err := i.Load(t.Context())
		if err == nil {
			var p plan.Plan
			if p, err = i.Plan(t.Context()); err == nil {
				err = i.Install(t.Context(), p)
			}
		}
		into.Sync() // what was written stays
		if err == nil {
			break
		}
		if !errors.Is(err, spent) {
			t.Fatal(err)
		}
	}
	if !into.has(after) || days < 3 {
		t.Fatalf("whole %v after %d days", into.has(after), days)
	}
	f.read = 0
	fresh := &disk{bytes: make([]byte, slotSize)}
	if err := install(f, m, before.slot(), fresh); err != nil {
		t.Fatal(err)
	}
	// Each day fetches the index again, and at most the one chunk that was in progress.
	if most := f.read + int64(days)*(m.Index.Size+plan.MaxChunk); total > most {
		t.Errorf("%d bytes in %d days, and %d at once", total, days, f.read)
	}
}

// TestKept: the files that describe the release are fetched once in two attempts, and every time if they cannot be kept: a full disk
// blocks no update.
func TestKept(t *testing.T) {
	t.Parallel()
	before, after := releases()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "full"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for keep, want := range map[string]int{"kept": 2, "full/kept": 4} {
		f, m := released(t, after, before)
		described := map[string]bool{trust.Hashed(plan.FileFolder, m.Index.SHA256): true, trust.Hashed(plan.FileFolder, m.Deltas[0].SHA256): true}
		fetched := 0
		f.spoil = func(name string, text []byte) []byte {
			if described[name] {
				fetched++
			}
			return text
		}
		into := &disk{bytes: random(8, slotSize)}
		budget := errors.New("the budget is spent")
		left := 3
		for try := range 2 {
			i := &update.Installation{Manifest: m, From: f, Running: before.slot(), Into: into, Keep: filepath.Join(dir, keep)}
			if try == 0 {
				i.Fetched = func(int64) error {
					if left--; left < 0 {
						return budget
					}
					return nil
				}
			}
			err := i.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p, err := i.Plan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := i.Install(t.Context(), p); (err == nil) != (try == 1) || try == 0 && !errors.Is(err, budget) {
				t.Fatalf("attempt %d ends with %v", try, err)
			}
			if try == 1 {
				if err := i.Forget(); err != nil && keep == "kept" {
					t.Error(err)
				}
			}
		}
		if fetched != want || !into.has(after) {
			t.Errorf("with %s, index and delta were fetched %d times, want %d", keep, fetched, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "kept")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("at the end something is kept: %v", err)
	}
}

// countingReader counts the bytes that are read.
type countingReader struct {
	io.ReaderAt
	bytes int
}

func (r *countingReader) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, at)
	r.bytes += n
	return n, err
}

// TestIdentify: a slot's release is found with its bytes read once, even when more releases are offered later.
func TestIdentify(t *testing.T) {
	t.Parallel()
	once := update.Sums{}
	text := bytes.Repeat([]byte("a slot's bytes. "), 1<<12)
	of := func(version string, size int, whole bool) (r update.Release) {
		r.Version, r.Root.Size = version, int64(size)
		if r.Root.SHA256 = sha256.Sum256(text[:min(size, len(text))]); !whole {
			r.Root.SHA256[0] ^= 1
		}
		return r
	}
	short, right, long, beyond := of("1", 1000, false), of("2", 40_000, true), of("3", 60_000, false), of("4", 1<<20, false)
	for _, c := range []struct {
		offered []update.Release
		want    string
		read    int // bytes, with sums
	}{
		{[]update.Release{long, short}, "", 60_000}, {[]update.Release{long, short}, "", 0}, {[]update.Release{right, short, long}, "2", 40_000},
		{[]update.Release{beyond, right}, "2", 0}, {[]update.Release{short}, "", 0}, {nil, "", 0},
	} {
		for _, seen := range []update.Sums{nil, once} {
			in := &countingReader{ReaderAt: bytes.NewReader(text)}
			got, found, err := update.Identify(t.Context(), in, c.offered, seen)
			if err != nil || got.Version != c.want || found != (c.want != "") {
				t.Errorf("%q, %v, %v instead of %q", got.Version, found, err, c.want)
			}
			if seen != nil && in.bytes != c.read {
				t.Errorf("%d bytes read instead of %d", in.bytes, c.read)
			}
		}
	}
}
