package stick

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab/labtest"
)

var december = time.Date(2026, 12, 1, 3, 0, 0, 0, time.UTC)

// machineWith is a machine with a stick with two partitions, a stick without partitions, an empty card reader, the drive with its
// root, and a card.
func machineWith(mounts string) fstest.MapFS {
	m := fstest.MapFS{"proc/self/mountinfo": {Data: []byte(mounts)}}
	add := func(where, number, size string, partition bool) {
		name := filepath.Base(where)
		m["sys/class/block/"+name] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("../../devices/" + where)}
		files := map[string]string{"dev": number + "\n", "size": size + "\n"}
		if partition {
			files["partition"] = "1\n"
		}
		for file, text := range files {
			m["sys/devices/"+where+"/"+file] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	const usb = "platform/soc/3f980000.usb/usb1/1-1/host0/target0:0:0/0:0:0:0/block/"
	add(usb+"sda", "8:0", "1000", false)
	add(usb+"sda/sda1", "8:1", "500", true)
	add(usb+"sda/sda2", "8:2", "400", true)
	add(usb+"sdb", "8:16", "1000", false)
	add(usb+"sdc", "8:32", "0", false)
	add(usb+"sdd", "8:48", "1000", false)
	add(usb+"sdd/sdd1", "8:49", "500", true)
	add(usb+"sdd/sdd2", "8:50", "500", true)
	add("platform/soc/3f202000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0", "179:0", "1000", false)
	add("platform/soc/3f202000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0/mmcblk0p1", "179:1", "1000", true)
	return m
}

// TestDevices checks that sticks are partitions of USB drives, or drives without partitions, but none that the machine uses.
func TestDevices(t *testing.T) {
	t.Parallel()
	const root = "22 1 8:50 / / rw,relatime shared:1 - ext4 /dev/sdd2 rw\n"
	for _, c := range []struct {
		mounts string
		want   []string
	}{
		{root, []string{"sda1", "sda2", "sdb"}},
		{"", []string{"sda1", "sda2", "sdb", "sdd1", "sdd2"}},
		{root + "40 22 8:1 / /media/anne/PHOTOS rw - vfat /dev/sda1 rw\n", []string{"sda1", "sda2", "sdb"}},
		{root + "40 22 8:1 / /srv rw - vfat /dev/sda1 rw\n", []string{"sdb"}},
		{root + "40 22 8:16 / /mediatheque rw - vfat /dev/sdb rw\nbroken\n", []string{"sda1", "sda2"}},
	} {
		if diff := cmp.Diff(c.want, Devices(machineWith(c.mounts))); diff != "" {
			t.Errorf("mounted %q (-want +got):\n%s", c.mounts, diff)
		}
	}
	if none := Devices(fstest.MapFS{}); none != nil {
		t.Errorf("a machine without block devices has %v", none)
	}
}

// stickIn returns a folder that stands for a mounted stick.
func stickIn(t testing.TB, dir string) drive {
	t.Helper()
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return drive{r}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// contentOf returns a backup's content by its number.
func contentOf(n int) string { return strings.Repeat(fmt.Sprintf("backup %d\n", n), 1+n*331%3000) }

// TestKeeps checks that, wherever the writing of a backup fails, the earlier backups stay intact and nothing else on the stick is
// touched. It also checks that the newest backups are kept, and that numbers increase.
func TestKeeps(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	d := stickIn(t, t.TempDir())
	must(t, os.WriteFile(filepath.Join(d.Name(), "photo.jpg"), []byte("a photo"), 0o600), d.setMark(Mark{"lilas", "Les Lilas"}))
	must(t, os.WriteFile(filepath.Join(d.Name(), folder, "000001-notes.txt"), []byte("notes"), 0o600))
	var want []string // contents, the oldest first
	check := func(when string) {
		t.Helper()
		all, err := d.backups()
		must(t, err)
		if len(all) != len(want) {
			t.Fatalf("%s: %d backups, want %d: %v", when, len(all), len(want), all)
		}
		for i, f := range all {
			if text, err := os.ReadFile(filepath.Join(d.Name(), folder, f.Name)); err != nil || string(text) != want[i] {
				t.Fatalf("%s: %s has %d bytes, %v", when, f.Name, len(text), err)
			}
		}
	}
	last := ""
	for n := range 60 {
		text := contentOf(n)
		cut := random.IntN(2 * len(text)) // beyond the end: everything is read
		from := &watched{text: text, cut: cut, see: func() { check("while it is written") }}
		name, err := d.write("lilas", "2026-12-01", from)
		if fails := cut < len(text); fails != (err != nil) || fails && !errors.Is(err, errPulled) {
			t.Fatalf("backup %d, which is cut at %d of %d: %v", n, cut, len(text), err)
		}
		if err == nil {
			if want = append(want, text); len(want) > Keep {
				want = want[1:]
			}
			if name <= last {
				t.Errorf("%s follows %s", name, last)
			}
			last = name
		}
		check("afterwards")
		if _, err := os.Lstat(filepath.Join(d.Name(), folder, tempName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what was written is left: %v", err)
		}
		if n%7 == 0 { // a power cut leaves the temporary file
			must(t, os.WriteFile(filepath.Join(d.Name(), folder, tempName), []byte("half"), 0o600))
		}
	}
	for file, want := range map[string]string{"photo.jpg": "a photo", folder + "/000001-notes.txt": "notes"} {
		if text, err := os.ReadFile(filepath.Join(d.Name(), file)); err != nil || string(text) != want {
			t.Errorf("%s has %q, %v", file, text, err)
		}
	}
}

var errPulled = errors.New("pulled out")

// watched is a backup whose reading fails at a byte.
type watched struct {
	text    string
	at, cut int
	see     func()
	end     func() // at its end
}

func (w *watched) Read(b []byte) (int, error) {
	w.see()
	n := copy(b, w.text[w.at:min(len(w.text), w.cut, w.at+1000)])
	w.at += n
	switch {
	case n > 0:
		return n, nil
	case w.at < len(w.text):
		return 0, errPulled
	}
	if w.end != nil {
		w.end()
	}
	return 0, io.EOF
}

// TestLosesWhatIsWritten checks that a stick that does not keep what was written is detected. Such a stick may claim to be larger
// than it is.
func TestLosesWhatIsWritten(t *testing.T) {
	t.Parallel()
	d := stickIn(t, t.TempDir())
	must(t, d.setMark(Mark{Box: "lilas"}))
	from := &watched{text: contentOf(9), cut: 1 << 20, see: func() {}, end: func() {
		f, err := os.OpenFile(filepath.Join(d.Name(), folder, tempName), os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte{0}, 1500)
		must(t, err, f.Close())
	}}
	if _, err := d.write("lilas", "2026-12-01", from); codeOf(err) != Damaged {
		t.Errorf("it is taken for good: %v", err)
	}
	if all, err := d.backups(); len(all) > 0 || err != nil {
		t.Errorf("the stick has %v, %v", all, err)
	}
}

// TestHostile checks that files on a stick cannot lead elsewhere or block, and that only a limited part of them is read.
func TestHostile(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte(`{"box":"lilas"}`), 0o600))
	for what, make := range map[string]func(dir string) error{
		"a folder that is a file":  func(dir string) error { return os.WriteFile(filepath.Join(dir, folder), nil, 0o600) },
		"a folder that leads away": func(dir string) error { return os.Symlink(outside, filepath.Join(dir, folder)) },
		"a mark that leads away": func(dir string) error {
			return marked(dir, func(at string) error { return os.Symlink(outside+"/secret", at) })
		},
		"a mark that holds up":    func(dir string) error { return marked(dir, func(at string) error { return unix.Mkfifo(at, 0o600) }) },
		"a mark that is a folder": func(dir string) error { return marked(dir, func(at string) error { return os.Mkdir(at, 0o700) }) },
		"a mark without end": func(dir string) error {
			return marked(dir, func(at string) error { return os.Truncate(created(at), 1<<40) })
		},
		"a mark that is no mark": func(dir string) error {
			return marked(dir, func(at string) error { return os.WriteFile(at, []byte("[]"), 0o600) })
		},
		"a mark of another box": func(dir string) error {
			return marked(dir, func(at string) error { return os.WriteFile(at, []byte(`{"box":"roses"}`), 0o600) })
		},
		"a mark that names nothing": func(dir string) error {
			return marked(dir, func(at string) error { return os.WriteFile(at, []byte(`{"box":""}`), 0o600) })
		},
	} {
		d := stickIn(t, t.TempDir())
		must(t, make(d.Name()))
		m, err := d.mark()
		if err == nil && m.Box == "lilas" {
			t.Errorf("%s: it counts as the box's", what)
		}
		for _, box := range []string{"lilas", ""} {
			if _, err := d.write(box, "2026-12-01", strings.NewReader("backup")); err == nil {
				t.Errorf("%s: it is written", what)
			}
		}
	}
	if all, err := os.ReadDir(outside); len(all) != 1 || err != nil {
		t.Errorf("something is written elsewhere: %v, %v", all, err)
	}

	d := stickIn(t, t.TempDir())
	must(t, d.setMark(Mark{"lilas", "a\x1b[31m\n" + strings.Repeat("é", 200)}))
	if m, err := d.mark(); err != nil || strings.ContainsAny(m.Centre, "\x1b\n") || len([]rune(m.Centre)) > maxText {
		t.Errorf("the centre is %q, %v", m.Centre, err)
	}
	must(t, os.Truncate(created(filepath.Join(d.Name(), folder, "000001-2026-12-01.backup")), MaxFile+1), // too large
		os.Symlink("/etc/passwd", filepath.Join(d.Name(), folder, "000002-2026-12-01.backup")),
		unix.Mkfifo(filepath.Join(d.Name(), folder, "000003-2026-12-01.backup"), 0o600),
		os.WriteFile(filepath.Join(d.Name(), folder, "000004-2026-12-01.backup"), nil, 0o600))
	if all, err := d.backups(); len(all) > 0 || err != nil {
		t.Errorf("backups are %v, %v", all, err)
	}
	if f, err := d.open("000003-2026-12-01.backup"); err == nil {
		t.Errorf("%s is opened", f.Name())
	}
	must(t, os.WriteFile(filepath.Join(d.Name(), folder, "999999-2026-12-01.backup"), []byte("x"), 0o600))
	if _, err := d.write("lilas", "2026-12-01", strings.NewReader("backup")); err == nil {
		t.Error("numbers go beyond their last")
	}
	for _, date := range []string{"", "../../x", "2026-12-01/x"} {
		if _, err := d.write("lilas", date, strings.NewReader("backup")); err == nil {
			t.Errorf("the date %q is written", date)
		}
	}
}

func marked(dir string, make func(at string) error) error {
	return errors.Join(os.Mkdir(filepath.Join(dir, folder), 0o700), make(filepath.Join(dir, folder, markName)))
}

func created(path string) string {
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		panic(err)
	}
	return path
}

