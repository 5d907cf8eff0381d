package plan

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
)

func manifest(sizes ...int64) Manifest {
	m := Manifest{Form: Form, Version: "2026.12.01", Board: "raspberry-pi-arm64", Epoch: 5, Needs: 3, Index: File{Size: 100}}
	at := int64(0)
	for i, name := range []string{RootPart, BootPart} {
		m.Parts = append(m.Parts, Part{Name: name, At: at, Size: sizes[i]})
		at += sizes[i] + 1000
	}
	return m
}

func TestFits(t *testing.T) {
	tried := manifest(4000, 4000).ID()
	for _, c := range []struct {
		what string
		r    Running
		fits bool
	}{
		{"as it is", Running{Board: "raspberry-pi-arm64", Epoch: 4, SlotSize: 1 << 20}, true},
		{"once more", Running{Board: "raspberry-pi-arm64", Epoch: 5, SlotSize: 1 << 20}, true},
		{"of an unknown epoch", Running{Board: "raspberry-pi-arm64", SlotSize: 1 << 20}, true},
		{"another board", Running{Board: "pc", Epoch: 4, SlotSize: 1 << 20}, false},
		{"newer", Running{Board: "raspberry-pi-arm64", Epoch: 6, SlotSize: 1 << 20}, false},
		{"too old", Running{Board: "raspberry-pi-arm64", Epoch: 2, SlotSize: 1 << 20}, false},
		{"too small", Running{Board: "raspberry-pi-arm64", Epoch: 4, SlotSize: 5000}, false},
		{"barred", Running{Board: "raspberry-pi-arm64", Epoch: 4, SlotSize: 1 << 20, Barred: []Hash{{2}, tried}}, false},
	} {
		err := manifest(4000, 4000).Fits(c.r)
		if (err == nil) != c.fits || err != nil && !errors.Is(err, ErrNotFor) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// made returns an index of n chunks for two parts, and its manifest.
func made(r *rand.Rand, n int) (Index, Manifest) {
	var x Index
	sizes := [2]int64{}
	for i := range n {
		c := Chunk{Size: uint32(1 + r.IntN(1000)), SHA256: Hash{byte(r.IntN(20)), 1}} // some are equal
		c.Stored = 1 + uint32(r.IntN(1000))
		x = append(x, c)
		sizes[min(i*2/n, 1)] += int64(c.Size)
	}
	return x, manifest(sizes[0], sizes[1])
}

// Every chunk is in place in the end, after one step at most. A plan fetches no more than the chunks that neither slot has.
func TestMake(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		x, _ := made(r, 2+r.IntN(40))
		have := Have{There: make([]bool, len(x)), Running: map[Hash]int64{}}
		for i := range x {
			have.There[i] = r.IntN(3) == 0
			if r.IntN(4) == 0 {
				have.Running[x[i].SHA256] = int64(r.IntN(1 << 20))
			}
		}
		for i := 0; i < len(x); i++ {
			if n := r.IntN(6); n > 0 && i+n <= len(x) {
				have.Delta = append(have.Delta, Run{First: uint32(i), Count: uint32(n), File: File{Size: int64(1 + r.IntN(2000))}})
				i += n
			}
		}
		p := Make(x, have)
		covered := make([]int, len(x))
		bytes, files := int64(0), 0
		for _, s := range p.Steps {
			for i := s.First; i < s.First+s.Count; i++ {
				covered[i]++
			}
			switch s.Kind {
			case Copy:
				if at, found := have.Running[x[s.First].SHA256]; !found || at != s.From || s.Count != 1 {
					t.Fatalf("seed %d: a copy of what is not there", seed)
				}
			case Fetch:
				bytes += int64(x[s.First].Stored)
				files++
			case Apply:
				bytes += s.Run.Size
				files++
			}
		}
		alone, kept := int64(0), 0
		for i, n := range covered {
			_, running := have.Running[x[i].SHA256]
			if n > 1 || n == 0 && !have.There[i] {
				t.Fatalf("seed %d: chunk %d has %d steps", seed, i, n)
			}
			if n == 0 {
				kept++
			}
			if !have.There[i] && !running {
				alone += int64(x[i].Stored)
			}
		}
		if p.Bytes != bytes || p.Files != files || p.Keep != kept || bytes > alone {
			t.Fatalf("seed %d: plan %d bytes %d files %d kept, is %d %d %d; alone %d", seed, p.Bytes, p.Files, p.Keep, bytes, files, kept, alone)
		}
	}
}

func TestIndexAndRuns(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		x, m := made(r, 2+r.IntN(40))
		back, err := ParseIndex(x.Format(), m)
		if err != nil || !reflect.DeepEqual(back, x) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		end := int64(0)
		for i, p := range x.Places(m) {
			part := m.Parts[0]
			if p.At >= m.Parts[1].At {
				part = m.Parts[1]
			}
			if p.At < end || p.At < part.At || p.At+int64(p.Size) > part.At+part.Size || p.Chunk != x[i] {
				t.Fatalf("seed %d: chunk %d at %d", seed, i, p.At)
			}
			end = p.At + int64(p.Size)
		}
		runs := Runs{{First: 0, Count: 1, DictAt: 7, DictSize: 9, File: File{Size: 3, SHA256: Hash{4}}}, {First: 1, Count: 1, File: File{Size: 8}}}
		if back, err := ParseRuns(runs.Format(), x); err != nil || !reflect.DeepEqual(back, runs) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		// One byte less is always refused.
		if _, err := ParseIndex(x.Format()[:len(x.Format())-1], m); err == nil {
			t.Fatal("half an index is read")
		}
		if _, err := ParseIndex(x[:len(x)-1].Format(), m); err == nil {
			t.Fatal("an index without its last chunk is read")
		}
	}
}

