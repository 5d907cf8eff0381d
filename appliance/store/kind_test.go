package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"passerelle/appliance/ledger"
)

var notesBucket = []byte("notes")

// notes is a kind of file other than the ledger: numbered notes, which begin with "note".
func notes(writes, reads uint64) *kind {
	return &kind{
		name: "notes", content: "what neighbours wrote", consequence: "the board is empty",
		buckets: [][]byte{notesBucket}, oldest: writes, writes: writes, reads: reads, maxSize: 1 << 20,
		check: func(tx *bbolt.Tx) error {
			return tx.Bucket(notesBucket).ForEach(func(_, note []byte) error {
				if !bytes.HasPrefix(note, []byte("note")) {
					return fmt.Errorf("%w: %q", errDamaged, note)
				}
				return nil
			})
		},
		merge: func(tx, from *bbolt.Tx) error {
			return from.Bucket(notesBucket).ForEach(func(key, note []byte) error { return tx.Bucket(notesBucket).Put(key, note) })
		},
	}
}

// note returns a transaction that writes a note.
func note(key, text string) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return tx.Bucket(notesBucket).Put([]byte(key), []byte(text)) }
}

// use opens a file of this kind, lets f use it, and closes it. It returns what is quarantined, and the notes that were in the file.
func (k *kind) use(t *testing.T, path string, f func(*file)) (quarantined *Quarantined, all string) {
	t.Helper()
	n, quarantined, err := k.open(path, note("lost", "note: some were lost"), now)
	if err != nil {
		t.Fatal(err)
	}
	err = n.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(notesBucket).ForEach(func(key, _ []byte) error { all += string(key) + " "; return nil })
	})
	if f != nil {
		f(n)
	}
	if err := errors.Join(err, n.check(), n.Close()); err != nil {
		t.Fatal(err)
	}
	return quarantined, strings.TrimSpace(all)
}

// TestOtherKind: a file of another kind is beside the ledger, with its own buckets and versions. It is quarantined and merged by the
// same rules, and neither file affects the other.
func TestOtherKind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, accounts := filepath.Join(dir, "board.db"), filepath.Join(dir, "ledger.db")
	s := openChecked(t, accounts)
	put := func(base uint64) {
		t.Helper()
		mustPut(t, s, map[string]ledger.Record{"Fibre": {Base: base}})
	}
	update := func(key string) func(*file) {
		return func(n *file) {
			if err := n.db.Update(note(key, "note "+key)); err != nil {
				t.Error(err)
			}
			put(uint64(len(key)))
		}
	}
	old := notes(3, 4)
	if quarantined, all := old.use(t, path, update("first")); quarantined != nil || all != "" {
		t.Errorf("a new one has %q, quarantined %v", all, quarantined)
	}
	if _, all := notes(4, 4).use(t, path, update("second")); all != "first" {
		t.Errorf("the next release finds %q", all)
	}

	// A format that the ledger would accept, but this kind does not read.
	set := func(path string, version uint64) {
		t.Helper()
		db, err := bbolt.Open(path, mode, nil)
		if err == nil {
			err = errors.Join(db.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket(schemaBucket).Put(versionKey, binary.AppendUvarint(nil, version))
			}), db.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set(path, 5)
	quarantined, all := old.use(t, path, update("third"))
	if quarantined == nil || !quarantined.Newer || all != "lost" {
		t.Fatalf("of a newer one there is %q, quarantined %v", all, quarantined)
	}
	if got, want := quarantined.Error(), "what neighbours wrote was written by a newer version of passerelle: it is kept as "+quarantined.File; !strings.HasPrefix(got, want) || !strings.Contains(got, ", and the board is empty: ") {
		t.Errorf("it says %q", got)
	}
	if quarantined, all := notes(4, 5).use(t, path, nil); quarantined != nil || all != "first lost second third" {
		t.Errorf("the release that reads it finds %q, quarantined %v", all, quarantined)
	}

	// Damage that only the kind's own check finds.
	old.use(t, path, nil)
	db, err := bbolt.Open(path, mode, nil)
	if err := errors.Join(err, db.Update(note("first", "rubbish")), db.Close()); err != nil {
		t.Fatal(err)
	}
	if quarantined, all := old.use(t, path, nil); quarantined == nil || quarantined.Newer || !errors.Is(quarantined, errDamaged) || all != "lost" {
		t.Errorf("of a damaged one there is %q, quarantined %v", all, quarantined)
	}
	put(7)
	if all, err := s.Load(); err != nil || all["Fibre"].Record.Base != 7 {
		t.Errorf("the ledger has %+v, %v", all, err)
	}
	if err := Remove(path); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "ledger.db" {
		t.Errorf("after its removal there are %v, %v", left, err)
	}
}

// TestFullKind: a file at its maximum size accepts no more and keeps what it has. The ledger can still be written.
func TestFullKind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openChecked(t, filepath.Join(dir, "ledger.db"))
	path, k := filepath.Join(dir, "board.db"), notes(1, 2)
	written := 0
	k.use(t, path, func(n *file) {
		for ; written < 1000; written++ {
			err := n.db.Update(note(fmt.Sprint(written), "note"+strings.Repeat(" ", 10_000)))
			if errors.Is(err, bolterrors.ErrMaxSizeReached) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		mustPut(t, s, map[string]ledger.Record{"Fibre": {Base: 1}})
		if err := n.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(notesBucket).Delete([]byte("0")) }); err != nil {
			t.Errorf("a full one forgets nothing: %v", err)
		}
	})
	info, err := os.Stat(path)
	if err != nil || written < 10 || written == 1000 || info.Size() > int64(k.maxSize) {
		t.Errorf("%d notes take %v bytes, %v", written, info.Size(), err)
	}
	if quarantined, all := k.use(t, path, nil); quarantined != nil || len(strings.Fields(all)) != written-1 {
		t.Errorf("it has %d notes of %d, quarantined %v", len(strings.Fields(all)), written-1, quarantined)
	}
}