// served is a server whose sticks are folders.
func served(t testing.TB, machine fs.FS, mount Mounter) Client {
	t.Helper()
	c := Client{filepath.Join(t.TempDir(), "sock")}
	l, err := net.Listen("unix", c.Socket)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := &Server{Machine: machine, Mount: mount, Log: slog.New(slog.DiscardHandler)}
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c
}

func codeIs(err error, code Code) bool {
	why, ok := errors.AsType[*Error](err)
	return ok && why.Code == code
}

// TestServer checks that the daemon's requests are executed, that a failure is returned as a code, and that a backup that cannot be
// made leaves nothing.
func TestServer(t *testing.T) {
	t.Parallel()
	dirs := map[string]string{"sda1": t.TempDir(), "sdb": t.TempDir()}
	mounted := 0
	c := served(t, machineWith(""), func(device string, writable bool) (string, func() error, error) {
		switch device {
		case "sda2":
			return "", nil, &Error{FileSystem, "no FAT"}
		case "sdd1", "sdd2":
			return "", nil, unix.EIO
		case "sdb":
			if writable {
				return "", nil, unix.EROFS
			}
		}
		mounted++
		return dirs[device], func() error { mounted--; return nil }, nil
	})
	ctx := t.Context()
	large := func(w io.Writer) error { // more than a server reads after it has rejected a request
		_, err := w.Write(bytes.Repeat([]byte("backup"), 1<<20))
		return err
	}
	_, err := c.Write(ctx, "sda1", "lilas", december, large)
	if !codeIs(err, Foreign) {
		t.Errorf("a stick without a mark: %v", err)
	}
	must(t, c.SetMark(ctx, "sda1", Mark{"lilas", "Les Lilas"}))
	if err := c.SetMark(ctx, "sdb", Mark{"lilas", "Les Lilas"}); !codeIs(err, ReadOnly) {
		t.Errorf("a stick that cannot be written: %v", err)
	}
	if err := c.SetMark(ctx, "sda2", Mark{}); !codeIs(err, FileSystem) {
		t.Errorf("a stick of another file system: %v", err)
	}
	for _, device := range []string{"sdx1", "mmcblk0p1", "../sda1", ""} {
		if err := c.SetMark(ctx, device, Mark{}); !codeIs(err, Absent) {
			t.Errorf("%q is marked: %v", device, err)
		}
	}
	boom := errors.New("boom")
	_, err = c.Write(ctx, "sda1", "lilas", december, func(w io.Writer) error { return errors.Join(large(w), boom) })
	if !errors.Is(err, boom) {
		t.Errorf("a backup that cannot be made: %v", err)
	}
	name, err := c.Write(ctx, "sda1", "lilas", december, large)
	must(t, err)
	if name != "000001-2026-12-01.backup" {
		t.Errorf("its name is %q", name)
	}
	all, err := c.List(ctx)
	must(t, err)
	seen := map[string]Stick{}
	for _, s := range all {
		seen[s.Device] = s
	}
	if s := seen["sda1"]; s.Mark.Centre != "Les Lilas" || s.Size == 0 || !slices.Equal(s.Backups, []File{{name, 6 << 20}}) || s.Wrong != nil {
		t.Errorf("sda1: %+v", s)
	}
	if s := seen["sda2"]; s.Wrong == nil || s.Wrong.Code != FileSystem {
		t.Errorf("sda2: %+v", s)
	}
	if s := seen["sdd1"]; s.Wrong == nil || s.Wrong.Code != Damaged {
		t.Errorf("sdd1: %+v", s)
	}
	r, err := c.Read(ctx, "sda1", name)
	must(t, err)
	text, err := io.ReadAll(r)
	must(t, err, r.Close())
	if len(text) != 6<<20 {
		t.Errorf("%d bytes are read", len(text))
	}
	for _, name := range []string{"000002-2026-12-01.backup", "stick.json", "../../etc/passwd", ""} {
		if _, err := c.Read(ctx, "sda1", name); err == nil {
			t.Errorf("%q is read", name)
		}
	}
	if mounted != 0 {
		t.Errorf("%d are still mounted", mounted)
	}
	if _, err := (Client{"/nonexistent"}).List(ctx); !errors.Is(err, ErrNone) {
		t.Errorf("without a server: %v", err)
	}
}

