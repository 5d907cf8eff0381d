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
		Base: 7, Committed: 9, Boot: "b", Counter: ledger.Counter{Name: "eth0", Index: 3},
		Today: ledger.Day{Date: 20261122, Bytes: 5},
	}
	for d := ledger.Date(1); d <= ledger.KeepDays+9; d++ {
		r.LastDay = ledger.Day{Date: d, Bytes: uint64(d), Residents: uint32(d)}
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
	if len(days) != ledger.KeepDays || days[0] != first || days[len(days)-1] != r.LastDay {
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

// change changes a store's file as another release might have done.
func change(t *testing.T, path string, f func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, mode, ledgerKind.options(false, nil))
	if err == nil {
		err = errors.Join(db.Update(f), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func setVersion(t *testing.T, path string, version uint64) {
	t.Helper()
	change(t, path, func(tx *bbolt.Tx) error {
		return tx.Bucket(schemaBucket).Put(versionKey, binary.AppendUvarint(nil, version))
	})
}

// newer returns bytes with a valid checksum, as a version that is later by this many would write them, with more at their end.
func newer(b []byte, by byte) []byte {
	b[0] += by
	b = append(b[:len(b)-crc32.Size], "more"...)
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// TestNextIsRead: a file of the next format is read and written. It keeps its format, and unknown content in it.
func TestNextIsRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, _, err := Open(path, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, map[string]ledger.Record{"4G": {Base: 7}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	added := []byte("added")
	setVersion(t, path, formatRead)
	change(t, path, func(tx *bbolt.Tx) error {
		more, err := tx.CreateBucket(added)
		return errors.Join(err, more.Put(added, added), tx.Bucket(schemaBucket).Put(added, added),
			tx.Bucket(accountsBucket).Put([]byte("Fibre"), newer(ledger.Record{Base: 5}.Append(nil), 1)))
	})
	for base := range uint64(2) {
		s, quarantined, err := Open(path, nil, now)
		if err != nil || quarantined != nil {
			t.Fatal(err, quarantined)
		}
		all, err := s.Load()
		if err != nil || all["Fibre"].Record.Base != 5+base || all["4G"].Record.Base != 7 {
			t.Errorf("it has %+v: %v", all, err)
		}
		mustPut(t, s, map[string]ledger.Record{"Fibre": {Base: 6}})
		err = s.db.View(func(tx *bbolt.Tx) error {
			version, _ := binary.Uvarint(tx.Bucket(schemaBucket).Get(versionKey))
			if version != formatRead || !bytes.Equal(tx.Bucket(schemaBucket).Get(added), added) || !bytes.Equal(tx.Bucket(added).Get(added), added) {
				t.Errorf("it is of version %d, and what was added is gone", version)
			}
			return nil
		})
		if err := errors.Join(err, s.check(), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNewerIsQuarantined: a file whose format is newer than the next is quarantined, and every donation counts as spent. Open reports
// that at each start, until the file can be read.
func TestNewerIsQuarantined(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, path string){
		"schema": func(t *testing.T, path string) { setVersion(t, path, formatRead+1) },
		"record": func(t *testing.T, path string) {
			change(t, path, func(tx *bbolt.Tx) error {
				return tx.Bucket(accountsBucket).Put([]byte("Fibre"), newer(ledger.Record{}.Append(nil), 2))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ledger.db")
			s, _, err := Open(path, nil, now)
			if err := errors.Join(err, s.Close()); err != nil {
				t.Fatal(err)
			}
			change(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for start := range 3 {
				s, quarantined, err := Open(path, []string{"Fibre", "4G"}, now.AddDate(0, 0, start))
				if err != nil {
					t.Fatal(err)
				}
				if quarantined == nil || !quarantined.Newer || quarantined.File != path+".newer-20261122-100000" || !errors.Is(quarantined, errNewer) {
					t.Fatalf("at start %d, quarantined is %v", start, quarantined)
				}
				if after, err := os.ReadFile(quarantined.File); err != nil || !bytes.Equal(before, after) {
					t.Errorf("what was quarantined was touched: %v", err)
				}
				if all, err := s.Load(); err != nil || len(all) != 2 || !all["Fibre"].Record.Lost || !all["4G"].Record.Lost {
					t.Errorf("the new one has %+v: %v", all, err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 2 {
				t.Errorf("there are %v", files)
			}
		})
	}
}

// TestMerged: the release that can read a quarantined file merges it, one file after the other.
func TestMerged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	donations := []string{"Fibre", "4G"}
	// use opens the store, lets f use it, and closes it.
	use := func(f func(*Store)) (quarantined *Quarantined) {
		t.Helper()
		s, quarantined, err := Open(path, donations, now)
		if err != nil {
			t.Fatal(err)
		}
		f(s)
		if err := errors.Join(s.check(), s.Close()); err != nil {
			t.Fatal(err)
		}
		return quarantined
	}
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	month := func(base uint64, lost bool) ledger.Record {
		return ledger.Record{Base: base, Committed: base, Lost: lost, Start: 100, End: 200, Period: "month", Resets: 1}
	}
	yesterday, today := ledger.Day{Date: 20261121, Bytes: 3}, ledger.Day{Date: 20261122, Bytes: 5}
	use(func(s *Store) {
		fibre := month(1000, false)
		fibre.LastDay, fibre.Today = yesterday, today
		must(s.Put(map[string]ledger.Record{"Fibre": fibre, "Ana's": {Base: 9}}),
			s.Set("Fibre", [32]byte{1}), s.Set("4G", [32]byte{2}), s.SetPaused("Fibre", ledger.Pause{By: "its lender"}))
	})
	setVersion(t, path, formatRead+2)
	first := use(func(s *Store) {
		fibre := month(20, true)
		fibre.LastDay = ledger.Day{Date: today.Date, Bytes: 2}
		fibre.Today = ledger.Day{Date: 20261123, Bytes: 1}
		must(s.Put(map[string]ledger.Record{"Fibre": fibre}), s.Set("4G", [32]byte{3}))
	})
	setVersion(t, path, formatRead+1)
	second := use(func(s *Store) { must(s.Put(map[string]ledger.Record{"Fibre": month(3, true)})) })
	if first == nil || second == nil || first.File == second.File {
		t.Fatalf("quarantined are %v and %v", first, second)
	}

	setVersion(t, second.File, formatRead)
	quarantined := use(func(s *Store) {
		all, err := s.Load()
		if err != nil || all["Fibre"].Record.Base != 23 || !all["Fibre"].Record.Lost || !all["4G"].Record.Lost {
			t.Errorf("with one file there is %+v, %v", all, err)
		}
	})
	if quarantined == nil || quarantined.File != first.File {
		t.Errorf("then quarantined is %v", quarantined)
	}
	setVersion(t, first.File, formatWritten)
	for range 2 {
		quarantined = use(func(s *Store) {
			all, err := s.Load()
			fibre := all["Fibre"].Record
			if err != nil || fibre.Base != 1023 || fibre.Committed < 1023 || fibre.Lost || fibre.Today.Bytes != 1 {
				t.Errorf("with both there is %+v, %v", all, err)
			}
			if all["Ana's"].Record.Base != 9 {
				t.Errorf("of a donation that was not configured there is %+v", all["Ana's"])
			}
			want := []ledger.Day{yesterday, {Date: today.Date, Bytes: 7}}
			if diff := cmp.Diff(want, all["Fibre"].Days); diff != "" {
				t.Error(diff)
			}
			paused, err := s.Paused()
			if err != nil || paused["Fibre"].By != "its lender" {
				t.Errorf("paused are %v, %v", paused, err)
			}
			for hash, want := range map[[32]byte]string{{1}: "Fibre", {2}: "", {3}: "4G"} {
				if name, _ := s.Donation(hash); name != want {
					t.Errorf("the link %x… leads to %q, want %q", hash[:1], name, want)
				}
			}
		})
		if quarantined != nil {
			t.Errorf("quarantined is still %v", quarantined)
		}
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("there are %v", files)
	}
}

// TestOthersCannotLock: a user who can read the file can hold its lock, so only its owner may read it.
func TestOthersCannotLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	for range 2 { // created, then found with another mode
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

// TestDamage: a file that cannot be read is quarantined unchanged. Every donation counts as spent, also after the next start.
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
			if report == nil || !strings.HasSuffix(report.File, ".damaged-20261122-100000") {
				t.Fatalf("the report is %v", report)
			}
			if quarantined, err := os.ReadFile(report.File); err != nil || !bytes.Equal(quarantined, broken) {
				t.Errorf("what was quarantined is not what was there: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, again, err := Open(path, nil, now)
			if err != nil || again == nil || again.File != report.File {
				t.Fatal(err, again)
			}
			all, err := s.Load()
			if err != nil || len(all) != 2 || !all["Fibre"].Record.Lost || !all["4G"].Record.Lost {
				t.Errorf("the new one has %+v: %v", all, err)
			}
			if err := errors.Join(s.check(), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDamagedAndNoRoom: while there is no room for a new file, the damaged one stays in place, and is not quarantined again and again.
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

// TestBitsFlip: with any bits flipped, the store opens or reports damage. The daemon does not crash.
func TestBitsFlip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sound := filepath.Join(dir, "sound.db")
	s := openChecked(t, sound)
	for d := range ledger.Date(500) {
		mustPut(t, s, map[string]ledger.Record{"Fibre": {Base: 1, LastDay: ledger.Day{Date: d + 1}}, "4G": {Base: 2}})
	}
	err := errors.Join(s.SetPaused("Fibre", ledger.Pause{By: "its lender"}), s.Set("4G", [32]byte{1}))
	file, readErr := os.ReadFile(sound)
	if err := errors.Join(err, readErr); err != nil {
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
		case err != nil:
			t.Fatal(err)
		case report != nil:
			damaged++
		}
		if err == nil {
			s.Donation([32]byte{1})
			_, err := s.Paused()
			if err := errors.Join(err, s.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if damaged == 0 {
		t.Error("nothing was noticed")
	}
}

// TestFullDisk: a failed write is an error, the old content stays, and writing works again later.
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
