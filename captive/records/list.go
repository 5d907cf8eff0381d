package records

import (
	"slices"
	"sync"
)

// List is a list that is changed in memory and written to its file only by Save, so that the card is written rarely. Create one with
// OpenList; its methods are safe for concurrent use.
type List[T any] struct {
	file File[[]T]

	mu      sync.Mutex
	all     []T
	changes int // made so far
	written int // how many of the changes are in the file
}

// OpenList reads the list in a file. If there is an error, the returned list is empty and usable.
func OpenList[T any](f File[[]T]) (*List[T], error) {
	all, err := f.Read()
	return &List[T]{file: f, all: all}, err
}

// All returns a copy of the list.
func (l *List[T]) All() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

// Change replaces the list by what change returns, one change at a time. unsaved tells change whether the list has changes that are not
// written; changed says whether change has changed the list.
func (l *List[T]) Change(change func(all []T, unsaved bool) (after []T, changed bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	after, changed := change(l.all, l.written < l.changes)
	l.all = after
	if changed {
		l.changes++
	}
}

// Save writes the list if it has changes that are not written. After an error they still count as not written.
func (l *List[T]) Save() error {
	l.mu.Lock()
	unsaved := l.written < l.changes
	l.mu.Unlock()
	if !unsaved {
		return nil
	}
	var changes int
	_, err := l.file.Update(func(was *[]T) error {
		l.mu.Lock() // in Update, so that of two saves the later write has the newer list
		defer l.mu.Unlock()
		*was, changes = slices.Clone(l.all), l.changes
		return nil
	})
	if err == nil {
		l.mu.Lock()
		l.written = max(l.written, changes)
		l.mu.Unlock()
	}
	return err
}
