// Package journal keeps a list of the last changes that people made to the box: what, when, in which role and from which
// side. It owns its file, and has no address, no name and no value of anybody. It does not know who may read it.
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

// What is what somebody changed.
type What string

// The changes.
const (
	Paused   What = "paused"    // sharing
	PausedTo What = "paused-to" // sharing, until the next day
	Resumed  What = "resumed"   // sharing
	Clock    What = "clock"     // confirmed
	Password What = "password"  // chosen, or changed
	DeskCode What = "desk-code" // made, or renewed
	DeskShut What = "desk-shut" // staff have no code any more
	Settings What = "settings"  // Keys of the configuration

	PlacesImported What = "places-imported" // a list
	PlacesRemoved  What = "places-removed"
	PlacesRestored What = "places-restored" // the one before
	PlacesFetched  What = "places-fetched"  // a download has begun

	PackImported What = "pack-imported" // of lessons or pages
	PackRemoved  What = "pack-removed"

	CalendarImported What = "calendar-imported"
	CalendarRemoved  What = "calendar-removed"
	CalendarRestored What = "calendar-restored" // the one before
	CalendarFetched  What = "calendar-fetched"  // a download has begun

	RulesImported What = "rules-imported" // of "Where do I go?"
	RulesRemoved  What = "rules-removed"  // the built-in ones are used

	EventAdded     What = "event-added" // of the staff's
	EventCancelled What = "event-cancelled"
	EventRestored  What = "event-restored" // a cancelled one
	EventMoved     What = "event-moved"
	EventRemoved   What = "event-removed"

	NoticesShown   What = "notices-shown" // on the board
	NoticesRemoved What = "notices-removed"

	ServiceAccepted  What = "service-accepted"  // an essential service that the fleet proposes
	ServiceWithdrawn What = "service-withdrawn" // one that was accepted

	FleetAsked What = "fleet-asked" // for the box's membership
	FleetLeft  What = "fleet-left"

	LinkMade What = "link-made" // of a lender's page: the one before no longer works

	BackedUp      What = "backed-up"      // the box, as a file
	Restored      What = "restored"       // a backup
	RestoreUndone What = "restore-undone" // the state before it is back
	UseStated     What = "use-stated"     // of a donation whose use was unknown

	UpdateStick   What = "update-stick"   // a release from a stick was asked for
	UpdateExpired What = "update-expired" // likewise, although its signatures have expired
	UpdateLook    What = "update-look"    // the releases' address was asked
	OtherSystem   What = "other-system"   // the other slot was started

	QuestionAsked  What = "question-asked" // of residents
	QuestionClosed What = "question-closed"

	LoanAccepted What = "loan-accepted" // a connection that somebody offered
	LoanRefused  What = "loan-refused"
)

// Button is the role of a press of the box's button.
const Button config.Role = "the button"

// Entry is a change.
type Entry struct {
	At   time.Time   `json:"at"` // by the box's clock
	What What        `json:"what"`
	By   config.Role `json:"by"`
	Side config.Side `json:"side,omitempty"`
	Keys []string    `json:"keys,omitempty"` // dotted, of Settings; never a value
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

// Note adds a change that was made just now. A journal that cannot be written does not stop the change.
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

// Entries returns the changes, the last one first.
func (j *Journal) Entries() ([]Entry, error) {
	all, err := j.file.Read()
	slices.Reverse(all)
	return all, err
}