// TestBusy checks that nothing waits for a stick that does not answer.
func TestBusy(t *testing.T) {
	t.Parallel()
	hangs, entered := make(chan struct{}), make(chan struct{})
	dir := t.TempDir()
	c := served(t, machineWith(""), func(device string, _ bool) (string, func() error, error) {
		if device == "sda1" {
			close(entered)
			<-hangs
		}
		return dir, func() error { return nil }, nil
	})
	first := make(chan error, 1)
	go func() { first <- c.SetMark(t.Context(), "sda1", Mark{Box: "lilas"}) }()
	<-entered
	if err := c.SetMark(t.Context(), "sdb", Mark{Box: "lilas"}); !codeIs(err, Busy) {
		t.Errorf("beside it: %v", err)
	}
	close(hangs)
	must(t, <-first, c.SetMark(t.Context(), "sdb", Mark{Box: "lilas"}))
}

// TestPulledOut checks that a stick that is pulled out is never reported as damaged, whatever the error is.
func TestPulledOut(t *testing.T) {
	t.Parallel()
	machine := machineWith("")
	c := served(t, machine, func(device string, _ bool) (string, func() error, error) {
		delete(machine, "sys/class/block/"+device)
		return "", nil, unix.EIO
	})
	for _, when := range []string{"while it is used", "afterwards"} {
		if err := c.SetMark(t.Context(), "sda1", Mark{Box: "lilas"}); !codeIs(err, Absent) {
			t.Errorf("%s: %v", when, err)
		}
	}
}

