package slot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"passerelle/netctl/netlab/labtest"
)

// memory is a card in memory, with only the two copies. If cut is not nil, a write is interrupted: only the sectors of cut are
// written.
type memory struct {
	copies [2][]byte
	cut    func(sector int) bool // tells whether a sector is written
}

// A copy has a number of sectors. A card writes each sector completely, or leaves garbage in it.
const (
	sectorSize = 512
	sectors    = Size / sectorSize
)

var errCut = errors.New("the power was cut")

func (m *memory) at(offset int64) []byte {
	for i, o := range offsets {
		if o == offset {
			return m.copies[i]
		}
	}
	panic(offset)
}

func (m *memory) ReadAt(b []byte, offset int64) (int, error) { return copy(b, m.at(offset)), nil }

func (m *memory) WriteAt(b []byte, offset int64) (int, error) {
	to := m.at(offset)
	if m.cut == nil {
		return copy(to, b), nil
	}
	for i := range sectors {
		if m.cut(i) {
			copy(to[i*sectorSize:(i+1)*sectorSize], b[i*sectorSize:])
		}
	}
	return 0, errCut
}

func (m *memory) clone() *memory {
	return &memory{copies: [2][]byte{bytes.Clone(m.copies[0]), bytes.Clone(m.copies[1])}}
}

func (m *memory) state() (s State, known int) {
	s, _, known = hold(m.copies)
	return s, known
}

func newMemory() *memory { return &memory{copies: [2][]byte{make([]byte, Size), make([]byte, Size)}} }

// script is the boot script: it returns the slot that it boots. Unlike update, it increases the serial by one.
func (m *memory) script() (Name, error) {
	now, next, known := hold(m.copies)
	if known == 0 {
		return A, nil
	}
	s := now.Boot()
	if s == now {
		return s.Slot, nil
	}
	text, err := Format(s)
	if err != nil {
		panic(err)
	}
	_, err = m.WriteAt(text, offsets[next])
	return s.Slot, err
}

// change is a change that a running box makes to the state.
type change struct {
	what string
	make func(State) State
}

// changes are all that a box does while a slot runs.
func changes(running Name) []change {
	return []change{
		{"good", func(s State) State { return s.MarkGood(running) }},
		{"try other", func(s State) State { return s.Choose(running.Other(), 3) }},
		{"try self", func(s State) State { return s.Choose(running, 3) }},
	}
}

// TestPowerCuts checks that, whatever part of a write reaches the card, and whatever is written next, there is a valid copy, it has
// the state before or after that write, and after its tries at the latest the box boots a slot that was good once.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 5))
		m := newMemory()
		if _, err := update(m, func(s State) State { return s }); err != nil {
			t.Fatal(err)
		}
		running := A
		proven := map[Name]bool{A: true}
		for step := range 60 {
			before, _ := m.state()
			if !proven[before.Good] {
				t.Fatalf("seed %d, step %d: %+v", seed, step, before)
			}
			var act func(*memory) error
			after := before.Boot()
			what := "boot"
			if r.IntN(2) == 0 {
				act = func(m *memory) error { _, err := m.script(); return err }
			} else {
				c := changes(running)[r.IntN(3)]
				what, after = c.what, c.make(before)
				act = func(m *memory) error { _, err := update(m, c.make); return err }
			}
			// Every set of sectors that may be written, and garbage in one of them.
			for set := range 1 << sectors {
				torn := m.clone()
				torn.cut = func(i int) bool { return set>>i&1 == 1 }
				err := act(torn)
				if err != nil && !errors.Is(err, errCut) {
					t.Fatal(err)
				}
				if err != nil && set != 1<<sectors-1 && r.IntN(4) == 0 {
					_, next, _ := hold(m.copies)
					torn.copies[next][r.IntN(Size)] ^= 0x5a
				}
				got, known := torn.state()
				got.Serial, before.Serial, after.Serial = 0, 0, 0
				if known == 0 || got != before && got != after {
					t.Fatalf("seed %d, step %d, %s, sectors %08b: %+v is neither %+v nor %+v", seed, step, what, set, got, before, after)
				}
				settles(t, torn)
			}
			if err := act(m); err != nil {
				t.Fatal(err)
			}
			now, _ := m.state()
			if what == "boot" {
				running = now.Slot
			}
			proven[now.Good] = true
		}
	}
}

