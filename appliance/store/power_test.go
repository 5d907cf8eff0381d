package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"unsafe"

	"go.etcd.io/bbolt"

	"passerelle/appliance/ledger"
	"passerelle/netctl"
)

// intercept passes every write to the store's file to f, which may refuse it. It uses the same hook as bbolt's own tests.
func intercept(s *Store, f func(offset int64, b []byte) error) (stop func()) {
	field := reflect.ValueOf(s.db).Elem().FieldByName("ops").FieldByName("writeAt")
	hook := (*func([]byte, int64) (int, error))(unsafe.Pointer(field.UnsafeAddr()))
	write := *hook
	*hook = func(b []byte, offset int64) (int, error) {
		if err := f(offset, b); err != nil {
			return 0, err
		}
		return write(b, offset)
	}
	return func() { *hook = write }
}

// line is a donation's line with its kernel and its account. Residents on it want all that there is.
type line struct {
	policy   ledger.Policy
	boot     string
	counter  uint64
	carried  uint64 // by the line in total
	book     *ledger.Account
	tranches []netctl.TrancheUsage
}

const donation = "Fibre du centre"

// spend lets residents use up to this many bytes, as far as tranches pay for them. The line carries 3 % more.
func (l *line) spend(bytes uint64) {
	for i := range l.tranches {
		k := &l.tranches[i]
		n := min(bytes, k.Bytes-k.Used)
		k.Used += n
		bytes -= n
		l.counter += n + n/32
		l.carried += n + n/32
	}
}

func (l *line) held() (bytes uint64) {
	for _, k := range l.tranches {
		bytes += k.Bytes - k.Used
	}
	return bytes
}

// round is a round of the box's loop; write writes to the store. It tells whether something is left.
func (l *line) round(write func(ledger.Record) error) (left bool, err error) {
	l.book.Observe(l.policy, ledger.Reading{
		Now: now, Trusted: true, Boot: l.boot,
		Counter: ledger.Counter{Name: "enx0c5b8f279a64", Index: 3, Bytes: l.counter}, Tranches: l.tranches,
	})
	if l.book.Balance(l.policy).Spent {
		return false, nil
	}
	w, due := l.book.Due(l.policy, true)
	if !due {
		return true, nil
	}
	if err := write(w.Record); err != nil {
		return true, err
	}
	l.book.ConfirmWrite(w)
	for _, g := range w.Grants {
		l.tranches = append(l.tranches[max(0, len(l.tranches)-1):], netctl.TrancheUsage{Tranche: g})
		l.book.ConfirmGrant(l.policy, g)
	}
	return true, nil
}

// write is one write to the file, and the most that the line can have carried by the time it happened.
type write struct {
	offset  int64
	size    int64 // of the file before it
	data    []byte
	carried uint64
}

// history spends a whole donation through a store. It returns the initial file, and every write to it.
func history(t *testing.T, r *rand.Rand, policy ledger.Policy) (start []byte, writes []write) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	s := openChecked(t, path)
	start, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l := &line{policy: policy, boot: "first", book: ledger.Open(nil, nil)}
	intercept(s, func(offset int64, b []byte) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		held := l.held()
		writes = append(writes, write{offset, info.Size(), bytes.Clone(b), l.carried + held + held/32})
		return nil
	})
	for {
		left, err := l.round(func(rec ledger.Record) error {
			rec.LastDay = ledger.Day{Date: ledger.Date(1 + r.IntN(600)), Bytes: 1} // days come and go, too
			return s.Put(map[string]ledger.Record{donation: rec, "4G": {Base: r.Uint64()}})
		})
		if err != nil {
			t.Fatal(err)
		}
		if !left {
			break
		}
		l.spend(r.Uint64N(l.held() + 1))
	}
	if end, err := os.ReadFile(path); err != nil || !bytes.Equal(end, image(start, writes, len(writes))) {
		t.Fatalf("the writes that were seen don't make the file: %v", err)
	}
	return start, writes
}

// image returns the file after the first n writes.
func image(start []byte, writes []write, n int) []byte {
	b := bytes.Clone(start)
	for _, w := range writes[:n] {
		b = w.apply(b)
	}
	return b
}

func (w write) apply(b []byte) []byte {
	if grow := max(w.size, w.offset+int64(len(w.data))) - int64(len(b)); grow > 0 {
		b = append(b, make([]byte, grow)...)
	}
	copy(b[w.offset:], w.data)
	return b
}

