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
	unsaved bool
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
	after, changed := change(l.all, l.unsaved)
	l.all, l.unsaved = after, l.unsaved || changed
}

// Save writes the list if it has changes that are not written. After an error they still count as not written.
func (l *List[T]) Save() error {
	l.mu.Lock()
	all, unsaved := slices.Clone(l.all), l.unsaved
	l.unsaved = false
	l.mu.Unlock()
	if !unsaved {
		return nil
	}
	_, err := l.file.Update(func(was *[]T) error {
		*was = all
		return nil
	})
	if err != nil {
		l.mu.Lock()
		l.unsaved = true
		l.mu.Unlock()
	}
	return err
}
