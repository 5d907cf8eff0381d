// Package hours reads opening hours written in OpenStreetMap's opening_hours syntax, as French public places write them,
// and answers one question: open or closed at this time, and until when. It knows nothing of what is opened.
package hours

import (
	"errors"
	"time"
)

// Schedule is parsed opening hours. It is immutable and safe for concurrent use. A nil *Schedule is always open.
type Schedule struct{ text string }

// Error says where opening hours could not be read, and why.
type Error struct {
	Pos int    // byte offset in the text
	Msg string // what is wrong
}

func (e *Error) Error() string { return e.Msg }

// Parse reads opening hours. The empty text means always open.
func Parse(s string) (*Schedule, error) {
	if s != "" && s != "24/7" {
		return nil, errors.ErrUnsupported
	}
	return &Schedule{text: s}, nil
}

// Open tells whether the schedule is open at t, on the wall clock of t's zone.
func (s *Schedule) Open(t time.Time) bool { return true }

// Next returns the first change of state strictly after t.
func (s *Schedule) Next(t time.Time) (at time.Time, opens bool, ok bool) { return time.Time{}, false, false }

// Always tells whether the schedule is open at every time.
func (s *Schedule) Always() bool { return true }

// String returns the text as it was given.
func (s *Schedule) String() string {
	if s == nil {
		return ""
	}
	return s.text
}