// TestPowerCut: the power fails at any moment, also in the middle of a write, and any of the pages that bbolt had not synced yet may
// be on the disk. The next daemon opens the ledger, and what it grants, together with what the line carried before, is never more
// than the cap.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for seed, policy := range []ledger.Policy{
		{Cap: 60e6, Period: "month", Resets: 1, Rate: 8e6, Chain: "PAS-CAP-1"},
		{Cap: 2e9, Period: "month", Resets: 1, Rate: 25e6, Chain: "PAS-CAP-1"},
	} {
		t.Run(fmt.Sprint(policy.Cap), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(seed), 7))
			start, writes := history(t, r, policy)
			dir := t.TempDir()
			for n := range writes {
				if n < len(writes)-100 && r.IntN(len(writes)) > 200 {
					continue // all writes near the end of the donation, and some before
				}
				before := image(start, writes, n)
				reopen(t, dir, before, policy, writes[n].carried)
				w := writes[n]
				for range 3 { // torn, at a sector boundary or anywhere
					torn := w
					torn.data = w.data[:r.IntN(len(w.data))]
					if r.IntN(2) == 0 {
						torn.data = w.data[:len(torn.data)/512*512]
					}
					reopen(t, dir, torn.apply(bytes.Clone(before)), policy, w.carried)
				}
				// One of the two meta pages is written when all earlier pages are on the disk. Until then the disk may have any of the pages.
				if page := int64(os.Getpagesize()); w.offset < 2*page {
					first := n
					for first > 0 && writes[first-1].offset >= 2*page {
						first--
					}
					some := image(start, writes, first)
					for _, w := range writes[first:n] {
						if r.IntN(2) == 0 {
							some = w.apply(some)
						}
					}
					reopen(t, dir, some, policy, w.carried)
				}
			}
		})
	}
}

