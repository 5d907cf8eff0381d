package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.etcd.io/bbolt"

	"passerelle/appliance/ledger"
)

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// openChecked opens a store that is checked and closed when the test ends.
func openChecked(t *testing.T, path string) *Store {
	t.Helper()
	s, damage, err := Open(path, nil, now)
	if err != nil || damage != nil {
		t.Fatal(err, damage)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.check(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func mustPut(t *testing.T, s *Store, records map[string]ledger.Record) {
	t.Helper()
	if err := s.Put(records); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsPutIsLoaded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, damage, err := Open(path, []string{"a"}, now)
	if err != nil || damage != nil {
		t.Fatal(err, damage)
	}
	if all, err := s.Load(); err != nil || len(all) != 0 {
		t.Fatalf("a new ledger has %v: %v", all, err)
	}
	r := ledger.Record{
		Base: 7, Promised: 9, Boot: "b", Line: ledger.Line{Name: "eth0", Index: 3},
		Today: ledger.Day{Date: 20261122, Bytes: 5},
	}
	for d := int32(1); d <= ledger.KeepDays+9; d++ {
		r.Last = ledger.Day{Date: d, Bytes: uint64(d), Residents: uint32(d)}
		mustPut(t, s, map[string]ledger.Record{"Fibre": r, "4G d'Ana": {Base: uint64(d)}})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all, err := openChecked(t, path).Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, all["Fibre"].Record, cmpopts.IgnoreUnexported(r)); diff != "" {
		t.Error(diff)
	}
	if all["4G d'Ana"].Record.Base != ledger.KeepDays+9 || all["4G d'Ana"].Days != nil {
		t.Errorf("the other donation has %+v", all["4G d'Ana"])
	}
	days := all["Fibre"].Days
	first := ledger.Day{Date: 10, Bytes: 10, Residents: 10}
	if len(days) != ledger.KeepDays || days[0] != first || days[len(days)-1] != r.Last {
		t.Errorf("%d days are kept, from %+v to %+v", len(days), days[0], days[len(days)-1])
	}
}

func TestOneAtATime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	openChecked(t, path)
	if _, damage, err := Open(path, nil, now); !errors.Is(err, ErrLocked) || damage != nil {
		t.Errorf("the second one got %v, %v", err, damage)
	}
}

// TestNewerIsLeftAlone: neither a newer schema nor a newer record is touched.
func TestNewerIsLeftAlone(t *testing.T) {
	t.Parallel()
	newer := ledger.Record{}.Append(nil)
	newer[0]++
	body := newer[:len(newer)-crc32.Size]
	newer = binary.LittleEndian.AppendUint32(body, crc32.ChecksumIEEE(body))
	for name, change := range map[string]func(tx *bbolt.Tx) error{
		"schema": func(tx *bbolt.Tx) error { return tx.Bucket(schemaBucket).Put(versionKey, []byte{version + 1}) },
		"record": func(tx *bbolt.Tx) error { return tx.Bucket(accountsBucket).Put([]byte("Fibre"), newer) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "ledger.db")
			s, _, err := Open(path, nil, now)
			if err == nil {
				err = errors.Join(s.db.Update(change), s.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			if _, damage, err := Open(path, nil, now); !errors.Is(err, ErrNewer) || damage != nil {
				t.Errorf("it was opened: %v, %v", err, damage)
			}
			after, _ := os.ReadFile(path)
			if files, _ := os.ReadDir(dir); !bytes.Equal(before, after) || len(files) != 1 {
				t.Errorf("it was touched; there are %d files", len(files))
			}
		})
	}
}

// TestOthersCannotLock: who can read the file can hold its lock, so that only its owner may.
func TestOthersCannotLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	for range 2 { // made, then found with another mode
		s, damage, err := Open(path, nil, now)
		if err != nil || damage != nil {
			t.Fatal(err, damage)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("it has mode %v: %v", info.Mode(), err)
		}
		if err := errors.Join(s.Close(), os.Chmod(path, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamage: a file that cannot be read is set aside whole, and every donation counts as spent, also after the next
// start.
func TestDamage(t *testing.T) {
	t.Parallel()
	sound := filepath.Join(t.TempDir(), "ledger.db")
	s := openChecked(t, sound)
	records := map[string]ledger.Record{}
	for i := range 40 {
		records[fmt.Sprint("donation ", i)] = ledger.Record{Base: uint64(i), Boot: strings.Repeat("b", 100)}
	}
	mustPut(t, s, records)
	file, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for name, damage := range map[string]func([]byte) []byte{
		"text":          func([]byte) []byte { return []byte("no database") },
		"zeros":         func(b []byte) []byte { return make([]byte, len(b)) },
		"metas":         func(b []byte) []byte { clear(b[:2*page]); return b },
		"cut short":     func(b []byte) []byte { return b[:len(b)/2] },
		"cut to metas":  func(b []byte) []byte { return b[:2*page] },
		"cut to a page": func(b []byte) []byte { return b[:page] },
		"pages": func(b []byte) []byte {
			for i := 2 * page; i < len(b); i++ {
				b[i] = 0xa5
			}
			return b
		},
		"a value": func(b []byte) []byte {
			for at := bytes.Index(b, []byte("bbbb")); at >= 0; at = bytes.Index(b, []byte("bbbb")) {
				copy(b[at:], "bbxb")
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ledger.db")
			broken := damage(bytes.Clone(file))
			if err := os.WriteFile(path, broken, mode); err != nil {
				t.Fatal(err)
			}
			s, report, err := Open(path, []string{"Fibre", "4G"}, now)
			if err != nil {
				t.Fatal(err)
			}
			if report == nil || !strings.HasSuffix(report.Aside, ".damaged-20261122-100000") {
				t.Fatalf("the report is %v", report)
			}
			if aside, err := os.ReadFile(report.Aside); err != nil || !bytes.Equal(aside, broken) {
				t.Errorf("what was set aside is not what was there: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			all, err := openChecked(t, path).Load()
			if err != nil || len(all) != 2 || !all["Fibre"].Record.Lost || !all["4G"].Record.Lost {
				t.Errorf("the new one has %+v: %v", all, err)
			}
		})
	}
}

// TestDamagedAndNoRoom: while no other file can be made in its place, the damaged one stays where it is, and is not set
// aside again and again.
func TestDamagedAndNoRoom(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	obstacle := filepath.Join(path+".new", "obstacle")
	if err := errors.Join(os.WriteFile(path, []byte("rubbish"), 0o600), os.MkdirAll(obstacle, 0o700)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, damage, err := Open(path, nil, now); err == nil || damage != nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%v, %v", damage, err)
		}
		if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 2 {
			t.Errorf("there are %v, %v", all, err)
		}
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	s, damage, err := Open(path, nil, now)
	if err != nil || damage == nil {
		t.Fatal(damage, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestBitsFlip: whatever bytes turn, the store opens, or says that it is damaged; the daemon does not die.
func TestBitsFlip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sound := filepath.Join(dir, "sound.db")
	s := openChecked(t, sound)
	for d := range int32(500) {
		mustPut(t, s, map[string]ledger.Record{"Fibre": {Base: 1, Last: ledger.Day{Date: d + 1}}, "4G": {Base: 2}})
	}
	file, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	damaged := 0
	for n := range 300 {
		b := bytes.Clone(file)
		for range 1 + r.IntN(20) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		path := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(path, b, mode); err != nil {
			t.Fatal(err)
		}
		s, report, err := Open(path, nil, now)
		switch {
		case err != nil && !errors.Is(err, ErrNewer):
			t.Fatal(err)
		case report != nil:
			damaged++
		}
		if err == nil {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if damaged == 0 {
		t.Error("nothing was noticed")
	}
}

// TestFullDisk: what cannot be written is an error, what was there stays, and later it goes on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := openChecked(t, filepath.Join(t.TempDir(), "ledger.db"))
	for failing := 0; ; failing++ {
		before := uint64(failing)
		mustPut(t, s, map[string]ledger.Record{"Fibre": {Base: before}})
		n := 0
		stop := intercept(s, func(int64, []byte) error {
			if n++; n > failing {
				return syscall.ENOSPC
			}
			return nil
		})
		err := s.Put(map[string]ledger.Record{"Fibre": {Base: before + 1}})
		stop()
		if err == nil {
			if failing < 3 {
				t.Errorf("a transaction has %d writes", failing)
			}
			break
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if all, err := s.Load(); err != nil || all["Fibre"].Record.Base != before {
			t.Errorf("after write %d failed: %+v, %v", failing, all, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, damage, err := Open(filepath.Join(dir, "nowhere", "ledger.db"), nil, now); err == nil || damage != nil {
		t.Errorf("in a folder that is not there: %v, %v", err, damage)
	}
	if _, damage, err := Open(dir, nil, now); err == nil || damage != nil {
		t.Errorf("in a folder's place: %v, %v", err, damage)
	}
}
