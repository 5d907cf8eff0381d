package check_test

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"passerelle/image/check"
)

// The offsets of slot a and its container, in bytes.
const (
	slotAt      = 68 << 20
	containerAt = slotAt + 704<<20
)

// bigEndian returns numbers of 4 bytes.
func bigEndian(numbers ...uint32) (b []byte) {
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// emptyCard returns a card without content.
func emptyCard(t *testing.T) check.Card {
	t.Helper()
	path := filepath.Join(t.TempDir(), "card")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Truncate(path, 2048<<20))
	return check.Card(path)
}

// TestParts: a container's parts are found, and wrong sizes in a container are an error.
func TestParts(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		data  []byte
		size  uint32 // of the data, as the header says; 0: as it is
		parts []string
	}{
		"three parts":           {slices.Concat(bigEndian(6, 3, 4, 0), []byte("script\x00\x00gz.\x00root")), 0, []string{"script", "gz.", "root"}},
		"padding left out":      {slices.Concat(bigEndian(1, 3, 0), []byte("s\x00\x00\x00gz.")), 0, []string{"s", "gz."}},
		"no part":               {bigEndian(0), 0, []string{}},
		"a part is too large":   {slices.Concat(bigEndian(5, 0), []byte("root")), 0, nil},
		"a part is huge":        {slices.Concat(bigEndian(1<<32-1, 0), []byte("root")), 0, nil},
		"a list without an end": {bigEndian(4, 4), 0, nil},
		"half a number":         {[]byte{0, 0}, 0, nil},
		"no data":               {nil, 0, nil},
		"it exceeds the slot":   {nil, 1<<32 - 1, nil},
	} {
		card := emptyCard(t)
		size := c.size
		if size == 0 {
			size = uint32(len(c.data))
		}
		header := bigEndian(0x27051956, 0, 0, size, 0, 0, crc32.ChecksumIEEE(c.data), 0)
		must(t, card.WriteAt(header, containerAt))
		must(t, card.WriteAt(c.data, containerAt+64))
		parts, err := card.Parts("a")
		if (err == nil) != (c.parts != nil) {
			t.Errorf("%s: %v", what, err)
		}
		if !slices.EqualFunc(parts, c.parts, func(got []byte, want string) bool { return string(got) == want }) {
			t.Errorf("%s: %q", what, parts)
		}
	}
}

// TestWrongContent: a slot with too few parts to boot, or a root that exceeds its slot, is an error.
func TestWrongContent(t *testing.T) {
	t.Parallel()
	card := emptyCard(t)
	list := slices.Concat(bigEndian(4, 0), []byte("root"))
	must(t, card.WriteAt(bigEndian(0x27051956, 0, 0, uint32(len(list)), 0, 0, crc32.ChecksumIEEE(list), 0), containerAt))
	must(t, card.WriteAt(list, containerAt+64))
	if m, err := (check.Fast{Slot: "a"}).Start(card, t.TempDir()); err == nil {
		m.Kill()
		t.Error("a machine without a kernel started")
	}
	for _, size := range []uint64{1 << 63, 1 << 40} {
		head := make([]byte, 96)
		copy(head, "hsqs")
		binary.LittleEndian.PutUint64(head[40:], size)
		must(t, card.WriteAt(head, slotAt))
		if err := card.UnpackRoot(filepath.Join(t.TempDir(), "root")); err == nil || !strings.Contains(err.Error(), "too many") {
			t.Errorf("a root of %d bytes: %v", size, err)
		}
	}
}
