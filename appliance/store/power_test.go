package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"unsafe"

	"passerelle/appliance/ledger"
	"passerelle/netctl"
)

// intercept shows every write to the store's file to f, which may refuse it. It uses the hook that bbolt's own tests
// use.
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

// line is a donation's line with its kernel and its account, on which residents want all that there is.
type line struct {
	terms    ledger.Terms
	boot     string
	counter  uint64
	carried  uint64 // by the line in all
	book     *ledger.Book
	tranches []netctl.Spent
}

const donation = "Fibre du centre"

// spend lets residents use so many bytes, as far as tranches pay for them. The line carries 3 % more.
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

// round is a round of the box's loop, with write for the store. It tells whether there is something left.
func (l *line) round(write func(ledger.Record) error) (left bool, err error) {
	l.book.Observe(l.terms, ledger.Reading{
		Now: now, Trusted: true, Boot: l.boot,
		Line: ledger.Line{Name: "enx0c5b8f279a64", Index: 3, Bytes: l.counter}, Tranches: l.tranches,
	})
	if l.book.Standing(l.terms).Spent {
		return false, nil
	}
	w, due := l.book.Due(l.terms, true)
	if !due {
		return true, nil
	}
	if err := write(w.Record); err != nil {
		return true, err
	}
	l.book.Wrote(w)
	for _, g := range w.Grants {
		l.tranches = append(l.tranches[max(0, len(l.tranches)-1):], netctl.Spent{Tranche: g})
		l.book.Granted(l.terms, g)
	}
	return true, nil
}

// write is one write to the file, and what the line can have carried at the latest when it happened.
type write struct {
	offset  int64
	size    int64 // of the file before it
	data    []byte
	carried uint64
}

// history spends a whole gift through a store, and returns the file as it was in the beginning, and every write to it.
func history(t *testing.T, r *rand.Rand, terms ledger.Terms) (start []byte, writes []write) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	s := openChecked(t, path)
	start, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l := &line{terms: terms, boot: "first", book: ledger.Open(nil, nil)}
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
			rec.Last = ledger.Day{Date: int32(1 + r.IntN(600)), Bytes: 1} // days come and go, too
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

// TestPowerCut: whenever the power fails, in the middle of any write, too, and whichever of the pages that bbolt had
// not yet waited for the disk has: the next daemon opens the ledger, and all that it grants with what the line has
// carried before is not more than the cap.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for seed, terms := range []ledger.Terms{
		{Cap: 60e6, Period: "month", Resets: 1, Rate: 8e6, Chain: "PAS-CAP-1"},
		{Cap: 2e9, Period: "month", Resets: 1, Rate: 25e6, Chain: "PAS-CAP-1"},
	} {
		t.Run(fmt.Sprint(terms.Cap), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(seed), 7))
			start, writes := history(t, r, terms)
			dir := t.TempDir()
			for n := range writes {
				if n < len(writes)-100 && r.IntN(len(writes)) > 200 {
					continue // all of those near the end of the gift, and some before
				}
				before := image(start, writes, n)
				reopen(t, dir, before, terms, writes[n].carried)
				w := writes[n]
				for range 3 { // torn, at a sector or anywhere
					torn := w
					torn.data = w.data[:r.IntN(len(w.data))]
					if r.IntN(2) == 0 {
						torn.data = w.data[:len(torn.data)/512*512]
					}
					reopen(t, dir, torn.apply(bytes.Clone(before)), terms, w.carried)
				}
				// A meta page, one of the first two, is written when the disk has all before it; until then the disk
				// may have any of the pages.
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
					reopen(t, dir, some, terms, w.carried)
				}
			}
		})
	}
}

// reopen starts the box with this file, after the line has carried so much, and spends what it grants.
func reopen(t *testing.T, dir string, file []byte, terms ledger.Terms, carried uint64) {
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
	l := &line{terms: terms, boot: "second", book: ledger.Open(nil, nil), carried: carried}
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
	if l.carried > terms.Cap {
		t.Fatalf("the line carried %d bytes of a cap of %d", l.carried, terms.Cap)
	}
}

// TestBytesWritten measures what a tranche costs the disk: the package comment of ledger counts on it.
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
		terms: ledger.Terms{Cap: 2e9, Period: "month", Resets: 1, Rate: 25e6, Chain: "PAS-CAP-1"},
		boot:  "4fa7bd0b-9c4e-4d6e-8f4a-0123456789ab", book: ledger.Open(nil, nil),
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

// TestTakenBackKeepsTheCap: an account that no release could read for a while gives nothing meanwhile, and then what is
// left of the cap.
func TestTakenBackKeepsTheCap(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	terms := ledger.Terms{Cap: 2e9, Period: "month", Resets: 1, Rate: 25e6, Chain: "PAS-CAP-1"}
	l := &line{terms: terms, boot: "first"}
	// daemon runs one until the line has carried so much, or nothing is left, and returns what of it was set aside.
	daemon := func(until uint64) (aside *Aside) {
		s, aside, err := Open(path, []string{donation}, now)
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
			l.counter += 1000 // comes unasked
			l.carried += 1000
		}
		if r, due := l.book.Final(terms); due {
			if err := put(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return aside
	}
	daemon(terms.Cap / 2)
	setVersion(t, path, reads+1)
	half := l.carried
	aside := daemon(terms.Cap)
	if aside == nil || l.carried > half+1000 {
		t.Fatalf("%d bytes were given while aside was %v", l.carried-half, aside)
	}
	setVersion(t, aside.File, reads)
	if aside := daemon(terms.Cap); aside != nil || l.carried > terms.Cap || l.carried < terms.Cap*95/100 {
		t.Errorf("in all the line carried %d bytes of a cap of %d; aside is %v", l.carried, terms.Cap, aside)
	}
}
