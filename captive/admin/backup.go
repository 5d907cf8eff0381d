package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"passerelle/appliance/config"
	"passerelle/appliance/private"
	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
	"passerelle/captive/web"
)

// Backups makes and restores backups of the box. Its methods are safe for concurrent use.
type Backups interface {
	// Name returns a file name for a backup made now.
	Name() string
	// Write writes a backup. With a passphrase the backup contains all secrets and is encrypted.
	Write(w io.Writer, passphrase string) error
	// MaxFile returns the size of the largest backup that is accepted, in bytes.
	MaxFile() int64
	// Check checks a backup, which then waits to be restored or dropped. CheckUndo does the same with the state from before the
	// last restore; its error is fs.ErrNotExist if there is none.
	Check(r io.Reader, passphrase string) (state.Restore, error)
	CheckUndo() (state.Restore, error)
	Undoable() bool
	Drop()
	// Restore begins to restore a checked backup: the box restarts. used says how many bytes each donation has carried in the
	// current period. Last returns how the last restore ended.
	Restore(id string, used map[string]uint64, from config.Side) error
	Last() state.RestoreResult
	// Sticks returns the USB sticks that are plugged in. MarkStick marks one for the box's backups, and writes the first backup
	// to it, which the passphrase opens. WriteStick writes a backup to the marked sticks. LastStick returns how the last backup
	// to a stick went, nil if no stick is marked.
	Sticks(ctx context.Context) ([]state.Stick, error)
	MarkStick(ctx context.Context, device, passphrase string) error
	WriteStick(ctx context.Context) error
	LastStick() *state.StickBackup
	// CheckStick is Check for a backup on a stick.
	CheckStick(ctx context.Context, device, name, passphrase string) (state.Restore, error)
	// StateUse sets how many bytes a donation has carried in the current period, for a donation whose usage is unknown.
	StateUse(ctx context.Context, donation string, bytes uint64) error
	// Trouble returns a word for why a backup cannot be made or restored: "passphrase", "wrong", "weak", "not-backup", "newer",
	// "damaged", "cut", "large", "unusable", "expired", or "stick-" and a StickBackup's Why. It returns "" for an error of the
	// machine, such as one of the disk.
	Trouble(err error) string
}

const (
	backupPath  = "/admin/backup"
	setupBackup = setupPath + "/backup" // for a box without a configuration

	passphraseName = "passphrase"
	restoreName    = "id"
	ofName         = "of." // followed by a number: a donation's name
	usedName       = "used."
)

// backupRoutes are the pages of backups.
var backupRoutes = map[string]techHandler{
	"GET " + backupPath:                (*Server).backup,
	"GET " + setupBackup:               (*Server).backup,
	"POST " + backupPath + "/download": (*Server).downloadBackup,
	"POST " + backupPath + "/upload":   (*Server).uploadBackup,
	"POST " + backupPath + "/undo":     (*Server).undoBackup,
	"POST " + backupPath + "/drop":     (*Server).dropBackup,
	"POST " + backupPath + "/restore":  (*Server).restoreBackup,
	"GET " + backupPath + "/restore":   (*Server).restoring,
	"POST " + backupPath + "/used":     (*Server).stateUse,
}

// backupPage is the page to make a backup, and to choose one to restore.
type backupPage struct {
	techFrame
	First   bool // the box has no configuration: there is nothing to back up
	Saving  *problem
	Reading *problem
	Used    *problem
	Undo    bool
	Last    *lastRestore
	Unknown []string // donations whose usage is unknown
	Limit   string
	Stick   stickPart
}

func (backupPage) Template() string { return "admin/backup" }

// lastRestore says how the last restore ended.
type lastRestore struct {
	Good  bool
	Lines []string
	Why   string // in English
}

func (s *Server) backup(w http.ResponseWriter, r *request) {
	s.showBackup(w, r, func(*backupPage) {}, http.StatusOK)
}

