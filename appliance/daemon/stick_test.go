package daemon

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/backup"
	"passerelle/appliance/config"
	"passerelle/appliance/state"
	"passerelle/image/stick"
)

// TestStickDue: a backup is written once a night, by day if the box was off at night, not repeatedly after a failure, and at each
// start while the date is not known.
func TestStickDue(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	// A month of minutes: the box is open from 8 to 20, and from Friday on also at night.
	for what, off := range map[string]func(time.Time) bool{
		"always on":    func(time.Time) bool { return false },
		"off at night": func(now time.Time) bool { return now.Hour() < 8 || now.Hour() >= 20 },
		"on for a moment at night": func(now time.Time) bool {
			return now.Hour() < 8 && now.Hour() != 1 || now.Hour() >= 20 && now.Day()%2 == 0
		},
	} {
		var last state.StickBackup
		up := time.Duration(0)
		wrote := map[state.Date]int{}
		begin := time.Date(2026, 10, 10, 12, 0, 0, 0, zone) // summer time ends in this month
		for now := begin; now.Before(begin.AddDate(0, 1, 0)); now = now.Add(time.Minute) {
			if off(now) {
				up = 0
				continue
			}
			up += time.Minute
			open := now.Hour() >= 8 && now.Hour() < 20 || now.Weekday() == time.Friday
			if !stickDue(now, true, !open, last, up, 0) {
				continue
			}
			if open && what == "always on" && !last.Done.IsZero() && now.Hour() < nightOpen {
				t.Errorf("%s: written at %v, while residents are online", what, now)
			}
			last.Done = now
			wrote[state.DateOf(now)]++
		}
		for date, times := range wrote {
			if times != 1 {
				t.Errorf("%s: %d times on %v", what, times, date)
			}
		}
		if len(wrote) < 15 || what == "always on" && len(wrote) < 30 {
			t.Errorf("%s: on %d days of a month", what, len(wrote))
		}
	}
	night, noon := time.Date(2026, 12, 1, 4, 0, 0, 0, zone), time.Date(2026, 12, 1, 12, 0, 0, 0, zone)
	day := 24 * time.Hour
	for _, c := range []struct {
		what      string
		now       time.Time
		trusted   bool
		last      state.StickBackup
		up, wrote time.Duration
		want      bool
	}{
		{"a failure just now", night, true, state.StickBackup{Failed: night.Add(-time.Minute)}, day, 0, false},
		{"a failure an hour ago", night, true, state.StickBackup{Failed: night.Add(-time.Hour)}, day, 0, true},
		{"a failure of the future", night, true, state.StickBackup{Failed: night.Add(day)}, day, 0, true},
		{"one of the future", noon, true, state.StickBackup{Done: noon.Add(400 * day)}, day, 0, true},
		{"just started", noon, true, state.StickBackup{}, time.Minute, 0, false},
		{"one of yesterday, by day", noon, true, state.StickBackup{Done: noon.Add(-20 * time.Hour)}, day, 0, false},
		{"no date, just started", night, false, state.StickBackup{}, time.Minute, 0, false},
		{"no date", noon, false, state.StickBackup{Done: noon}, time.Hour, 0, true},
		{"no date, and written", noon, false, state.StickBackup{Done: noon}, 5 * time.Hour, time.Hour, false},
		{"no date, a day later", noon, false, state.StickBackup{Done: noon}, 25 * time.Hour, time.Hour, true},
	} {
		if got := stickDue(c.now, c.trusted, false, c.last, c.up, c.wrote); got != c.want {
			t.Errorf("%s: %t", c.what, got)
		}
	}
}

// shelf is a machine with a USB port and the sticks that are plugged in, each of which is a folder.
type shelf struct {
	*sticks
	t     testing.TB
	fails error             // of mounting
	dirs  map[string]string // by device
	clock time.Time
}