// A change moves only the borders of its neighbours: that is the purpose of content-defined chunks.
func TestCut(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	text := make([]byte, 4<<20)
	random.Read(text)
	cut := func(text []byte) map[Hash]bool {
		chunks, rest := map[Hash]bool{}, text
		err := Cut(bytes.NewReader(text), func(c Chunk, at int64, data []byte) error {
			if c.Size > MaxChunk || int(c.Size) != len(data) || !bytes.Equal(data, rest[:c.Size]) || c.SHA256 != Sum(data) {
				t.Fatalf("chunk of %d bytes at %d", c.Size, at)
			}
			chunks[c.SHA256], rest = true, rest[c.Size:]
			return nil
		})
		if err != nil || len(rest) > 0 {
			t.Fatalf("%v, %d bytes left", err, len(rest))
		}
		return chunks
	}
	before := cut(text)
	after := cut(append(append(bytes.Clone(text[:1<<20]), "seven more"...), text[1<<20:]...))
	differ := 0
	for h := range after {
		if !before[h] {
			differ++
		}
	}
	if len(before) < 20 || differ > 3 {
		t.Errorf("of %d chunks, %d are new after an insertion", len(after), differ)
	}
}

func FuzzManifest(f *testing.F) {
	text, err := manifest(4000, 5000).Format()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(bytes.Replace(text, []byte("4000"), []byte("-1"), 1))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseManifest(text)
		if err != nil {
			return
		}
		again, err := m.Format()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseManifest(again); err != nil || !reflect.DeepEqual(back, m) {
			t.Fatalf("%v: %+v and %+v", err, m, back)
		}
		if m.Size() <= 0 {
			t.Fatalf("size %d", m.Size())
		}
	})
}

func FuzzIndex(f *testing.F) {
	x, m := made(rand.New(rand.NewPCG(1, 1)), 4)
	runs := Runs{{First: 1, Count: 2, DictSize: 9, File: File{Size: 3}}}
	f.Add(m.Parts[0].Size, m.Parts[1].Size, x.Format(), runs.Format())
	f.Fuzz(func(t *testing.T, root, boot int64, index, delta []byte) {
		m := manifest(root, boot)
		if m.check() != nil {
			return
		}
		x, err := ParseIndex(index, m)
		if err != nil {
			return
		}
		if !bytes.Equal(x.Format(), index) {
			t.Fatal("another index")
		}
		places := x.Places(m)
		if last := places[len(places)-1]; last.At+int64(last.Size) != m.Size() {
			t.Fatalf("the last chunk ends at %d of %d", last.At+int64(last.Size), m.Size())
		}
		if runs, err := ParseRuns(delta, x); err == nil {
			Make(x, Have{There: make([]bool, len(x)), Delta: runs})
		}
	})
}

// What does not decompress is an error. What does has the expected size.
func FuzzExpand(f *testing.F) {
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0, 1, 0, 0}, []byte("dict"), 10)
	f.Fuzz(func(t *testing.T, text, dict []byte, size int) {
		if size < 0 || size > MaxChunk {
			return
		}
		if raw, err := Expand(text, dict, size); err == nil && len(raw) != size {
			t.Fatalf("%d bytes instead of %d", len(raw), size)
		}
	})
}
