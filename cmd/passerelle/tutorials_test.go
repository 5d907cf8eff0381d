package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/captive/tutorials"
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

func TestLessonsAreTakenUpAgain(t *testing.T) {
	t.Parallel()
	d := &daemon{paths: paths{state: t.TempDir()}, log: slog.New(slog.DiscardHandler)}
	d.readLessons()
	own := d.lessons.Load()
	if _, ok := own.Lesson("wifi", "fr"); !ok || len(own.Packs()) != 0 {
		t.Fatal("without packs there are not just our own lessons")
	}
	from := filepath.Join(t.TempDir(), "carte")
	if err := errors.Join(os.Mkdir(from, 0o700), os.WriteFile(filepath.Join(from, "index.html"), []byte("<title>La carte</title>"), 0o600)); err != nil {
		t.Fatal(err)
	}
	i := tutorials.Importer{Dir: filepath.Join(d.state, packsFolder), Most: tutorials.MostBytes, Now: time.Now, Progress: func(int64, int64) {}}
	if _, err := i.Import(context.Background(), from, ""); err != nil {
		t.Fatal(err)
	}
	d.readLessons()
	if got := d.lessons.Load().Packs(); len(got) != 1 || got[0].Name != "carte" || len(own.Packs()) != 0 {
		t.Errorf("packs %v", got)
	}
}
