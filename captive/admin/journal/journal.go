// Package journal records the last changes that people made to the box: what, when, in which role and from which side. It owns
// its file. The file contains no address, no person's name and no value of a setting. The package does not decide who may read it.
package journal

import (
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/captive/records"
)

// What says what somebody changed.
type What string

// The changes.
const (
	Paused   What = "paused"    // sharing
	PausedTo What = "paused-to" // sharing, until the next day
	Resumed  What = "resumed"   // sharing
	Clock    What = "clock"     // confirmed
	Password What = "password"  // chosen, or changed
	DeskCode What = "desk-code" // made, or renewed
	DeskShut What = "desk-shut" // the desk's code was removed
	Settings What = "settings"  // the configuration; Keys says which keys

	PlacesImported What = "places-imported" // a list
	PlacesRemoved  What = "places-removed"
	PlacesRestored What = "places-restored" // the previous list
	PlacesFetched  What = "places-fetched"  // a download was started

	PackImported What = "pack-imported" // of lessons or pages
	PackRemoved  What = "pack-removed"

	CalendarImported What = "calendar-imported"
	CalendarRemoved  What = "calendar-removed"
	CalendarRestored What = "calendar-restored" // the previous calendar
	CalendarFetched  What = "calendar-fetched"  // a download was started

	RulesImported What = "rules-imported" // of "Where do I go?"
	RulesRemoved  What = "rules-removed"  // the built-in rules are used

	EventAdded     What = "event-added" // one of staff's events
	EventCancelled What = "event-cancelled"
	EventRestored  What = "event-restored" // a cancelled event
	EventMoved     What = "event-moved"
	EventRemoved   What = "event-removed"

	NoticesShown   What = "notices-shown" // on the board
	NoticesRemoved What = "notices-removed"

	ServiceAccepted  What = "service-accepted"  // an essential service that the fleet proposes
	ServiceWithdrawn What = "service-withdrawn" // a service that was accepted before

	FleetAsked What = "fleet-asked" // membership was requested
	FleetLeft  What = "fleet-left"

	LinkMade What = "link-made" // a new link to a lender's page; the previous one no longer works

	BackedUp      What = "backed-up"      // a backup was made, as a download or on a USB stick
	Restored      What = "restored"       // a backup
	RestoreUndone What = "restore-undone" // the state from before the restore is back
	UseStated     What = "use-stated"     // the usage of a donation whose usage was unknown

	UpdateStick   What = "update-stick"   // an update from a USB stick was requested
	UpdateExpired What = "update-expired" // the same, although its signatures have expired
	UpdateLook    What = "update-look"    // a check of the mirror for releases was requested
	OtherSystem   What = "other-system"   // a restart into the other slot was requested

	QuestionAsked  What = "question-asked" // of residents
	QuestionClosed What = "question-closed"

	LoanAccepted What = "loan-accepted" // a connection that somebody offered to lend
	LoanRefused  What = "loan-refused"
)

// Button is the role of somebody who presses the box's button.
const Button config.Role = "the button"

// Entry is a change.
type Entry struct {
	At   time.Time   `json:"at"` // by the box's clock
	What What        `json:"what"`
	By   config.Role `json:"by"`
	Side config.Side `json:"side,omitempty"`
	Keys []string    `json:"keys,omitempty"` // for Settings: the dotted keys that changed; never a value
}

// maxEntries is how many changes are kept.
const maxEntries = 200

// Journal is the list. Its methods are safe for concurrent use.
type Journal struct {
	file records.File[[]Entry]
	now  func() time.Time
	log  *slog.Logger
}

// New returns the journal in a folder.
func New(dir string, now func() time.Time, log *slog.Logger) *Journal {
	return &Journal{file: records.File[[]Entry]{Path: filepath.Join(dir, "journal.json"), Version: 1}, now: now, log: log}
}

// Note adds a change that was made just now. An error is only logged: a journal that cannot be written must not prevent a change.
func (j *Journal) Note(e Entry) {
	e.At = j.now().Truncate(time.Second)
	_, err := j.file.Update(func(all *[]Entry) error {
		*all = append(*all, e)
		*all = (*all)[max(0, len(*all)-maxEntries):]
		return nil
	})
	var unreadable *records.UnreadableError
	switch {
	case errors.As(err, &unreadable):
		j.log.Warn("the journal of changes begins again", "error", err)
	case err != nil:
		j.log.Warn("a change is not in the journal", "change", e.What, "by", e.By, "error", err)
	}
}

// Entries returns the changes, newest first.
func (j *Journal) Entries() ([]Entry, error) {
	all, err := j.file.Read()
	slices.Reverse(all)
	return all, err
}
