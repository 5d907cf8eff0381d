package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSticks(t *testing.T) {
	t.Parallel()
	got, err := removable(strings.NewReader(`22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/root rw
36 22 8:17 / /media/usb0 rw,nosuid - vfat /dev/sda1 rw
37 22 8:18 / /run/media/marie/CLÉ\040USB rw - exfat /dev/sda2 rw
38 22 8:19 / /mnt rw - ext4 /dev/sdb1 rw
39 22 0:5 / /media2 rw - ext4 /dev/sdc1 rw
`))
	want := []string{"/media/usb0", "/run/media/marie/CLÉ USB", "/mnt"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("sticks %q, %v, want %q", got, err, want)
	}
	stick := t.TempDir()
	for _, name := range []string{"Public/index.html", "lecons.ZIP", "._lecons.zip", "photo.png", "zip/a"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(stick, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(stick, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := packsOn(stick), []string{stick + "/Public", stick + "/lecons.ZIP"}; !slices.Equal(got, want) {
		t.Errorf("packs %q, want %q", got, want)
	}
}

// TestPacksOfARunningDaemon brings a pack, and takes it away, by the commands, while a daemon's control socket is open.
func TestPacksOfARunningDaemon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := &daemon{paths: paths{state: dir, socket: filepath.Join(dir, "s")}, log: slog.New(slog.DiscardHandler)}
	d.readLessons()
	own := d.lessons.Load()
	if _, ok := own.Lesson("wifi", "fr"); !ok || len(own.Packs()) != 0 {
		t.Fatal("without packs there are not just our own lessons")
	}
	ctx, stop := context.WithCancel(context.Background())
	control, err := d.openControl(ctx) // from here on commands wait for their answer
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- d.serveControl(ctx, control, nil) }()
	defer func() {
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}()
	command := func(words ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := Main(ctx, append([]string{"tutorials"}, words...), &out, &errs); code != exitFine || strings.Contains(out.String(), "not run") {
			t.Fatalf("%q exits %d: %s%s", words, code, &out, &errs)
		}
	}
	from := filepath.Join(dir, "carte")
	page := []byte("<title>La carte</title>")
	if err := errors.Join(os.Mkdir(from, 0o700), os.WriteFile(filepath.Join(from, "index.html"), page, 0o600)); err != nil {
		t.Fatal(err)
	}
	command("import", "--state", dir, "--socket", d.socket, from)
	if got := d.lessons.Load().Packs(); len(got) != 1 || got[0].Name != "carte" || len(own.Packs()) != 0 {
		t.Errorf("packs %v", got)
	}
	command("remove", "--state", dir, "--socket", d.socket, "carte")
	if got := d.lessons.Load().Packs(); len(got) != 0 {
		t.Errorf("packs %v", got)
	}
}