// TestMounts checks on the real kernel that a full stick keeps its last backup and makes room by removing the others, that a
// read-only stick is reported, and that an invalid file system is rejected. The kernel may not support FAT, so the test uses ext2.
func TestMounts(t *testing.T) {
	labtest.Root(t, "mke2fs", "losetup", "blockdev", "unshare")
	// A mount namespace that another test creates has a copy of this one's mounts, and keeps the file system in use until that
	// namespace ends. So this test needs a mount namespace that nothing copies.
	if os.Getenv("OWN_MOUNTS") == "" {
		c := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation", "private", os.Args[0], "-test.run=^TestMounts$", "-root")
		c.Env = append(os.Environ(), "OWN_MOUNTS=yes")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	top := t.TempDir()
	image, at := filepath.Join(top, "image"), filepath.Join(top, "at")
	must(t, os.Mkdir(at, 0o700), os.Truncate(created(image), 4<<20))
	run := func(words ...string) string {
		t.Helper()
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", words, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	device := run("losetup", "--find", "--show", image)
	t.Cleanup(func() {
		run("blockdev", "--setrw", device) // otherwise its next user could not write either
		run("losetup", "--detach", device)
	})
	kinds := []string{"vfat", "exfat", "ext2"}
	if err := mount(device, at, true, kinds); codeOf(err) != FileSystem {
		t.Errorf("zeros are mounted: %v", err)
	}
	run("mke2fs", "-q", "-F", "-b", "1024", "-m", "0", device)
	mounter := func(_ string, writable bool) (string, func() error, error) {
		return at, func() error { return unmount(at) }, mount(device, at, writable, kinds)
	}
	c := served(t, machineWith(""), mounter)
	must(t, c.SetMark(t.Context(), "sda1", Mark{Box: "lilas"}))
	random := rand.NewChaCha8([32]byte{})
	write := func(size int) (string, error) {
		return c.Write(t.Context(), "sda1", "lilas", december, func(w io.Writer) error {
			_, err := io.CopyN(w, random, int64(size))
			return err
		})
	}
	backups := func() (all []string) {
		t.Helper()
		sticks, err := c.List(t.Context())
		must(t, err)
		for _, f := range sticks[0].Backups {
			all = append(all, fmt.Sprintf("%.6s %d", f.Name, f.Size))
		}
		return all
	}
	for range 3 {
		if _, err := write(1 << 20); err != nil {
			t.Fatal(err)
		}
	}
	if name, err := write(2 << 20); err != nil || !strings.HasPrefix(name, "000004") {
		t.Errorf("with older ones in its place: %s, %v", name, err)
	}
	if got := backups(); !slices.Equal(got, []string{"000004 2097152", "000003 1048576"}) {
		t.Errorf("the stick has %v", got)
	}
	if _, err := write(5 << 20); !codeIs(err, Full) {
		t.Errorf("one that never fits: %v", err)
	}
	if got := backups(); !slices.Equal(got, []string{"000004 2097152"}) {
		t.Errorf("afterwards the stick has %v", got)
	}
	run("blockdev", "--setro", device)
	if _, err := write(1000); !codeIs(err, ReadOnly) {
		t.Errorf("a stick that cannot be written: %v", err)
	}
	if got := backups(); len(got) != 1 {
		t.Errorf("it is not read either: %v", got)
	}
}
