package daemon

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"passerelle/appliance/backup"
	"passerelle/appliance/config"
	"passerelle/appliance/fetch"
	"passerelle/appliance/private"
	"passerelle/appliance/state"
	"passerelle/appliance/store"
	"passerelle/captive/admin/login"
	"passerelle/captive/places"
	"passerelle/captive/places/directory"
	"passerelle/captive/places/needs"
	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/voice"
	"passerelle/captive/voice/agenda"
	"passerelle/captive/voice/board"
)

// What a backup contains, by the names of its files:
//
//	config.toml             the configuration's text
//	ledger.json             for each donation: what was used, its days, its pause; with secrets also the hash of its lender's link
//	places/NAME.list        the lists of places, as imported; places/numbers.toml and places/needs.toml if they are the centre's own
//	voice/agenda.json       the staff's events; voice/calendars/NAME.ics the imported calendars
//	voice/board.json        the notices that are shown; those that wait are seen by staff only, and left out
//	voice/opinion.json      the counts that are shown, of at least five presses; smaller ones are seen by nobody, and left out
//	access/NAME.json        with secrets: the password's hash, and other secrets to sign in with
//	access/stick.json       with secrets: which USB sticks keep the backups, and the key that seals those
//	https.pem               with secrets: the certificate and its key
//
// It has only the names of packs. It does not have: sessions, leases and the rest of the run directory; the journal, the versions
// of the configuration, refused files, and files that wait to be imported. The box can go on without them.
const (
	savedConfig  = "config.toml"
	savedLedger  = "ledger.json"
	savedAccess  = "access/access.json"
	savedBoard   = "voice/board.json"
	savedOpinion = "voice/opinion.json"
)

// savedContent matches the files of the state folder that a backup has unchanged, by their kind.
var savedContent = []struct {
	kind    string
	folder  string // that has all such files
	name    *regexp.Regexp
	secret  bool
	replace bool // restoring replaces the box's own file; otherwise the box's own stays, if there is one
}{
	{"places", "places", regexp.MustCompile(`^([a-z0-9][a-z0-9-]*)\.list$`), false, true},
	{"numbers", "places", regexp.MustCompile(`^numbers\.toml$`), false, true},
	{"needs", "places", regexp.MustCompile(`^needs\.toml$`), false, true},
	{"agenda", "voice", regexp.MustCompile(`^agenda\.json$`), false, true},
	{"calendar", "voice/calendars", regexp.MustCompile(`^([a-z0-9][a-z0-9-]*)\.ics$`), false, true},
	{"board", "voice", regexp.MustCompile(`^board\.json$`), false, false},
	{"opinion", "voice", regexp.MustCompile(`^opinion\.json$`), false, false},
	{"stick", accessFolder, regexp.MustCompile(`^stick\.json$`), true, false},
	{"access", accessFolder, regexp.MustCompile(`^([a-z]+)\.json$`), true, false},
	{"certificate", ".", regexp.MustCompile(`^https\.pem$`), true, true},
}

// notAccess is a file in the folder of secrets that is not a secret.
const notAccess = "journal.json"

// restoreFolder has the batch that replaces files, the checked backup that waits to be restored, and the state before the last
// restore.
const (
	restoreFolder = "restore"
	undoFile      = "before.backup"
	keptFile      = "kept.backup"
	checkedPrefix = "checked-"
)

// checkedLife is how long a checked backup is kept. It is short, since the backup has secrets.
const checkedLife = 30 * time.Minute

// Backups makes and restores backups of a running or a stopped box. Its methods are safe for concurrent use.
type Backups struct {
	paths
	release string
	log     *slog.Logger
	now     func() time.Time
	trusted func() bool // whether the clock is trusted
	// ledger opens the ledger, or returns that of the running box.
	ledger func() (l accountLedger, release func() error, err error)

	mu      sync.Mutex
	writing sync.Mutex // held while a backup is written
	busy    bool       // a backup is being checked
	checked *checkedBackup
	last    state.RestoreResult
}

// accountLedger is what a backup needs of the store.
type accountLedger interface {
	Save() (store.Saved, error)
}