// newShelf returns the sticks of a box in a folder. If the box is configured, it has the files of home.fill.
func newShelf(t testing.TB, configured bool) (*shelf, home) {
	t.Helper()
	h := newHome(t, t.TempDir())
	machine := fstest.MapFS{}
	x := &shelf{t: t, dirs: map[string]string{}, clock: time.Date(2026, 12, 1, 3, 0, 0, 0, time.UTC)}
	d := &Daemon{
		paths: h.paths, log: slog.New(slog.DiscardHandler), root: machine, backups: h.Backups, config: config.Factory(), configured: configured,
	}
	h.must(os.MkdirAll(d.runDir(), 0o700))
	if configured {
		h.fill()
		var err error
		d.config, err = d.file().Load()
		h.must(err)
	}
	x.sticks = d.newSticks()
	x.now = func() time.Time { return x.clock }
	x.name = func() string { return d.config.Box.Name }
	l, err := net.Listen("unix", d.stickSocket())
	h.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	server := &stick.Server{Machine: machine, Log: d.log, Mount: func(device string, writable bool) (string, func() error, error) {
		if x.fails == unix.EROFS && !writable {
			return x.dirs[device], func() error { return nil }, nil
		}
		return x.dirs[device], func() error { return nil }, x.fails
	}}
	go func() { done <- server.Serve(ctx, l) }()
	t.Cleanup(func() { cancel(); <-done })
	return x, h
}

// plugIn plugs in a stick with a folder's content.
func (x *shelf) plugIn(device, dir string) {
	machine := x.root.(fstest.MapFS)
	where := "devices/platform/usb1/1-1/block/" + device
	machine["sys/class/block/"+device] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("../../" + where)}
	machine["sys/"+where+"/dev"] = &fstest.MapFile{Data: []byte("8:0\n")}
	machine["sys/"+where+"/size"] = &fstest.MapFile{Data: []byte("1000\n")}
	x.dirs[device] = dir
}

func (x *shelf) pullOut(device string) { delete(x.root.(fstest.MapFS), "sys/class/block/"+device) }

// codes returns the codes of the problems.
func (x *shelf) codes() string {
	var all []string
	for _, p := range x.problems() {
		all = append(all, string(p.Code))
	}
	return strings.Join(all, " ")
}

// TestStickToNewBox: a stick is marked with a passphrase and gets a backup, and another one at night. A new box is restored from that
// one, and continues with the stick. The passphrase is neither on the box nor on the stick.
func TestStickToNewBox(t *testing.T) {
	t.Parallel()
	x, h := newShelf(t, true)
	ctx, dir := t.Context(), t.TempDir()
	if err := x.Write(ctx); stickWhy(err) != string(stick.Absent) || x.Last() != nil {
		t.Errorf("before a stick is marked: %v", err)
	}
	if all, err := x.List(ctx); all != nil || err != nil {
		t.Errorf("without a stick: %v, %v", all, err)
	}
	x.plugIn("sda", dir)
	if err := x.Mark(ctx, "sda", "short"); !errors.As(err, &backup.WeakError{}) {
		t.Errorf("a short passphrase: %v", err)
	}
	h.must(x.Mark(ctx, "sda", backupPhrase))
	x.clock = x.clock.AddDate(0, 0, 1)
	h.must(x.Write(ctx))
	all, err := x.List(ctx)
	h.must(err)
	if len(all) != 1 || !all[0].Ours || all[0].Centre != "Les Lilas" || len(all[0].Backups) != 2 || all[0].Backups[0].Name != "000002-2026-12-02.backup" {
		t.Fatalf("sticks are %+v", all)
	}
	if last := x.Last(); !last.Done.Equal(x.clock) || last.Why != "" || x.problems() != nil {
		t.Errorf("it tells %+v", last)
	}
	for _, folder := range []string{dir, h.top} {
		h.must(filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Type()&fs.ModeSocket != 0 {
				return err
			}
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte(backupPhrase)) || bytes.Contains(text, []byte("AGE-SECRET-KEY")) || folder == dir && bytes.Contains(text, []byte("coquelicot")) {
				t.Errorf("%s has a secret", path)
			}
			return err
		}))
	}

	// A data partition that was made again has an unreadable ledger (image/files/usr/lib/passerelle/data).
	y, n := newShelf(t, false)
	n.write("state/ledger.db", "lost with the data partition\n")
	y.plugIn("sdb", dir)
	if all, err = y.List(ctx); err != nil || len(all) != 1 || all[0].Ours || len(all[0].Backups) != 2 {
		t.Fatalf("the new box sees %+v, %v", all, err)
	}
	if err := y.Mark(ctx, "sdb", backupPhrase); !errors.Is(err, ErrUnconfigured) {
		t.Errorf("a box without a configuration marks: %v", err)
	}
	if _, err := y.Check(ctx, "sdb", all[0].Backups[0].Name, "another passphrase"); !errors.Is(err, backup.ErrWrong) {
		t.Errorf("with another passphrase: %v", err)
	}
	says, err := y.Check(ctx, "sdb", all[0].Backups[0].Name, backupPhrase)
	n.must(err)
	if !says.First || says.Centre != "Les Lilas" || !says.Secrets {
		t.Errorf("it says %+v", says)
	}
	n.must(n.Restore(says.ID, nil))
	text, err := os.ReadFile(n.paths.config)
	n.must(err)
	if string(text) != savedBox {
		t.Errorf("the new box has\n%s", text)
	}
	y.sticks = y.newSticks()
	y.configured = true
	y.now, y.name = func() time.Time { return x.clock.AddDate(0, 0, 1) }, func() string { return "Les Lilas" }
	n.must(y.Write(ctx))
	if all, err = y.List(ctx); err != nil || !all[0].Ours || len(all[0].Backups) != 3 {
		t.Errorf("it does not go on with the stick: %+v, %v", all, err)
	}
	if _, err := y.Check(ctx, "sdb", all[0].Backups[0].Name, backupPhrase); err != nil {
		t.Errorf("the passphrase does not open its backup: %v", err)
	}
}

