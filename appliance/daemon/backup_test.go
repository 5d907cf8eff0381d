package daemon

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"passerelle/appliance/backup"
	"passerelle/appliance/config"
	"passerelle/appliance/ledger"
	"passerelle/appliance/state"
	"passerelle/appliance/store"
	"passerelle/captive/voice"
	"passerelle/captive/voice/agenda"
	"passerelle/captive/voice/board"
	"passerelle/captive/voice/opinion"
	"passerelle/netctl/netlab/labtest"
)

const backupPhrase = "cheval correct pile agrafe"

const savedBox = `[box]
name = "Les Lilas"
[hotspot]
interface = "wlan0"
radio = "hostapd"
ssid = "Lilas"
country = "FR"
address = "10.80.0.1/22"
password = "coquelicot rouge"
[[donation]]
name = "Fibre"
interface = "eth0"
cap = "200GB"
period = "month"
`

// home is a stopped box in a folder.
type home struct {
	*Backups
	t   testing.TB
	top string
}

func newHome(t testing.TB, top string) home {
	t.Helper()
	b, err := StoppedBackups(Options{
		Config: filepath.Join(top, "etc/box.toml"), State: filepath.Join(top, "state"), Socket: filepath.Join(top, "run/sock"),
		Release: "1.2", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return home{b, t, top}
}

func (h home) must(errs ...error) {
	h.t.Helper()
	if err := errors.Join(errs...); err != nil {
		h.t.Fatal(err)
	}
}

func (h home) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.top, name)
	h.must(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
}

// ledgerDo calls f with the open ledger.
func (h home) ledgerDo(f func(*store.Store) error) {
	h.t.Helper()
	s, _, err := store.Open(filepath.Join(h.Backups.state, ledgerFile), nil, time.Now())
	h.must(err)
	h.must(f(s), s.Close())
}

// fill gives the box files that a backup must have, and files that it must not have.
func (h home) fill() {
	h.t.Helper()
	h.must(os.MkdirAll(h.Backups.state, 0o700))
	h.write("etc/box.toml", savedBox)
	h.ledgerDo(func(s *store.Store) error {
		return errors.Join(s.Put(map[string]ledger.Record{"Fibre": {Period: "month", Start: 1, End: 1 << 40, Base: 7e9, TrustedUsed: 7e9, LastID: 5}}),
			s.Set("Fibre", [32]byte{7, 7, 7}), s.SetPaused("Fibre", ledger.Pause{By: "the lender"}))
	})
	h.must(agenda.Store{Dir: Content(h.Backups.state, "voice")}.Change(func(o *agenda.Own) error { return nil }))
	_, err := voice.BoardFile(Content(h.Backups.state, "voice")).Update(func(b *board.Board) error {
		b.Add(board.Post{Side: board.Offer, Kind: "lend", Text: "Une perceuse", Week: "2026-W48"})
		b.Add(board.Post{Side: board.Offer, Kind: "lend", Text: "Personne ne m'a lu", Week: "2026-W48"})
		return b.Accept(1, time.Now())
	})
	h.must(err)
	_, err = voice.OpinionFile(Content(h.Backups.state, "voice")).Update(func(o *opinion.Opinions) error {
		o.Add(opinion.Press{Week: "2026-W48", Part: opinion.Face, Service: "impots", Which: 1}, 3)
		return nil
	})
	h.must(err)
	h.write("state/access/access.json", `{"version":1,"content":{"password":{"Passes":4,"MemoryKiB":9216,"passes":4,"memory_kib":9216,"salt":"c2Vs","key":"aGFjaGU="}}}`)
	h.write("state/access/journal.json", `{"version":1,"content":[]}`)
	h.write("state/https.pem", "the certificate's private key")
	for _, name := range []string{"run/kept.json", "run/sessions.json", "run/dnsmasq/leases", "state/downloads.json", "state/setup/answers.json",
		"state/uploads/x/list.csv", "state/counts/refusals.json", "state/versions/000001.toml", "state/notes.txt"} {
		h.write(name, planted)
	}
}

// planted is the data that a resident's device would leave.
const planted = "02:de:ad:be:ef:99 10.80.2.113 galaxy-de-fatou www.example"

// unpacked returns the whole content of a backup as one text.
func unpacked(t testing.TB, b []byte, passphrase string) string {
	t.Helper()
	dir := t.TempDir()
	m, err := backup.Unpack(bytes.NewReader(b), passphrase, dir)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(m.LeftOut, "\n") + "\n"
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all += path[len(dir):] + "\n" + string(text) + "\n"
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestBackupContent: no backup has data of residents. One without a passphrase has no secret, and names those that it leaves out.
// One with a passphrase has all secrets, and nothing in clear text.
func TestBackupContent(t *testing.T) {
	t.Parallel()
	h := newHome(t, t.TempDir())
	h.fill()
	for _, phrase := range []string{"", backupPhrase} {
		var b bytes.Buffer
		h.must(h.Write(&b, phrase))
		all := unpacked(t, b.Bytes(), phrase)
		for _, of := range append(strings.Fields(planted), "Personne ne m'a lu", `"waiting":3`, "journal.json") {
			if strings.Contains(all, of) {
				t.Errorf("with %q: it has %q", phrase, of)
			}
		}
		for _, of := range []string{"Les Lilas", "Une perceuse", "/ledger.json", "/voice/agenda.json", "/voice/opinion.json"} {
			if !strings.Contains(all, of) {
				t.Errorf("with %q: it lacks %q:\n%s", phrase, of, all)
			}
		}
		secrets := []string{"coquelicot", "aGFjaGU=", "private key", "BwcHAAAA"} // the last one is a link's hash
		for _, of := range secrets {
			if got := strings.Contains(all, of); got != (phrase != "") {
				t.Errorf("with %q: it has %q: %t", phrase, of, got)
			}
		}
		if phrase == "" {
			left := `hotspot "Lilas" password` + "\n" + `donation "Fibre" link` + "\naccess/access.json\nhttps.pem\n"
			if !strings.HasPrefix(all, left) {
				t.Errorf("it says that it lacks\n%s", all[:200])
			}
			zip, err := gzip.NewReader(&b)
			h.must(err)
			text, err := io.ReadAll(zip)
			h.must(err)
			for _, of := range secrets {
				if bytes.Contains(text, []byte(of)) {
					t.Errorf("beside its files it has %q", of)
				}
			}
		} else if bytes.Contains(b.Bytes(), []byte("Lilas")) {
			t.Error("a sealed one has its centre in clear")
		}
	}
}

// files returns the files of a box that a restore may change, by name.
func (h home) files() map[string]string {
	h.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(h.top, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(h.top, path)
		if err != nil || d.IsDir() || strings.HasSuffix(name, ".lock") || strings.Contains(name, restoreFolder) || strings.Contains(name, "versions") {
			return err
		}
		text, err := os.ReadFile(path)
		all[name] = string(text)
		return err
	})
	h.must(err)
	s := h.accounts()
	all["state/ledger.db"] = cmp.Diff(nil, s)
	return all
}

func (h home) accounts() (all map[string]store.SavedAccount) {
	h.t.Helper()
	h.ledgerDo(func(s *store.Store) (err error) {
		all, err = s.Load()
		return err
	})
	return all
}

// restore restores a backup.
func (h home) restore(b []byte, phrase string, used map[string]uint64) (says state.Restore, err error) {
	if says, err = h.Check(bytes.NewReader(b), phrase); err == nil {
		err = h.Restore(says.ID, used)
	}
	return says, err
}

// TestRestoreOnNewBox: a new box becomes the old one, except for the use that nobody knows.
func TestRestoreOnNewBox(t *testing.T) {
	t.Parallel()
	old := newHome(t, t.TempDir())
	old.fill()
	var b bytes.Buffer
	old.must(old.Write(&b, backupPhrase))
	box := newHome(t, t.TempDir())
	says, err := box.restore(b.Bytes(), backupPhrase, nil)
	box.must(err)
	if !says.First || len(says.Accounts) != 1 || !says.Accounts[0].Unknown || says.Accounts[0].Saved != 7e9 || box.Undoable() {
		t.Errorf("it says %+v", says)
	}
	got, want := box.files(), old.files()
	for _, name := range []string{"etc/box.toml", "state/https.pem", "state/access/access.json", "state/voice/agenda.json"} {
		if got[name] != want[name] || got[name] == "" {
			t.Errorf("%s is %q", name, got[name])
		}
	}
	if r := box.accounts()["Fibre"].Record; !r.Lost || r.Base != 7e9 {
		t.Errorf("the account is %+v", r)
	}
	paused := map[string]ledger.Pause{}
	box.ledgerDo(func(s *store.Store) (err error) { paused, err = s.Paused(); return err })
	if paused["Fibre"].By == "" {
		t.Error("the lender's pause is gone")
	}
	box = newHome(t, t.TempDir())
	_, err = box.restore(b.Bytes(), backupPhrase, map[string]uint64{"Fibre": 9e9})
	box.must(err)
	if r := box.accounts()["Fibre"].Record; r.Lost || r.Base != 9e9 {
		t.Errorf("the account is %+v once stated", r)
	}
}

// TestRestoreAndUndo: a restore on a box that has changed since says what it changes, keeps what was counted and what residents
// wrote, and can be undone once.
func TestRestoreAndUndo(t *testing.T) {
	t.Parallel()
	h := newHome(t, t.TempDir())
	h.fill()
	var b bytes.Buffer
	h.must(h.Write(&b, ""))
	h.write("etc/box.toml", strings.NewReplacer("Les Lilas", "Les Roses", "coquelicot rouge", "pavot et bleuet").Replace(savedBox))
	h.write("state/voice/calendars/fetes.ics", "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20991202T100000\r\nSUMMARY:Une\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
	h.ledgerDo(func(s *store.Store) error {
		return s.Put(map[string]ledger.Record{"Fibre": {Period: "month", Start: 1, End: 1 << 40, Base: 8e9, TrustedUsed: 8e9, LastID: 9}})
	})
	before := h.files()
	says, err := h.restore(b.Bytes(), "", nil)
	h.must(err)
	if diff := cmp.Diff([]state.SettingChange{{Key: "box.name", Before: `"Les Roses"`, After: `"Les Lilas"`}}, says.Settings); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	gone := state.RestoredFile{Kind: "calendar", Name: "fetes", Change: state.FileGone}
	if a := says.Accounts[0]; a.Unknown || a.Used != 8e9 || says.NewSecrets != nil || !cmp.Equal(says.Kept, []string{"board", "opinion"}) ||
		!cmp.Equal(says.Files[len(says.Files)-1], gone) {
		t.Errorf("it says %+v", says)
	}
	after := h.files()
	if !strings.Contains(after["etc/box.toml"], "Les Lilas") || !strings.Contains(after["etc/box.toml"], "pavot") || after["state/voice/calendars/fetes.ics"] != "" ||
		after["state/voice/board.json"] != before["state/voice/board.json"] || after["state/https.pem"] != before["state/https.pem"] {
		t.Errorf("it is %q", after)
	}
	if info, err := os.Stat(h.restoring(undoFile)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the state before: %v, %v", info, err)
	}
	says, err = h.CheckUndo()
	h.must(err)
	if !says.Undo {
		t.Errorf("undo says %+v", says)
	}
	h.must(h.Restore(says.ID, nil))
	if diff := cmp.Diff(before, h.files()); diff != "" {
		t.Errorf("undone (-want +got):\n%s", diff)
	}
	if _, err := h.CheckUndo(); !errors.Is(err, fs.ErrNotExist) || h.Undoable() {
		t.Errorf("undone twice: %v", err)
	}
	if err := h.Restore(says.ID, nil); !errors.Is(err, ErrNotChecked) {
		t.Errorf("restored twice: %v", err)
	}
}

// TestKeep: the backup that a box keeps for itself has everything, and replaces the one before.
func TestKeep(t *testing.T) {
	t.Parallel()
	h := newHome(t, t.TempDir())
	if _, err := h.Keep(); !errors.Is(err, ErrUnconfigured) {
		t.Errorf("without a configuration: %v", err)
	}
	h.fill()
	before := h.files()
	for range 2 {
		path, err := h.Keep()
		h.must(err)
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
		text, err := os.ReadFile(path)
		h.must(err)
		if all := unpacked(t, text, ""); !strings.Contains(all, "coquelicot") {
			t.Errorf("it has\n%s", all)
		}
		_, err = h.restore(text, "", nil)
		h.must(err)
		if diff := cmp.Diff(before, h.files()); diff != "" {
			t.Errorf("restored (-want +got):\n%s", diff)
		}
	}
}

// TestRestoreHalfDone: a restore that a power cut interrupted is completed when the box starts, before any of its files are read. A
// backup that was only checked is removed.
func TestRestoreHalfDone(t *testing.T) {
	t.Parallel()
	h := newHome(t, t.TempDir())
	h.fill()
	// A full folder cannot be replaced by a file: the batch stops there.
	blocked := filepath.Join(h.top, "state/blocked")
	h.must(os.MkdirAll(filepath.Join(blocked, "x"), 0o700))
	batch, err := backup.Begin(h.restoring(""))
	h.must(err, batch.Write(blocked, []byte("new")), batch.Write(h.paths.config, []byte(strings.Replace(savedBox, "Les Lilas", "Les Roses", 1))))
	if err := batch.Commit(); !errors.Is(err, backup.ErrUnfinished) {
		t.Fatal(err)
	}
	var b bytes.Buffer
	h.must(h.Write(&b, ""))
	h.must(os.MkdirAll(h.restoring(checkedPrefix+"1/x"), 0o700), os.RemoveAll(blocked))
	d, err := New(Options{Config: h.paths.config, State: h.Backups.state, Socket: h.socket, Machine: os.DirFS(t.TempDir()), Log: slog.New(slog.DiscardHandler)})
	h.must(err)
	if c, configured := d.Config(); !configured || c.Box.Name != "Les Roses" {
		t.Errorf("it starts as %q", c.Box.Name)
	}
	left, err := os.ReadDir(h.restoring(""))
	if err != nil || len(left) != 0 {
		t.Errorf("%v, left are %v", err, left)
	}
}

// TestRestoreRefuses: a backup whose content cannot be used is refused, and changes nothing.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	h := newHome(t, t.TempDir())
	h.fill()
	before := h.files()
	good := []backup.File{backup.Text(savedConfig, []byte(savedBox)), backup.Text(savedLedger, []byte(`{}`))}
	for what, files := range map[string][]backup.File{
		"no accounts":           good[:1],
		"no configuration":      good[1:],
		"a wrong configuration": {backup.Text(savedConfig, []byte("[box]\nnome = 1")), good[1]},
		"damaged accounts":      {good[0], backup.Text(savedLedger, []byte(`{"donations":{"a":{"record":"AAAA"}}}`))},
		"an unknown file":       append(good[:2:2], backup.Text("fleet/keys.json", nil)),
		"the journal":           append(good[:2:2], backup.Text("access/journal.json", nil)),
	} {
		var b bytes.Buffer
		h.must(backup.Write(&b, backup.Manifest{Secrets: true}, files, nil))
		_, err := h.restore(b.Bytes(), "", nil)
		if err == nil || !RefusedBackup(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if diff := cmp.Diff(before, h.files()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRestoreUnusable: a file that cannot be read is left out and named. The box's own stays, and the rest is restored.
func TestRestoreUnusable(t *testing.T) {
	t.Parallel()
	wrong := map[string]string{
		"places/a.list": "PlacesA\x01", "places/needs.toml": "x", "places/numbers.toml": "x", "voice/calendars/a.ics": "BEGIN:VCALENDAR\r\n",
		"voice/agenda.json": "{", "voice/board.json": "{", "voice/opinion.json": "{",
	}
	h := newHome(t, t.TempDir())
	h.fill()
	before := h.files()
	files := []backup.File{backup.Text(savedConfig, []byte(strings.Replace(savedBox, "Les Lilas", "Les Roses", 1))), backup.Text(savedLedger, []byte(`{}`))}
	for name, text := range wrong {
		files = append(files, backup.Text(name, []byte(text)))
	}
	var b bytes.Buffer
	h.must(backup.Write(&b, backup.Manifest{Secrets: true}, files, nil))
	says, err := h.restore(b.Bytes(), "", nil)
	h.must(err)
	if len(says.Unusable) != len(wrong) {
		t.Errorf("it says %q", says.Unusable)
	}
	after := h.files()
	for name, text := range before {
		if name != "etc/box.toml" && after[name] != text {
			t.Errorf("%s is %q", name, after[name])
		}
	}
	if len(after) != len(before) || !strings.Contains(after["etc/box.toml"], "Les Roses") {
		t.Errorf("it is %q", after)
	}
}

// TestRestoreFullDisk: whatever room the disk has, the box is either unchanged with an error, or restored.
func TestRestoreFullDisk(t *testing.T) {
	t.Parallel()
	labtest.Root(t)
	made := newHome(t, t.TempDir())
	made.fill()
	var b bytes.Buffer
	made.must(made.Write(&b, ""))
	var refused, restored int
	for room := 0; room < 160; room += 4 {
		top := t.TempDir()
		made.must(unix.Mount("tmpfs", top, "tmpfs", 0, "size=2m"))
		t.Cleanup(func() { unix.Unmount(top, unix.MNT_DETACH) })
		h := newHome(t, top)
		h.fill()
		h.write("etc/box.toml", strings.Replace(savedBox, "Les Lilas", "Les Roses", 1))
		h.ledgerDo(func(s *store.Store) error { _, err := s.Save(); return err })
		before := h.files()
		fill(t, filepath.Join(top, "filler"), room)
		_, err := h.restore(b.Bytes(), "", nil)
		h.must(os.Remove(filepath.Join(top, "filler")))
		h.Drop()
		switch after := h.files(); {
		case err == nil && strings.Contains(after["etc/box.toml"], "Les Lilas"):
			restored++
		case err == nil:
			t.Errorf("with %d pages it is not restored", room)
		default:
			refused++
			if !errors.Is(err, syscall.ENOSPC) || RefusedBackup(err) {
				t.Errorf("with %d pages: %v", room, err)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("with %d pages, %v (-want +got):\n%s", room, err, diff)
			}
			_, err := h.restore(b.Bytes(), "", nil)
			h.must(err)
		}
	}
	if refused == 0 || restored == 0 {
		t.Errorf("%d were refused, %d restored", refused, restored)
	}
}

// fill fills a disk and leaves only room pages free.
func fill(t testing.TB, path string, room int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	info, err := f.Stat()
	if err == nil {
		err = f.Truncate(max(0, info.Size()-int64(room)*4096))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestResetKeepsUse: a factory reset keeps what was used, without the people behind it. A second one, of a box that nobody has
// configured, removes that too.
func TestResetKeepsUse(t *testing.T) {
	t.Parallel()
	h := newHome(t, t.TempDir())
	h.fill()
	d := Daemon{paths: h.paths, configured: true, pending: newPending(h.Backups.state), log: slog.New(slog.DiscardHandler), config: config.Factory()}
	h.must(os.MkdirAll(d.runDir(), 0o700))
	h.write("state/restore/"+undoFile, "secrets")
	h.must(d.factoryReset())
	if r := h.accounts()["Fibre"].Record; r.Base != 7e9 {
		t.Errorf("after a reset the account is %+v", r)
	}
	h.ledgerDo(func(s *store.Store) error {
		paused, err := s.Paused()
		if _, linked := s.Donation([32]byte{7, 7, 7}); linked || len(paused) != 0 {
			t.Errorf("after a reset it has the link: %t, and pauses %v", linked, paused)
		}
		return err
	})
	if h.Undoable() {
		t.Error("after a reset the state before is there")
	}
	d.configured = false
	h.must(d.factoryReset())
	if _, err := os.Lstat(filepath.Join(h.Backups.state, ledgerFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the second reset: %v", err)
	}
}