// showBackup shows the page after say has filled in its part.
func (s *Server) showBackup(w http.ResponseWriter, r *request, say func(*backupPage), status int) {
	first := s.unconfigured()
	switch path := r.URL.Path; {
	case first && path == backupPath:
		r.Lead(w, http.StatusSeeOther, setupBackup)
		return
	case !first && path == setupBackup:
		r.Lead(w, http.StatusSeeOther, setupPath)
		return
	}
	p := backupPage{First: first, Undo: s.Backups.Undoable() && !first, Limit: r.Words.Size(uint64(s.Backups.MaxFile()))}
	if first {
		p.techFrame = techFrame{Frame: r.Frame(setupBackup, r.Words.T("backup.first"))}
	} else {
		p.techFrame = s.tech(r, "settings", backupPath, r.Words.T("backup.title"))
	}
	switch last := s.Backups.Last(); {
	case last.Running:
		p.Last, p.Refresh = &lastRestore{Lines: r.Words.Lines("backup.runs")}, 5
	case last.Error != "":
		p.Last = &lastRestore{Lines: r.Words.Lines("backup.failed"), Why: last.Error}
	case !last.Done.IsZero() && last.Undo:
		p.Last = &lastRestore{Good: true, Lines: r.Words.Lines("backup.undone")}
	case !last.Done.IsZero():
		p.Last = &lastRestore{Good: true, Lines: r.Words.Lines("backup.restored")}
	}
	for _, d := range s.Box.Status().Donations {
		if d.Lost && d.Cap != 0 {
			p.Unknown = append(p.Unknown, d.Name)
		}
	}
	web.Yield(r.Request.Request) // reading a stick can take seconds
	p.Stick = s.stickPart(r, first)
	say(&p)
	s.serve(w, r, p, status)
}

// backupTrouble returns what the page says about an error, and the HTTP status to answer with.
func (s *Server) backupTrouble(w *web.Words, err error) (*problem, int) {
	var large *http.MaxBytesError
	word, status := s.Backups.Trouble(err), http.StatusUnprocessableEntity
	switch {
	case word != "":
	case errors.As(err, &large):
		word, status = "large", http.StatusRequestEntityTooLarge
	case errors.Is(err, web.ErrNoFile):
		word = "none"
	case errors.Is(err, errNotGigabytes):
		word = "gigabytes"
	case errors.Is(err, errNoPassphrase):
		word = "weak"
	case errors.Is(err, private.ErrLocked):
		word, status = "busy", http.StatusConflict
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EROFS):
		word, status = "full", http.StatusInsufficientStorage
	case errors.Is(err, fs.ErrNotExist):
		word, status = "expired", http.StatusConflict
	default:
		s.Log.Error("a backup", "err", err)
		word, status = "machine", http.StatusInternalServerError
	}
	p := &problem{Text: w.T("backup.wrong." + word)}
	if word == "unusable" || word == "damaged" || word == "cut" {
		p.Detail = err.Error()
	}
	return p, status
}

// downloadBackup sends a backup. An error before the first byte is shown on the page; after it, the connection is aborted.
func (s *Server) downloadBackup(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	passphrase := ""
	if form.Get("seal") != "" {
		passphrase = form.Get(passphraseName)
	}
	_, cancel, err := allowCheck(w, r)
	out := &attachment{w: w, name: s.Backups.Name()}
	if err == nil {
		defer cancel()
		if form.Get("seal") != "" && passphrase == "" {
			err = errNoPassphrase
		} else {
			err = s.Backups.Write(out, passphrase)
		}
	}
	switch {
	case err == nil:
		s.note(r, journal.BackedUp)
	case r.Context().Err() != nil:
	case out.begun:
		s.Log.Error("a backup is not sent as a whole", "err", err)
		panic(http.ErrAbortHandler)
	default:
		p, status := s.backupTrouble(r.Words, err)
		r.URL.Path = backupPath
		s.showBackup(w, r, func(page *backupPage) { page.Saving = p }, status)
	}
}

var errNoPassphrase = errors.New("no passphrase")

// attachment is a download whose headers are set with the first byte, so that an error before it can still be answered by a page.
type attachment struct {
	w     http.ResponseWriter
	name  string
	begun bool
}

func (a *attachment) Write(b []byte) (int, error) {
	if !a.begun {
		a.begun = true
		h := a.w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": a.name}))
		h.Set("Cache-Control", "no-store")
	}
	return a.w.Write(b)
}

