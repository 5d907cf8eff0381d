package admin

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/web"
)

const (
	stickPath = backupPath + "/stick"

	stickLookTime = 8 * time.Second // timeout for reading slow sticks while a page is made

	deviceName = "device"
	savedName  = "saved" // DEVICE/NAME of a backup
)

// stickRoutes are the requests about backups on USB sticks.
var stickRoutes = map[string]techHandler{
	"POST " + stickPath + "/mark":    (*Server).markStick,
	"POST " + stickPath + "/write":   (*Server).writeStick,
	"POST " + stickPath + "/restore": (*Server).restoreStick,
}

// stickRow is a stick that is plugged in.
type stickRow struct {
	Device string
	Title  string
	Lines  []string
	Good   bool // a backup can be written to it
	Mark   bool // it can be marked
}

// savedOption is a backup on a stick.
type savedOption struct{ Value, Text string }

// stickPart is the part of the backups' page about sticks.
type stickPart struct {
	Said   []string // when the last backup was written, and why none since
	Why    string   // in English
	Good   bool     // the last backup was written
	Ours   bool     // a usable stick of this box is plugged in
	Sticks []stickRow
	Saved  []savedOption
	Wrong  *problem // why marking or writing failed
	Opens  *problem // why a backup on a stick cannot be restored
}

// sticks returns the sticks that are plugged in. An error is only logged.
func (s *Server) sticks(r *request) []state.Stick {
	ctx, cancel := context.WithTimeout(r.Context(), stickLookTime)
	defer cancel()
	all, err := s.Backups.Sticks(ctx)
	if err != nil && r.Context().Err() == nil {
		s.Log.Warn("look for sticks", "err", err)
	}
	return all
}

// stickPart composes the part of the backups' page about sticks.
func (s *Server) stickPart(r *request, first bool) (p stickPart) {
	w := r.Words
	last := s.Backups.LastStick()
	if last != nil && !first {
		p.Said, p.Good = stickSays(w, *last, r.Now), last.Why == ""
		if stickWord(w, last.Why) == "failed" {
			p.Why = last.Error
		}
	}
	for _, x := range s.sticks(r) {
		row := stickRow{Device: x.Device, Title: w.T("stick.name", "size", w.Size(x.Size)), Good: x.Wrong == "" && x.Ours}
		switch {
		case x.Wrong != "":
			row.Title, row.Lines = w.T("stick.nameless"), w.Lines("stick.why."+stickWord(w, x.Wrong))
		case x.Ours:
			row.Lines = w.Lines("stick.ours", "free", w.Size(x.Free))
		case x.Centre != "":
			row.Lines, row.Mark = w.Lines("stick.theirs", "name", w.Isolate(x.Centre)), true
		default:
			row.Lines, row.Mark = w.Lines("stick.unmarked", "free", w.Size(x.Free)), true
		}
		p.Ours = p.Ours || row.Good
		p.Sticks = append(p.Sticks, row)
		for _, f := range x.Backups {
			text := w.Day(f.Date.Time) + " " + strconv.Itoa(f.Date.Year())
			if x.Centre != "" {
				text = w.T("stick.saved", "name", w.Isolate(x.Centre), "day", text)
			}
			p.Saved = append(p.Saved, savedOption{x.Device + "/" + f.Name, text})
		}
	}
	return p
}

// stickWord returns a word for why a stick cannot be used. Its message is stick.why.WORD.
func stickWord(w *web.Words, why string) string {
	if _, err := w.Message("stick.why." + why); err != nil {
		return "failed"
	}
	return why
}

// stickSays says when the last backup was written to a stick, and why none was written since.
func stickSays(w *web.Words, last state.StickBackup, now time.Time) (lines []string) {
	if last.Done.IsZero() {
		lines = append(lines, w.T("stick.none"))
	} else {
		lines = append(lines, w.T("stick.last", "when", w.When(last.Done.In(now.Location()), now)))
	}
	if last.Why != "" {
		lines = append(lines, w.T("stick.not", "when", w.When(last.Failed.In(now.Location()), now)))
		lines = append(lines, w.Lines("stick.why."+stickWord(w, last.Why))...)
	}
	return lines
}

// savedCentre returns the name of the centre whose backups are on a stick that is plugged in. ok is false if no stick has a backup.
func (s *Server) savedCentre(r *request) (name string, ok bool) {
	for _, x := range s.sticks(r) {
		if len(x.Backups) > 0 {
			return x.Centre, true
		}
	}
	return "", false
}

// markStick marks a stick for the box's backups, and writes the first one.
func (s *Server) markStick(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	s.toStick(w, r, func(ctx context.Context) error {
		return s.Backups.MarkStick(ctx, form.Get(deviceName), form.Get(passphraseName))
	})
}

// writeStick writes a backup to the box's sticks.
func (s *Server) writeStick(w http.ResponseWriter, r *request) {
	if status := web.CheckPOST(w, r.Request.Request); status != http.StatusOK {
		s.refuse(w, r, status)
		return
	}
	s.toStick(w, r, s.Backups.WriteStick)
}

func (s *Server) toStick(w http.ResponseWriter, r *request, do func(context.Context) error) {
	ctx, cancel, err := allowCheck(w, r)
	if err == nil {
		defer cancel()
		err = do(ctx)
	}
	switch {
	case r.Context().Err() != nil:
	case err != nil:
		p, status := s.stickTrouble(r.Words, err)
		r.URL.Path = backupPath
		s.showBackup(w, r, func(page *backupPage) { page.Stick.Wrong = p }, status)
	default:
		s.note(r, journal.BackedUp)
		r.Lead(w, http.StatusSeeOther, backupPath)
	}
}

// stickTrouble returns what the page says about an error, and the HTTP status to answer with.
func (s *Server) stickTrouble(w *web.Words, err error) (*problem, int) {
	if why, ok := strings.CutPrefix(s.Backups.Trouble(err), "stick-"); ok {
		p := &problem{Text: strings.Join(w.Lines("stick.why."+stickWord(w, why)), " ")}
		if stickWord(w, why) == "failed" {
			p.Detail = err.Error()
		}
		return p, http.StatusConflict
	}
	return s.backupTrouble(w, err)
}

// restoreStick checks a backup on a stick, and shows what restoring it would change.
func (s *Server) restoreStick(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	device, name, _ := strings.Cut(form.Get(savedName), "/")
	ctx, cancel, err := allowCheck(w, r)
	var says state.Restore
	if err == nil {
		defer cancel()
		says, err = s.Backups.CheckStick(ctx, device, name, form.Get(passphraseName))
	}
	switch {
	case r.Context().Err() != nil:
	case err != nil:
		p, status := s.stickTrouble(r.Words, err)
		r.URL.Path = backupPath
		if s.unconfigured() {
			r.URL.Path = setupBackup
		}
		s.showBackup(w, r, func(page *backupPage) { page.Stick.Opens = p }, status)
	default:
		s.showRestore(w, r, says)
	}
}