// TestStickTroubles: the reason why no backup is written is stored and reported, a stick that is missing for only one night is not a
// problem, and the next backup clears the problem.
func TestStickTroubles(t *testing.T) {
	t.Parallel()
	x, h := newShelf(t, true)
	ctx, dir := t.Context(), t.TempDir()
	x.plugIn("sda", dir)
	h.must(x.Mark(ctx, "sda", backupPhrase))
	marked := x.clock
	for _, c := range []struct {
		err    error
		days   int
		why    stick.Code
		become string
	}{
		{unix.EROFS, 1, stick.ReadOnly, "stick-read-only"}, {unix.EIO, 1, stick.Damaged, "stick-damaged"},
		{errors.New("boom"), 1, stick.Absent, ""}, // it may be another stick that cannot be read
		{unix.EBUSY, 1, stick.Busy, ""}, {unix.EBUSY, 3, stick.Busy, "stick-fails"},
	} {
		x.clock, x.fails = marked.AddDate(0, 0, c.days), c.err
		err := x.Write(ctx)
		if last := x.Last(); err == nil || last.Why != string(c.why) || !last.Failed.Equal(x.clock) || !last.Done.Equal(marked) || x.codes() != c.become {
			t.Errorf("%v after %d days: %v, it tells %+v and %q", c.err, c.days, err, last, x.codes())
		}
	}
	x.fails = nil
	x.pullOut("sda")
	for days, want := range map[int]string{1: "", 3: "stick-absent"} {
		x.clock = marked.AddDate(0, 0, days)
		if err := x.Write(ctx); err == nil || x.codes() != want {
			t.Errorf("pulled out for %d days: %v, %q", days, err, x.codes())
		}
	}
	x.plugIn("sda", dir)
	h.must(os.WriteFile(filepath.Join(dir, "passerelle/stick.json"), []byte(`{"box":"roses","centre":"Les Roses"}`), 0o600))
	if err := x.Write(ctx); err == nil || x.Last().Why != string(stick.Absent) {
		t.Errorf("a stick of another box: %v", err)
	}
	h.must(x.Mark(ctx, "sda", "une autre phrase secrète"))
	if last := x.Last(); last.Why != "" || x.codes() != "" {
		t.Errorf("marked again it tells %+v, %q", last, x.codes())
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if err := x.Write(stopped); err == nil || x.Last().Why != "" {
		t.Errorf("a box that stops: %v, %+v", err, x.Last())
	}
	h.write("state/access/stick.json", "half")
	x.sticks = x.newSticks()
	if x.Last() != nil || x.problems() != nil {
		t.Error("a damaged file counts")
	}
}