// reopen starts the box with this file, after the line has carried this many bytes, and spends what it grants.
func reopen(t *testing.T, dir string, file []byte, policy ledger.Policy, carried uint64) {
	t.Helper()
	path := filepath.Join(dir, "ledger.db")
	if err := os.WriteFile(path, file, mode); err != nil {
		t.Fatal(err)
	}
	s, damage, err := Open(path, []string{donation}, now)
	if err != nil || damage != nil {
		t.Fatal(err, damage)
	}
	all, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l := &line{policy: policy, boot: "second", book: ledger.Open(nil, nil), carried: carried}
	if a, ok := all[donation]; ok {
		l.book = ledger.Open(&a.Record, a.Days)
	}
	for {
		left, err := l.round(func(ledger.Record) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if !left {
			break
		}
		l.spend(l.held())
	}
	if l.carried > policy.Cap {
		t.Fatalf("the line carried %d bytes of a cap of %d", l.carried, policy.Cap)
	}
}

// TestBytesWritten measures the bytes that a tranche writes to disk. The package comment of ledger states the result.
func TestBytesWritten(t *testing.T) {
	t.Parallel()
	const documented = 12 << 10
	s := openChecked(t, filepath.Join(t.TempDir(), "ledger.db"))
	written := 0
	intercept(s, func(_ int64, b []byte) error {
		written += len(b)
		return nil
	})
	const n = 100
	l := &line{
		policy: ledger.Policy{Cap: 2e9, Period: "month", Resets: 1, Rate: 25e6, Chain: "PAS-CAP-1"},
		boot:   "4fa7bd0b-9c4e-4d6e-8f4a-0123456789ab", book: ledger.Open(nil, nil),
	}
	puts := 0
	for puts < n {
		if _, err := l.round(func(r ledger.Record) error {
			puts++
			return s.Put(map[string]ledger.Record{donation: r})
		}); err != nil {
			t.Fatal(err)
		}
		l.spend(l.held())
	}
	if got := written / n; got != documented {
		t.Errorf("a write costs %d bytes, not %d", got, documented)
	}
}

// TestMergedKeepsTheCap: an account that no release could read for a while gives nothing meanwhile. Then it gives what is left of the
// cap.
func TestMergedKeepsTheCap(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	policy := ledger.Policy{Cap: 2e9, Period: "month", Resets: 1, Rate: 25e6, Chain: "PAS-CAP-1"}
	l := &line{policy: policy, boot: "first"}
	// daemon runs one daemon until the line has carried this many bytes, or nothing is left, and returns what was quarantined.
	daemon := func(until uint64) (quarantined *Quarantined) {
		s, quarantined, err := Open(path, []string{donation}, now)
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.Load()
		if err != nil {
			t.Fatal(err)
		}
		l.tranches, l.book = nil, ledger.Open(nil, nil)
		if a, ok := all[donation]; ok {
			l.book = ledger.Open(&a.Record, a.Days)
		}
		put := func(r ledger.Record) error { return s.Put(map[string]ledger.Record{donation: r}) }
		for left := true; left && l.carried < until; {
			if left, err = l.round(put); err != nil {
				t.Fatal(err)
			}
			l.spend(l.held())
			l.counter += 1000 // arrives unrequested
			l.carried += 1000
		}
		if r, due := l.book.Final(policy); due {
			if err := put(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return quarantined
	}
	daemon(policy.Cap / 2)
	setVersion(t, path, formatRead+1)
	half := l.carried
	quarantined := daemon(policy.Cap)
	if quarantined == nil || l.carried > half+1000 {
		t.Fatalf("%d bytes were given while quarantined was %v", l.carried-half, quarantined)
	}
	setVersion(t, quarantined.File, formatRead)
	if quarantined := daemon(policy.Cap); quarantined != nil || l.carried > policy.Cap || l.carried < policy.Cap*95/100 {
		t.Errorf("in all the line carried %d bytes of a cap of %d; quarantined is %v", l.carried, policy.Cap, quarantined)
	}
}

// release is the ledger of a release that writes one format and reads the next. Each of its formats adds a bucket.
func release(format uint64) *kind {
	k := *ledgerKind
	k.oldest, k.writes, k.reads = 1, format, format+1
	k.upgrade = func(tx *bbolt.Tx, from uint64) error {
		_, err := tx.CreateBucket(fmt.Appendf(nil, "of format %d", from+1))
		return err
	}
	return &k
}

// TestSlotsOfTwoReleases: slot B has a release whose format slot A does not read. On trial, B writes the old format. Whenever the trial
// fails, A continues from what B used, and no byte of the cap is granted twice. Once B has proved itself, it writes the new format. If
// somebody then sends the box back to A, A grants nothing, and B continues later.
func TestSlotsOfTwoReleases(t *testing.T) {
	t.Parallel()
	a, b := release(1), release(3)
	policy := ledger.Policy{Cap: 2e9, Period: "month", Resets: 1, Rate: 25e6, Chain: "PAS-CAP-1"}
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 11))
		path := filepath.Join(t.TempDir(), "ledger.db")
		l := &line{policy: policy}
		boots := 0
		// daemon runs one daemon until the line has carried this many bytes, or nothing is left. Then the power is cut.
		daemon := func(k *kind, proven bool, until uint64) (before uint64, quarantined *Quarantined) {
			t.Helper()
			s, quarantined, err := openLedger(k, path, []string{donation}, now)
			if err == nil && proven {
				err = s.Migrate()
			}
			if err != nil {
				t.Fatal(err)
			}
			all, err := s.Load()
			if err != nil {
				t.Fatal(err)
			}
			boots++
			l.boot, l.tranches, l.counter, l.book = fmt.Sprint(boots), nil, 0, ledger.Open(nil, nil)
			if saved, ok := all[donation]; ok {
				l.book = ledger.Open(&saved.Record, saved.Days)
			}
			l.book.Observe(policy, ledger.Reading{
				Now: now, Trusted: true, Boot: l.boot, Counter: ledger.Counter{Name: "enx0c5b8f279a64", Index: 3},
			})
			before = l.book.Balance(policy).Used
			put := func(r ledger.Record) error { return s.Put(map[string]ledger.Record{donation: r}) }
			for left := true; left && l.carried < until; {
				if left, err = l.round(put); err != nil {
					t.Fatal(err)
				}
				l.spend(r.Uint64N(l.held() + 1))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return before, quarantined
		}
		run := func(k *kind, proven bool, until uint64) {
			t.Helper()
			spent := l.carried / 33 * 32 // what the kernel counted of it
			if used, quarantined := daemon(k, proven, until); quarantined != nil || used < spent {
				t.Fatalf("seed %d: after %d bytes the account starts with %d; quarantined is %v", seed, spent, used, quarantined)
			}
		}
		run(a, true, policy.Cap/10)
		for range 3 { // boots on trial
			run(b, false, l.carried+r.Uint64N(policy.Cap/10))
		}
		run(a, true, l.carried+policy.Cap/10) // the fallback
		run(b, false, l.carried+policy.Cap/20)
		run(b, true, l.carried+policy.Cap/20) // it has proved itself
		at := l.carried
		if _, quarantined := daemon(a, true, policy.Cap); quarantined == nil || !quarantined.Newer || l.carried != at {
			t.Fatalf("seed %d: a release that does not read the format gives %d bytes; quarantined is %v", seed, l.carried-at, quarantined)
		}
		run(b, true, policy.Cap)
		if l.carried > policy.Cap {
			t.Fatalf("seed %d: the line carried %d bytes of a cap of %d", seed, l.carried, policy.Cap)
		}
	}
}

// TestMigrate: a file keeps its format until it is migrated, a new file has the oldest format, and neither format is ever lowered.
func TestMigrate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	for _, step := range []struct {
		release uint64
		migrate bool
		want    uint64
	}{{3, false, 1}, {1, true, 1}, {2, true, 2}, {1, true, 2}, {3, false, 2}, {3, true, 3}, {4, false, 3}, {2, true, 3}, {2, false, 3}} {
		s, quarantined, err := openLedger(release(step.release), path, nil, now)
		if err != nil || quarantined != nil {
			t.Fatal(quarantined, err)
		}
		if step.migrate {
			if err := s.Migrate(); err != nil {
				t.Fatal(err)
			}
		}
		err = s.view(func(tx *bbolt.Tx) error {
			got, _ := binary.Uvarint(tx.Bucket(schemaBucket).Get(versionKey))
			if has := tx.Bucket(fmt.Appendf(nil, "of format %d", step.want)) != nil; got != step.want || has != (got > 1) {
				t.Errorf("%+v: the format is %d, with its bucket: %t", step, got, has)
			}
			return nil
		})
		if err := errors.Join(err, s.check(), s.Close()); err != nil {
			t.Error(err)
		}
	}
}