// checkedBackup is a backup that may be restored.
type checkedBackup struct {
	dir      string
	manifest backup.Manifest
	text     []byte // of the configuration, with secrets; nil for none
	saved    store.Saved
	at       time.Time
	says     state.Restore
	unusable map[string]error // files that stay as they are on this box
	base     config.Revision  // of the configuration that it was compared with
}

// StoppedBackups makes and restores backups of a box that does not run.
func StoppedBackups(o Options) (*Backups, error) {
	b := &Backups{paths: paths{config: o.Config, state: o.State, socket: o.Socket}, release: o.Release, log: o.Log, now: time.Now}
	b.trusted = func() bool { return false }
	b.ledger = b.openLedger
	if err := b.absolute(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(b.state); err == nil {
		if _, err := backup.Finish(b.restoring("")); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// openLedger opens the ledger of a box that does not run.
func (b *Backups) openLedger() (accountLedger, func() error, error) {
	if err := private.Folder(b.state, 0o700); err != nil {
		return nil, nil, err
	}
	s, quarantined, err := store.Open(filepath.Join(b.state, ledgerFile), b.donations(), b.now())
	if err != nil {
		return nil, nil, err
	}
	if quarantined != nil {
		b.log.Warn(quarantined.Error())
	}
	return s, s.Close, nil
}

// donations returns the names of the configured donations.
func (b *Backups) donations() (names []string) {
	if c, err := (config.File{Path: b.paths.config}).Load(); err == nil {
		for _, d := range c.Donations {
			names = append(names, d.Name)
		}
	}
	return names
}

func (b *Backups) restoring(name string) string { return filepath.Join(b.state, restoreFolder, name) }

// Name returns a name for a file with a backup made now.
func (b *Backups) Name() string {
	centre := "box"
	if c, err := (config.File{Path: b.paths.config}).Load(); err == nil {
		centre = cmp.Or(agenda.NameOf(c.Box.Name+".x"), centre)
	}
	return fmt.Sprintf("passerelle-%s-%s.backup", centre, b.now().Format(time.DateOnly))
}

// ErrUnconfigured says that there is nothing to back up.
var ErrUnconfigured = errors.New("there is nothing to back up: no technician has configured this box")

// Write writes a backup. With a passphrase it has all secrets and is sealed; without one it has no secrets.
func (b *Backups) Write(w io.Writer, passphrase string) error {
	if passphrase == "" {
		return b.writeAlone(w, nil)
	}
	if err := backup.CheckPassphrase(passphrase); err != nil {
		return err
	}
	return b.writeAlone(w, backup.Passphrase(passphrase))
}

// writeAlone writes a backup while no other one is written. With a seal it has all secrets.
func (b *Backups) writeAlone(w io.Writer, seal backup.Seal) error {
	if !b.writing.TryLock() { // a seal takes 32 MiB
		return fmt.Errorf("another backup is being made: %w", private.ErrLocked)
	}
	defer b.writing.Unlock()
	l, release, err := b.ledger()
	if err != nil {
		return err
	}
	return errors.Join(b.write(w, l, seal, seal != nil), release())
}

func (b *Backups) write(w io.Writer, l accountLedger, seal backup.Seal, secrets bool) (err error) {
	text, _, err := config.File{Path: b.paths.config}.Read()
	if errors.Is(err, fs.ErrNotExist) {
		return ErrUnconfigured
	}
	if err != nil {
		return err
	}
	c, err := config.Parse(b.paths.config, text)
	if err != nil { // nobody could restore it
		return unusable(savedConfig, err)
	}
	m := backup.Manifest{Release: b.release, Made: b.now().In(c.Box.Timezone), Trusted: b.trusted(), Centre: c.Box.Name, Secrets: secrets}
	saved, err := l.Save()
	if err != nil {
		return err
	}
	if !secrets {
		var links []string
		text, m.LeftOut = config.WithoutSecrets(text)
		saved, links = saved.WithoutSecrets()
		for _, name := range links {
			m.LeftOut = append(m.LeftOut, fmt.Sprintf("donation %q link", name))
		}
	}
	ledgerText, err := json.Marshal(saved)
	if err != nil {
		return err
	}
	files := []backup.File{backup.Text(savedConfig, text), backup.Text(savedLedger, ledgerText)}
	opened, err := b.openContent(&m, secrets)
	defer func() {
		for _, f := range opened {
			if c, ok := f.Content.(io.Closer); ok {
				c.Close()
			}
		}
	}()
	if err != nil {
		return err
	}
	packs, _ := lessons.Packs(Content(b.state, "tutorials"))
	for _, p := range packs {
		m.Packs = append(m.Packs, backup.Pack{Name: p.Name, Title: p.Title, Size: int64(p.Size)})
	}
	return backup.Write(w, m, append(files, opened...), seal)
}

// Keep writes a backup with all secrets to the box's own state folder. It replaces the one that Keep wrote before, and returns
// its path. The error is ErrUnconfigured if there is nothing to back up.
func (b *Backups) Keep() (path string, err error) {
	l, release, err := b.ledger()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := private.Folder(b.restoring(""), 0o700); err != nil {
		return "", err
	}
	path = b.restoring(keptFile)
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(b.restoring("")), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return "", err
	}
	defer file.Cleanup()
	if err := b.write(file, l, nil, true); err != nil {
		return "", err
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return "", err
	}
	return path, private.SyncFolder(b.restoring(""))
}

// Forget removes the backups that the box keeps for itself: they contain passwords that their owners have withdrawn.
func (b *Backups) Forget() error {
	for _, name := range []string{keptFile, undoFile} {
		if err := os.Remove(b.restoring(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := private.SyncFolder(b.restoring("")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// save returns the part of the ledger that a backup has.
func (b *Backups) save() (saved store.Saved, err error) {
	l, release, err := b.ledger()
	if err != nil {
		return saved, err
	}
	saved, err = l.Save()
	return saved, errors.Join(err, release())
}

// openContent opens the files of the state folder that a backup has. It lists the secrets that it leaves out in the manifest.
func (b *Backups) openContent(m *backup.Manifest, secrets bool) (files []backup.File, err error) {
	names, err := contentIn(b.state)
	for _, name := range names {
		kind, _ := savedKindOf(name)
		if kind.secret && !secrets {
			m.LeftOut = append(m.LeftOut, name)
			continue
		}
		path := filepath.Join(b.state, name)
		switch name {
		case savedBoard, savedOpinion:
			text, err := shownOnly(b.state, name)
			if err != nil {
				return files, err
			}
			files = append(files, backup.Text(name, text))
			continue
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed just now
		}
		if err != nil {
			return files, err
		}
		info, err := f.Stat()
		if err != nil {
			return files, errors.Join(err, f.Close())
		}
		files = append(files, backup.File{Name: name, Size: info.Size(), Content: f})
	}
	return files, err
}

// shownOnly returns what everybody may see of the board, or of opinions.
func shownOnly(dir, name string) ([]byte, error) {
	if name == savedBoard {
		file := voice.BoardFile(Content(dir, "voice"))
		posts, err := file.Read()
		if err != nil {
			return nil, err
		}
		posts.Posts = slices.DeleteFunc(posts.Posts, board.Post.Waits)
		return file.Text(posts)
	}
	file := voice.OpinionFile(Content(dir, "voice"))
	opinions, err := file.Read()
	if err != nil {
		return nil, err
	}
	opinions.DropWaiting()
	return file.Text(opinions)
}

// contentIn returns the names of the files of a state folder that a backup has, sorted.
func contentIn(dir string) (names []string, err error) {
	for _, k := range savedContent {
		entries, readErr := os.ReadDir(filepath.Join(dir, k.folder))
		if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
			err = errors.Join(err, readErr)
		}
		for _, e := range entries {
			name := filepath.ToSlash(filepath.Join(k.folder, e.Name()))
			if name == savedAccess && !login.Chosen(filepath.Join(dir, accessFolder)) {
				continue // it has a setup code, which each box makes for itself
			}
			if e.Type().IsRegular() && k.name.MatchString(e.Name()) && !(k.kind == "access" && e.Name() == notAccess) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, err
}

// savedKind is the kind of a file in a backup.
type savedKind struct {
	kind, name      string
	secret, replace bool
}

// savedKindOf returns the kind of a file of the state folder that a backup may have.
func savedKindOf(name string) (k savedKind, ok bool) {
	folder, base := filepath.Split(name)
	for _, c := range savedContent {
		if found := c.name.FindStringSubmatch(base); found != nil && filepath.Clean(folder) == c.folder && !(c.kind == "access" && base == notAccess) {
			k = savedKind{kind: c.kind, secret: c.secret, replace: c.replace}
			if len(found) > 1 {
				k.name = found[1]
			}
			return k, true
		}
	}
	return k, false
}

// Check checks a backup, and returns what restoring it would change. The backup stays on the box until it is restored or
// dropped; an earlier checked one is dropped. The error is one of backup.Unpack, or says why the content cannot be used.
func (b *Backups) Check(r io.Reader, passphrase string) (state.Restore, error) {
	return b.check(r, passphrase, false)
}

// CheckUndo is Check for the state before the last backup that was restored. The error is fs.ErrNotExist if there is none.
func (b *Backups) CheckUndo() (state.Restore, error) {
	f, err := os.Open(b.restoring(undoFile))
	if err != nil {
		return state.Restore{}, err
	}
	defer f.Close()
	return b.check(f, "", true)
}

// Undoable tells whether there is a restored backup to undo.
func (b *Backups) Undoable() bool {
	_, err := os.Lstat(b.restoring(undoFile))
	return err == nil
}

func (b *Backups) check(r io.Reader, passphrase string, undo bool) (says state.Restore, err error) {
	if err := b.begin(); err != nil {
		return says, err
	}
	defer b.end()
	if err := private.Folder(b.restoring(""), 0o700); err != nil {
		return says, err
	}
	c := &checkedBackup{at: b.now()}
	if c.dir, err = os.MkdirTemp(b.restoring(""), checkedPrefix); err != nil {
		return says, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(c.dir) // the next one removes it, too
		}
	}()
	if c.manifest, err = backup.Unpack(r, passphrase, c.dir); err != nil {
		return says, err
	}
	if err := b.compare(c, undo); err != nil {
		return says, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.checked = c
	return c.says, nil
}

// begin starts to check a backup. The error is private.ErrLocked while another one is checked or restored.
func (b *Backups) begin() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy || b.last.Running {
		return fmt.Errorf("another backup is checked or restored: %w", private.ErrLocked)
	}
	b.drop()
	b.busy = true
	return nil
}

func (b *Backups) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = false
}

// drop removes checked backups. b.mu is held.
func (b *Backups) drop() {
	b.checked = nil
	left, _ := filepath.Glob(b.restoring(checkedPrefix + "*"))
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			b.log.Warn("remove a backup that was checked", "error", err)
		}
	}
}

// Drop removes a checked backup that waits.
func (b *Backups) Drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.last.Running && !b.busy {
		b.drop()
	}
}

// ErrUnusable says that the content of a backup cannot be used.
var ErrUnusable = errors.New("it cannot be used on this box")

func unusable(name string, err error) error { return fmt.Errorf("%s: %w: %w", name, ErrUnusable, err) }

// compare checks the content of a backup, and finds what restoring it would change.
func (b *Backups) compare(c *checkedBackup, undo bool) error {
	m := c.manifest
	c.says = state.Restore{ID: rand.Text(), Undo: undo, Made: m.Made, Release: m.Release, Centre: m.Centre, Secrets: m.Secrets}
	for _, f := range m.Files {
		if _, ok := savedKindOf(f.Name); !ok && f.Name != savedConfig && f.Name != savedLedger {
			return fmt.Errorf("%w: it has %q, which this version does not know", backup.ErrNewer, f.Name)
		}
	}
	if !m.Has(savedConfig) || !m.Has(savedLedger) {
		return fmt.Errorf("%w: it has no configuration, or no accounts", backup.ErrDamaged)
	}
	before, after, err := b.compareConfig(c)
	if err != nil {
		return err
	}
	ledgerText, err := os.ReadFile(filepath.Join(c.dir, savedLedger))
	if err != nil {
		return err
	}
	if c.saved, err = store.ParseSaved(ledgerText); err != nil {
		return unusable(savedLedger, err)
	}
	if err := b.compareAccounts(c, after, undo); err != nil {
		return err
	}
	c.unusable = unusableContent(c.dir, m)
	for _, name := range slices.Sorted(maps.Keys(c.unusable)) {
		c.says.Unusable = append(c.says.Unusable, fmt.Sprintf("%s: %v", name, c.unusable[name]))
	}
	if err := b.compareContent(c); err != nil {
		return err
	}
	packs, _ := lessons.Packs(Content(b.state, "tutorials"))
	for _, p := range m.Packs {
		if !slices.ContainsFunc(packs, func(here lessons.Pack) bool { return here.Name == p.Name }) {
			c.says.Packs = append(c.says.Packs, cmp.Or(p.Title, p.Name))
		}
	}
	c.says.First = before == nil
	return nil
}

func (b *Backups) compareConfig(c *checkedBackup) (before, after *config.Config, err error) {
	text, err := os.ReadFile(filepath.Join(c.dir, savedConfig))
	if err != nil {
		return nil, nil, err
	}
	present, revision, err := config.File{Path: b.paths.config}.Read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	c.base = revision
	c.text = text
	if !c.manifest.Secrets {
		if c.text, c.says.NewSecrets, err = config.WithSecrets(savedConfig, text, present); err != nil {
			return nil, nil, unusable(savedConfig, err)
		}
	}
	if after, err = config.Parse(savedConfig, c.text); err != nil {
		return nil, nil, unusable(savedConfig, err)
	}
	if after.Hotspot.Radio == "hostapd" {
		c.says.Network = after.Hotspot.SSID
	}
	if before, err = config.Parse(b.paths.config, present); err != nil {
		return nil, after, nil // there is none, or it is refused
	}
	c.says.CutsOff = mayCutOff(before, after)
	for _, d := range config.Differences(before, after) {
		c.says.Settings = append(c.says.Settings, state.SettingChange{Donation: d.Donation, Key: d.Key, Before: d.Before, After: d.After})
	}
	return before, after, nil
}

func (b *Backups) compareAccounts(c *checkedBackup, after *config.Config, undo bool) error {
	present, err := b.save()
	if err != nil {
		return err
	}
	same := present.Ledger == c.saved.Ledger
	for _, d := range after.Donations {
		var a state.RestoredAccount
		a.Donation, a.Cap = d.Name, uint64(d.Cap)
		saved, ok, err := c.saved.Donations[d.Name].Account()
		if err != nil {
			return unusable(savedLedger, err)
		}
		here, known, err := present.Donations[d.Name].Account()
		if err != nil {
			return err
		}
		a.Saved, a.Here = saved.Record.Summary().Used, here.Record.Summary().Used
		record := &here.Record
		if !known {
			record = nil
		}
		r, any, err := store.Restored(c.saved, d.Name, record, same, undo)
		if err != nil {
			return err
		}
		if !any || !ok && !known {
			continue
		}
		s := r.Summary()
		a.Used, a.Unknown = s.Used, s.Lost && a.Cap != 0
		if s.Start != 0 {
			a.Since = time.Unix(s.Start, 0).In(after.Box.Timezone)
		}
		c.says.Accounts = append(c.says.Accounts, a)
	}
	return nil
}

// unusableContent returns why files of the unpacked content cannot be used, by name. They were unreadable on the box that was
// backed up, or are of another release. The rest is restored without them.
func unusableContent(dir string, m backup.Manifest) map[string]error {
	wrong := map[string]error{}
	lists, problems := directory.Open(Content(dir, "places"))
	defer lists.Close()
	for _, f := range m.Files {
		k, _ := savedKindOf(f.Name)
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		var err error
		switch k.kind {
		case "places":
			if !slices.ContainsFunc(lists.Lists(), func(l directory.List) bool { return l.Name == k.name }) {
				err = errors.Join(problems...)
			}
		case "needs":
			_, err = needs.Read(path, places.NeedsKnown())
		case "numbers":
			err = places.CheckNumbers(Content(dir, "places"))
		case "agenda":
			_, err = (agenda.Store{Dir: Content(dir, "voice")}).Own()
		case "calendar":
			err = checkCalendar(path)
		case "board":
			_, err = voice.BoardFile(Content(dir, "voice")).Read()
		case "opinion":
			_, err = voice.OpinionFile(Content(dir, "voice")).Read()
		}
		if err != nil {
			wrong[f.Name] = shown(err, path)
		}
	}
	return wrong
}

func checkCalendar(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, _, err = agenda.Read(f)
	return err
}

// compareContent finds what restoring would do to each file.
func (b *Backups) compareContent(c *checkedBackup) error {
	here, err := contentIn(b.state)
	if err != nil {
		return err
	}
	names := slices.Clone(here)
	for _, f := range c.manifest.Files {
		if _, ok := savedKindOf(f.Name); ok && !slices.Contains(names, f.Name) {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		k, _ := savedKindOf(name)
		change := state.FileGone
		switch saved, present := c.manifest.Has(name), slices.Contains(here, name); {
		case c.unusable[name] != nil:
			continue
		case !saved && (!k.replace || k.secret):
			continue // it stays
		case saved && present && !k.replace:
			if !slices.Contains(c.says.Kept, k.kind) {
				c.says.Kept = append(c.says.Kept, k.kind)
			}
			continue
		case saved && present:
			change = state.FileChanged
			if same, err := sameContent(filepath.Join(b.state, name), filepath.Join(c.dir, name)); err != nil {
				return err
			} else if same {
				change = state.FileSame
			}
		case saved:
			change = state.FileNew
		}
		c.says.Files = append(c.says.Files, state.RestoredFile{Kind: k.kind, Name: k.name, Change: change})
	}
	return nil
}

// sameContent tells whether two files have the same content.
func sameContent(a, b string) (bool, error) {
	one, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer one.Close()
	other, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer other.Close()
	var x, y [64 << 10]byte
	for {
		n, errX := io.ReadFull(one, x[:])
		m, errY := io.ReadFull(other, y[:])
		ended := errors.Is(errX, io.EOF) || errors.Is(errX, io.ErrUnexpectedEOF)
		switch {
		case errX != nil && !ended:
			return false, errX
		case errY != nil && !errors.Is(errY, io.EOF) && !errors.Is(errY, io.ErrUnexpectedEOF):
			return false, errY
		case !bytes.Equal(x[:n], y[:m]):
			return false, nil
		case ended:
			return true, nil
		}
	}
}

// ErrNotChecked says that a checked backup is no longer there, or was compared with another configuration.
var ErrNotChecked = errors.New("this backup does not wait any more: read it again")

// take returns the checked backup, to be restored, and marks a restore as running. stated is that of Restore.
func (b *Backups) take(id string, stated map[string]uint64) (*checkedBackup, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.checked
	if b.last.Running || c == nil || c.says.ID != id || b.now().Sub(c.at) > checkedLife {
		return nil, ErrNotChecked
	}
	if _, revision, err := (config.File{Path: b.paths.config}).Read(); err != nil && !errors.Is(err, fs.ErrNotExist) || revision != c.base {
		return nil, ErrNotChecked
	}
	for name := range stated {
		if !slices.ContainsFunc(c.says.Accounts, func(a state.RestoredAccount) bool { return a.Donation == name && a.Unknown }) {
			return nil, fmt.Errorf("%w: %q", state.ErrUseKnown, name)
		}
	}
	b.checked, b.last = nil, state.RestoreResult{Restore: c.says, Running: true}
	return c, nil
}

// finish records the result of a restore.
func (b *Backups) finish(c *checkedBackup, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = state.RestoreResult{Restore: c.says, Done: b.now()}
	if err != nil {
		b.last.Error = err.Error()
	}
	b.drop()
}

// Last returns the result of the last restore.
func (b *Backups) Last() state.RestoreResult {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// Restore restores a checked backup on a box that does not run. stated has the bytes that lines have carried in the current
// period, by donation, for donations whose use is unknown.
func (b *Backups) Restore(id string, stated map[string]uint64) error {
	c, err := b.take(id, stated)
	if err != nil {
		return err
	}
	err = b.apply(c, stated, config.RoleCommandLine, "")
	b.finish(c, err)
	return err
}

// apply restores a backup while no file of the box is in use. It is atomic: it restores everything or nothing.
func (b *Backups) apply(c *checkedBackup, stated map[string]uint64, role config.Role, side config.Side) (err error) {
	l, release, err := b.openLedger() // keeps others from opening it meanwhile
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	batch, err := backup.Begin(b.restoring(""))
	if err != nil {
		return err
	}
	if err := b.prepare(batch, c, l, stated, role, side); err != nil {
		return errors.Join(fmt.Errorf("nothing is changed: %w", err), batch.Drop())
	}
	return batch.Commit()
}

func (b *Backups) prepare(batch *backup.Batch, c *checkedBackup, l accountLedger, stated map[string]uint64, role config.Role, side config.Side) error {
	if c.says.Undo {
		batch.Remove(b.restoring(undoFile))
	} else if err := b.keepUndo(batch, l); err != nil {
		return err
	}
	if err := b.prepareLedger(batch, c, stated); err != nil {
		return err
	}
	here, err := contentIn(b.state)
	if err != nil {
		return err
	}
	for _, name := range here {
		if k, _ := savedKindOf(name); k.replace && !k.secret && !c.manifest.Has(name) && c.unusable[name] == nil {
			batch.Remove(filepath.Join(b.state, name))
		}
	}
	for _, f := range c.manifest.Files {
		k, ok := savedKindOf(f.Name)
		if !ok || c.unusable[f.Name] != nil || !k.replace && slices.Contains(here, f.Name) {
			continue
		}
		if err := batch.Move(filepath.Join(c.dir, f.Name), filepath.Join(b.state, f.Name)); err != nil {
			return err
		}
	}
	// The box's own downloads only fetch what is newer than the file that they imported, and that file may now be another one.
	if text, err := os.ReadFile(filepath.Join(b.state, downloadsFile)); err == nil {
		if text, err = fetch.ForgetFiles(text); err == nil {
			err = batch.Write(filepath.Join(b.state, downloadsFile), text)
		} else {
			b.log.Warn("a restored list may stay until its source changes", "error", err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return b.prepareConfig(batch, c, role, side)
}

// keepUndo adds a backup of the state before the restore, with its secrets, for this box only. A box without a valid
// configuration has none.
func (b *Backups) keepUndo(batch *backup.Batch, l accountLedger) error {
	var refused config.Problems
	if _, err := (config.File{Path: b.paths.config}).Load(); errors.Is(err, fs.ErrNotExist) || errors.As(err, &refused) {
		batch.Remove(b.restoring(undoFile))
		return nil
	}
	path, err := batch.New(b.restoring(undoFile))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(b.write(f, l, nil, true), f.Close())
}

// prepareLedger adds a copy of the ledger with the backup's accounts.
func (b *Backups) prepareLedger(batch *backup.Batch, c *checkedBackup, stated map[string]uint64) error {
	path := filepath.Join(b.state, ledgerFile)
	copied, err := batch.New(path)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path) // some hundred kB
	if err == nil {
		err = os.WriteFile(copied, text, 0o600)
	}
	if err != nil {
		return err
	}
	s, quarantined, err := store.Open(copied, nil, b.now())
	if err != nil {
		return err
	}
	if quarantined != nil && quarantined.Cause != nil {
		return errors.Join(quarantined, s.Close())
	}
	return errors.Join(s.Restore(c.saved, c.says.Undo, stated), s.Close())
}

// prepareConfig adds the configuration, if it differs. The version before is kept, and a technician must confirm a change that
// may cut them off, as with any other change.
func (b *Backups) prepareConfig(batch *backup.Batch, c *checkedBackup, role config.Role, side config.Side) error {
	file := config.File{Path: b.paths.config}
	present, revision, err := file.Read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if revision == config.RevisionOf(c.text) {
		return nil
	}
	beside, target, err := file.Prepare(c.text)
	if err != nil {
		return err
	}
	batch.Prepared(beside, target)
	unconfirmedPath := filepath.Join(b.state, pendingFile)
	before, beforeErr := config.Parse(b.paths.config, present)
	after, err := config.Parse(b.paths.config, c.text)
	if err != nil || beforeErr != nil {
		batch.Remove(unconfirmedPath)
		return err
	}
	version := config.Version{Revision: revision, Replaced: b.now(), By: role, Side: side, Changes: config.Differences(before, after)}
	if err := (config.History{Dir: filepath.Join(b.state, versionsFolder)}).Add(version, present); err != nil {
		return err
	}
	if role != config.RoleTechnician || !mayCutOff(before, after) {
		batch.Remove(unconfirmedPath)
		return nil
	}
	note := unconfirmed{present, config.RevisionOf(c.text)}
	if earlier, err := newPending(b.state).read(); err == nil {
		note.Before = earlier.Before
	}
	text, err := json.Marshal(note)
	if err != nil {
		return err
	}
	return batch.Write(unconfirmedPath, text)
}
