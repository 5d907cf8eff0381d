package records

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"passerelle/appliance/private"
)

// TestSavesTogether: of two saves that overlap, the list is on the disk as it was at the later one. Neither returns before that.
func TestSavesTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := File[[]int]{Path: filepath.Join(t.TempDir(), "list.json"), Version: 1}
		l, err := OpenList(f)
		if err != nil {
			t.Fatal(err)
		}
		add := func(n int) {
			l.Change(func(all []int, _ bool) ([]int, bool) { return append(all, n), true })
		}
		lock, err := private.Lock(f.Path + ".lock") // another process changes the file
		if err != nil {
			t.Fatal(err)
		}
		save := func() {
			err := l.Save()
			if all, readErr := f.Read(); err != nil || readErr != nil || !slices.Equal(all, []int{1, 2}) {
				t.Errorf("a save returns %v while %v is on the disk, %v", err, all, readErr)
			}
		}
		add(1)
		go save()
		time.Sleep(lockWait / 1000)
		add(2)
		go save() // the later one asks for the lock first
		time.Sleep(lockWait/100 - lockWait/2000)
		lock.Close()
		time.Sleep(lockWait)
		l.Change(func(all []int, unsaved bool) ([]int, bool) {
			if unsaved {
				t.Error("the list counts as not written")
			}
			return all, false
		})
	})
}

// TestFailedSave: changes of a save that failed count as not written, and the next save writes them.
func TestFailedSave(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file in place of the folder
		t.Fatal(err)
	}
	f := File[[]int]{Path: filepath.Join(dir, "list.json"), Version: 1}
	l, _ := OpenList(f)
	l.Change(func(all []int, unsaved bool) ([]int, bool) { return []int{1}, true })
	for range 2 {
		if err := l.Save(); err == nil {
			t.Error("a save succeeds without a folder")
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := l.Save(); err != nil {
		t.Error(err)
	}
	if all, err := f.Read(); err != nil || !slices.Equal(all, []int{1}) {
		t.Errorf("on the disk: %v, %v", all, err)
	}
}