// uploadBackup checks a backup, and shows what restoring it would change.
func (s *Server) uploadBackup(w http.ResponseWriter, r *request) {
	most := s.Backups.MaxFile()
	up, err := r.ReadUpload(w, most+maxForm)
	var says state.Restore
	if err == nil {
		if s.full(r) {
			err = fmt.Errorf("receive a backup: %w", syscall.ENOSPC)
		} else {
			says, err = s.checkBackup(w, r, func() (state.Restore, error) {
				return s.Backups.Check(up.File, up.Form.Get(passphraseName))
			})
		}
		if err != nil {
			up.Discard()
		}
	}
	switch {
	case r.Context().Err() != nil:
	case errors.Is(err, web.ErrForm):
		s.refuse(w, r, http.StatusBadRequest)
	case err != nil:
		s.cannotRestore(w, r, err)
	default:
		s.showRestore(w, r, says)
	}
}

func (s *Server) checkBackup(w http.ResponseWriter, r *request, check func() (state.Restore, error)) (state.Restore, error) {
	_, cancel, err := allowCheck(w, r)
	if err != nil {
		return state.Restore{}, err
	}
	defer cancel()
	return check()
}

// cannotRestore shows the page again, with the reason why a backup cannot be restored.
func (s *Server) cannotRestore(w http.ResponseWriter, r *request, err error) {
	p, status := s.backupTrouble(r.Words, err)
	if status == http.StatusRequestEntityTooLarge {
		w.Header().Set("Connection", "close")
	}
	r.URL.Path = backupPath
	if s.unconfigured() {
		r.URL.Path = setupBackup
	}
	s.showBackup(w, r, func(page *backupPage) { page.Reading = p }, status)
}

// undoBackup shows what undoing the last restored backup would change.
func (s *Server) undoBackup(w http.ResponseWriter, r *request) {
	if status := web.CheckPOST(w, r.Request.Request); status != http.StatusOK {
		s.refuse(w, r, status)
		return
	}
	says, err := s.checkBackup(w, r, s.Backups.CheckUndo)
	if err != nil {
		s.cannotRestore(w, r, err)
		return
	}
	s.showRestore(w, r, says)
}

// restorePage shows what restoring a backup would change, and offers to do it.
type restorePage struct {
	techFrame
	ID       string
	Undo     bool
	First    bool
	Facts    []string
	Changes  []changeRow
	Effect   []string
	Secrets  []string // names of secrets that are not in the backup
	Accounts []accountRow
	Files    []string
	Kept     []string
	Unusable []string // in English
	Packs    []string
}

func (restorePage) Template() string { return "admin/backup-plan" }

// accountRow says what restoring does to the usage count of a donation.
type accountRow struct {
	Number  int
	Name    string
	Lines   []string
	Unknown bool
}

// showRestore shows what a checked backup would change.
func (s *Server) showRestore(w http.ResponseWriter, r *request, says state.Restore) {
	words := r.Words
	p := restorePage{
		ID: says.ID, Undo: says.Undo, First: says.First, Unusable: says.Unusable, Packs: says.Packs,
		Secrets: says.NewSecrets,
	}
	title := words.T("backup.plan")
	if says.Undo {
		title = words.T("backup.plan-undo")
	}
	if says.First {
		p.techFrame = techFrame{Frame: r.Frame(setupBackup, title)}
	} else {
		p.techFrame = s.tech(r, "settings", backupPath, title)
	}
	p.Facts = []string{words.T("backup.of", "name", words.Isolate(says.Centre)), words.T("backup.made", "when", words.When(says.Made.In(r.Now.Location()), r.Now))}
	var changes []config.Difference
	for _, c := range says.Settings {
		changes = append(changes, config.Difference{Donation: c.Donation, Key: c.Key, Before: c.Before, After: c.After})
	}
	p.Changes = changeRows(words, changes)
	if says.CutsOff {
		p.Effect = words.Lines("settings.does." + string(CutsOff))
	}
	for i, a := range says.Accounts {
		row := accountRow{Number: i, Name: a.Donation, Unknown: a.Unknown}
		row.Lines = []string{words.T("backup.used", "saved", words.Size(a.Saved), "here", words.Size(a.Here))}
		if !a.Unknown {
			row.Lines = append(row.Lines, words.T("backup.counts", "used", words.Size(a.Used)))
		}
		p.Accounts = append(p.Accounts, row)
	}
	for _, f := range says.Files {
		if f.Change != state.FileSame {
			p.Files = append(p.Files, words.T("backup.change."+string(f.Change), "name", strings.TrimSpace(words.T("backup.kind."+f.Kind)+" "+words.Isolate(f.Name))))
		}
	}
	for _, kind := range says.Kept {
		p.Kept = append(p.Kept, words.T("backup.kind."+kind))
	}
	s.serve(w, r, p, http.StatusOK)
}