// settles checks that a box whose slots never prove themselves ends up in the good one, within its tries.
func settles(t *testing.T, torn *memory) {
	t.Helper()
	m := torn.clone()
	start, _ := m.state()
	for boots := 0; ; boots++ {
		booted, err := m.script()
		if err != nil {
			t.Fatal(err)
		}
		now, _ := m.state()
		if now.Good != start.Good {
			t.Fatalf("the good slot of %+v became %s by itself", start, now.Good)
		}
		if booted == start.Good {
			if again, _ := m.script(); again != booted {
				t.Fatalf("%+v: after %s comes %s", start, booted, again)
			}
			return
		}
		if boots > MaxTries {
			t.Fatalf("%+v: slot %s is booted for ever", start, booted)
		}
	}
}

// TestSerials checks that U-Boot, which adds in hexadecimal, gets the same decimal serials during all tries of a slot.
func TestSerials(t *testing.T) {
	t.Parallel()
	m := newMemory()
	for n := range 200 {
		s, err := update(m, func(s State) State { return s.Choose(s.Good.Other(), MaxTries) })
		if err != nil {
			t.Fatal(err)
		}
		serial := fmt.Sprint(s.Serial)
		for !s.Proven() {
			if _, err := m.script(); err != nil {
				t.Fatal(err)
			}
			s, _ = m.state()
			var hexadecimal uint64
			if _, err := fmt.Sscanf(serial, "%x", &hexadecimal); err != nil {
				t.Fatal(err)
			}
			if serial = fmt.Sprintf("%x", hexadecimal+1); serial != fmt.Sprint(s.Serial) {
				t.Fatalf("switch %d: U-Boot counts %s, not %d", n, serial, s.Serial)
			}
		}
	}
	if _, err := Format(State{Serial: maxSerial + 1, Slot: A, Good: A}); err == nil {
		t.Error("a serial has more digits than U-Boot can count")
	}
}

// TestTransitions follows the states of a box through its life.
func TestTransitions(t *testing.T) {
	t.Parallel()
	s := initial
	for _, step := range []struct {
		what string
		make func(State) State
		want State
	}{
		{"boot", State.Boot, State{Slot: A, Good: A}},
		{"good", func(s State) State { return s.MarkGood(A) }, State{Slot: A, Good: A}},
		{"try b", func(s State) State { return s.Choose(B, 2) }, State{Slot: B, Good: A, Tries: 2}},
		{"good comes too late", func(s State) State { return s.MarkGood(A) }, State{Slot: B, Good: A, Tries: 2}},
		{"boot", State.Boot, State{Serial: 1, Slot: B, Good: A, Tries: 1}},
		{"boot", State.Boot, State{Serial: 2, Slot: B, Good: A}},
		{"boot", State.Boot, State{Serial: 3, Slot: A, Good: A, Failed: B}},
		{"boot", State.Boot, State{Serial: 3, Slot: A, Good: A, Failed: B}},
		{"try b", func(s State) State { return s.Choose(B, 3) }, State{Serial: 3, Slot: B, Good: A, Tries: 3}},
		{"boot", State.Boot, State{Serial: 4, Slot: B, Good: A, Tries: 2}},
		{"good", func(s State) State { return s.MarkGood(B) }, State{Serial: 4, Slot: B, Good: B}},
		{"back", func(s State) State { return s.Choose(A, 3) }, State{Serial: 4, Slot: A, Good: B, Tries: 3}},
		{"no, stay", func(s State) State { return s.Choose(B, 3) }, State{Serial: 4, Slot: B, Good: B}},
	} {
		if s = step.make(s); s != step.want {
			t.Fatalf("%s: %+v, want %+v", step.what, s, step.want)
		}
	}
}

// golden is the start of a copy as mkenvimage writes it; the rest is zeros.
const golden = "\x8f\x92\x50\x90failed=b\x00good=a\x00serial=40\x00slot=a\x00\x00"

// TestFormat checks that a copy is what U-Boot's own tool writes for the same text, and that it is parsed again.
func TestFormat(t *testing.T) {
	t.Parallel()
	s := State{Serial: 40, Slot: A, Good: A, Failed: B}
	got, err := Format(s)
	if err != nil {
		t.Fatal(err)
	}
	if want := append([]byte(golden), make([]byte, Size-len(golden))...); !bytes.Equal(got, want) {
		t.Errorf("%q, want %q", got[:len(golden)], golden)
	}
	for _, s := range []State{s, initial, {Serial: 7, Slot: B, Good: A, Tries: 3}, {Serial: maxSerial, Slot: A, Good: B, Failed: A}} {
		text, err := Format(s)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Parse(text); err != nil || back != s {
			t.Errorf("%+v comes back as %+v, %v", s, back, err)
		}
		// mkenvimage reads lines, and writes U-Boot's format (tools/mkenvimage.c).
		tool, err := exec.LookPath("mkenvimage")
		if err != nil {
			t.Log("without mkenvimage (u-boot-tools) only the golden copy is compared")
			continue
		}
		lines, _, _ := strings.Cut(string(text[crcSize:]), "\x00\x00")
		from := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(from, []byte(strings.ReplaceAll(lines, "\x00", "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(tool, "-p", "0", "-s", "0x1000", "-o", from+".bin", from).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		theirs, err := os.ReadFile(from + ".bin")
		if err != nil || !bytes.Equal(theirs, text) {
			t.Errorf("%+v: mkenvimage writes\n%q, not\n%q: %v", s, theirs[:80], text[:80], err)
		}
	}
	for _, wrong := range []State{
		{}, {Slot: A}, {Slot: A, Good: "c"}, {Slot: A, Good: A, Tries: 1}, {Slot: A, Good: B, Tries: MaxTries + 1},
		{Slot: A, Good: B, Tries: -1}, {Slot: A, Good: A, Failed: "A"},
	} {
		if _, err := Format(wrong); err == nil {
			t.Errorf("%+v can be written", wrong)
		}
	}
}

// sealed returns a copy of a text, with its checksum.
func sealed(text string) []byte {
	c, err := Format(initial)
	if err != nil {
		panic(err)
	}
	clear(c)
	copy(c[crcSize:], text)
	binary.LittleEndian.PutUint32(c, crc32.ChecksumIEEE(c[crcSize:]))
	return c
}

func TestParse(t *testing.T) {
	t.Parallel()
	const fine = "good=a\x00serial=12\x00slot=b\x00tries=2\x00"
	want := State{Serial: 12, Slot: B, Good: A, Tries: 2}
	for text, want := range map[string]State{
		fine + "\x00": want,
		"tries=2\x00slot=b\x00serial=12\x00good=a\x00\x00": want, // in any order
		"bootdelay=0\x00" + fine + "\x00":                  want, // with unknown keys
		fine + "\x00rubbish":                               want,
		// The boot script's export still contains its last number of tries.
		"good=a\x00serial=1\x00slot=a\x00tries=0\x00\x00": {Serial: 1, Slot: A, Good: A},
		"failed=\x00good=a\x00serial=1\x00slot=a\x00\x00": {Serial: 1, Slot: A, Good: A},
	} {
		if got, err := Parse(sealed(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "\x00", "good=a\x00serial=12\x00slot=a\x00" + strings.Repeat("x", Size), "good=a\x00slot=a\x00\x00",
		"good=a\x00serial=c\x00slot=a\x00\x00", "good=a\x00serial=012\x00slot=a\x00\x00", "good=a\x00serial=100000000\x00slot=a\x00\x00",
		"good=a\x00serial=1\x00slot=b\x00\x00", "good=a\x00serial=1\x00slot=b\x00tries=9\x00\x00", "good=a\x00serial=-1\x00slot=a\x00\x00",
		"good=a\x00good=b\x00serial=1\x00slot=a\x00\x00", "good=a\x00serial=1\x00slot\x00\x00", "good=A\x00serial=1\x00slot=a\x00\x00",
	} {
		if got, err := Parse(sealed(text)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, size := range []int{0, 3, 4, Size - 1, Size + 1} {
		if _, err := Parse(make([]byte, size)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	sound := sealed(fine + "\x00")
	for i := range sound {
		sound[i] ^= 1
		if _, err := Parse(sound); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d is another, and nothing is said: %v", i, err)
		}
		sound[i] ^= 1
	}
}

// machine returns the files of a machine, as the kernel shows them, that was started from a card.
func machine(options string, mounts ...string) fstest.MapFS {
	text := ""
	for i, m := range mounts {
		text += fmt.Sprintf("%d 1 %s - ext4 source rw\n", 20+i, m)
	}
	link := func(to string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(to), Mode: os.ModeSymlink | 0o777}
	}
	const card = "sys/devices/platform/soc/mmc/block/mmcblk0"
	return fstest.MapFS{
		"proc/cmdline":                {Data: []byte(options)},
		"proc/self/mountinfo":         {Data: []byte(text)},
		"sys/dev/block/179:0":         link("../../devices/platform/soc/mmc/block/mmcblk0"),
		"sys/dev/block/179:2":         link("../../devices/platform/soc/mmc/block/mmcblk0/mmcblk0p2"),
		"sys/dev/block/179:4":         link("../../devices/platform/soc/mmc/block/mmcblk0/mmcblk0p4"),
		card + "/size":                {Data: []byte("1")},
		card + "/mmcblk0p2/partition": {Data: []byte("2\n")},
		card + "/mmcblk0p4/partition": {Data: []byte("4\n")},
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		root fstest.MapFS
		want Card
		says string // the error
	}{
		"root on the card": {machine("quiet passerelle.slot=b ro\n", "0:22 / /proc rw", "179:2 / / ro"), Card{B, "/dev/mmcblk0"}, ""},
		"root in memory":   {machine("passerelle.slot=a", "0:22 / / ro", "179:4 / /data rw"), Card{A, "/dev/mmcblk0"}, ""},
		"a PC":             {machine("quiet", "179:2 / / rw"), Card{}, ErrNone.Error()},
		"another slot":     {machine("passerelle.slot=c", "179:2 / / rw"), Card{}, "passerelle.slot=c"},
		"no partition":     {machine("passerelle.slot=a", "179:0 / / rw", "0:5 / /data rw"), Card{}, "none of /, /boot/firmware, /data"},
	} {
		got, err := Find(c.root)
		if c.says == "" && (err != nil || got != c.want) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for device, want := range map[string]string{"/dev/mmcblk0": "/dev/mmcblk0p3", "/dev/sda": "/dev/sda3", "/dev/loop12": "/dev/loop12p3"} {
		if got := (Card{A, device}).partition(B); got != want {
			t.Errorf("%s: %s", device, got)
		}
	}
}

// TestCard uses a file in place of the card.
func TestCard(t *testing.T) {
	t.Parallel()
	c := Card{A, filepath.Join(t.TempDir(), "card0")}
	if _, err := c.Update(State.Boot); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a card that is not there: %v", err)
	}
	if err := os.WriteFile(c.Device, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, copies, err := c.Read(); s != initial || copies != 0 || err != nil {
		t.Errorf("a new card has %+v, %d copies, %v", s, copies, err)
	}
	for n := range 3 {
		s, err := c.Update(func(s State) State { return s.Choose(B, 1+n) })
		if err != nil || s != (State{Serial: uint32(10 * (n + 1)), Slot: B, Good: A, Tries: 1 + n}) {
			t.Fatalf("%+v, %v", s, err)
		}
		if back, copies, err := c.Read(); back != s || copies != min(n+1, 2) || err != nil {
			t.Errorf("%+v, %d copies, %v", back, copies, err)
		}
	}
	before, err := os.ReadFile(c.Device)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Update(func(s State) State { return s.MarkGood(A) }); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(c.Device); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a state that is the same is written: %v", err)
	}
	for name, content := range map[Name][]byte{A: append(make([]byte, 60<<10), 1), B: make([]byte, 100)} {
		if err := os.WriteFile(c.partition(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if empty, err := c.Empty(name); err != nil || empty != (name == B) {
			t.Errorf("slot %s is empty: %t, %v", name, empty, err)
		}
	}
}

func TestNote(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "slots", "state.json")
	note := NoteOf(B, State{Serial: 7, Slot: B, Good: A, Tries: 2})
	if err := note.Write(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := machine("passerelle.slot=b")
	if n, err := ReadNote(m); err == nil || n.Running != B || n.Proven() {
		t.Errorf("without a note: %+v, %v", n, err)
	}
	m[NotePath[1:]] = &fstest.MapFile{Data: text}
	if n, err := ReadNote(m); err != nil || n != note || n.Proven() {
		t.Errorf("%s", cmp.Diff(note, n))
	}
	m["proc/cmdline"].Data = []byte("passerelle.slot=a")
	if n, err := ReadNote(m); err == nil || n.Proven() {
		t.Errorf("a note of another slot counts: %+v", n)
	}
	m["proc/cmdline"].Data = nil
	if _, err := ReadNote(m); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}

// FuzzParse checks that Parse either rejects a copy or returns a state that is written as it was read.
func FuzzParse(f *testing.F) {
	f.Add(golden[crcSize:])
	f.Add("good=a\x00serial=12\x00slot=b\x00tries=2\x00\x00")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > Size-crcSize {
			text = text[:Size-crcSize]
		}
		s, err := Parse(sealed(text))
		if err != nil {
			if !errors.Is(err, ErrDamaged) || s != (State{}) {
				t.Errorf("%+v, %v", s, err)
			}
			return
		}
		again, err := Format(s)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Parse(again); err != nil || back != s {
			t.Errorf("%+v comes back as %+v, %v", s, back, err)
		}
	})
}

// TestBlockDevice checks that the state is on a real block device when Update returns, and that nothing else is written.
func TestBlockDevice(t *testing.T) {
	labtest.Root(t, "losetup")
	file := filepath.Join(t.TempDir(), "card")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 8<<20)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	c := Card{A, strings.TrimSpace(string(out))}
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", c.Device).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
	})
	for n := range 3 {
		if _, err := c.Update(func(s State) State { return s.Choose(B, 1+n) }); err != nil {
			t.Fatal(err)
		}
		written, err := os.ReadFile(file) // because of O_SYNC, the file below the device has it at once
		if err != nil {
			t.Fatal(err)
		}
		var copies [2][]byte
		for i, at := range offsets {
			copies[i] = written[at : at+Size]
		}
		want := State{Serial: uint32(10 * (n + 1)), Slot: B, Good: A, Tries: 1 + n}
		if s, _, _ := hold(copies); s != want {
			t.Errorf("the card has %+v, want %+v", s, want)
		}
		for i := range written {
			within := func(at int64) bool { return int64(i) >= at && int64(i) < at+Size }
			if written[i] != 0 && !within(offsets[0]) && !within(offsets[1]) {
				t.Fatalf("byte %d was written", i)
			}
		}
	}
}

// TestReplace checks that the failure of a slot's content is forgotten with the content, and nothing else.
func TestReplace(t *testing.T) {
	failed := State{Slot: A, Good: A, Failed: B}
	if got := failed.Replace(B); got != (State{Slot: A, Good: A}) {
		t.Errorf("another system in the failed slot: %+v", got)
	}
	if got := failed.Replace(A); got != failed {
		t.Errorf("another system in the other slot: %+v", got)
	}
}