func (s *Server) dropBackup(w http.ResponseWriter, r *request) {
	if status := web.CheckPOST(w, r.Request.Request); status != http.StatusOK {
		s.refuse(w, r, status)
		return
	}
	s.Backups.Drop()
	to := backupPath
	if s.unconfigured() {
		to = setupBackup
	}
	r.Lead(w, http.StatusSeeOther, to)
}

// gigabytes parses a number of gigabytes as people type it, and returns it in bytes. ok is false if it is not such a number.
func gigabytes(text string) (bytes uint64, ok bool) {
	text = strings.Join(strings.Fields(strings.Replace(text, ",", ".", 1)), "")
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n < 0 || n > 1e6 {
		return 0, false
	}
	return uint64(math.Ceil(n * 1e9)), true
}

// restoreBackup restores a backup that was checked and shown.
func (s *Server) restoreBackup(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	used := map[string]uint64{}
	for i := 0; form.Has(ofName + strconv.Itoa(i)); i++ {
		name, text := form.Get(ofName+strconv.Itoa(i)), strings.TrimSpace(form.Get(usedName+strconv.Itoa(i)))
		if text == "" {
			continue
		}
		bytes, ok := gigabytes(text)
		if !ok {
			s.cannotRestore(w, r, errNotGigabytes)
			return
		}
		used[name] = bytes
	}
	first := s.unconfigured()
	if err := s.Backups.Restore(form.Get(restoreName), used, r.side); err != nil {
		s.cannotRestore(w, r, err)
		return
	}
	p := settingsNotice{
		techFrame: s.tech(r, "settings", backupPath, r.Words.T("backup.runs")), Pictogram: "wait", Lines: r.Words.Lines("backup.runs"),
		To: web.Link{Href: backupPath + "/restore", Text: r.Words.T("backup.see")},
	}
	if network := s.Backups.Last().Network; first && network != "" && r.side != config.SideWired {
		p.Lines = append(p.Lines, r.Words.Lines("setup.join", "name", r.Words.Isolate(network))...)
	}
	if first {
		p.Parts = nil
	}
	p.Refresh = 10
	s.serve(w, r, p, http.StatusOK)
}

var errNotGigabytes = errors.New("this is no number of gigabytes")

// restoring redirects to the page to continue with after a restore.
func (s *Server) restoring(w http.ResponseWriter, r *request) {
	last := s.Backups.Last()
	switch {
	case last.First && last.Error == "" && !last.Running && !last.Done.IsZero():
		r.Lead(w, http.StatusSeeOther, setupPath+"/"+setupDone)
	case s.unconfigured():
		r.Lead(w, http.StatusSeeOther, setupBackup)
	default:
		r.Lead(w, http.StatusSeeOther, backupPath)
	}
}

// stateUse sets a donation's usage, as the technician states it.
func (s *Server) stateUse(w http.ResponseWriter, r *request) {
	form, err := r.ReadForm(w, maxForm)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest)
		return
	}
	bytes, ok := gigabytes(form.Get("used"))
	if !ok {
		r.URL.Path = backupPath
		s.showBackup(w, r, func(p *backupPage) { p.Used = &problem{Text: r.Words.T("backup.wrong.gigabytes")} }, http.StatusUnprocessableEntity)
		return
	}
	err = s.Backups.StateUse(r.Context(), form.Get(nameName), bytes)
	if err != nil && !errors.Is(err, state.ErrUseKnown) && !errors.Is(err, state.ErrNoDonation) { // else the page shows what is true now
		s.failed(w, r, "state what was used", err)
		return
	}
	if err == nil {
		s.note(r, journal.UseStated)
	}
	r.Lead(w, http.StatusSeeOther, backupPath)
}
