package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"passerelle/appliance/daemon"
	"passerelle/captive/tutorials/lessons"
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

// TestPacksOfARunningDaemon imports and removes a pack with the commands, while a daemon's control socket is open.
func TestPacksOfARunningDaemon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var read []string // the packs that the daemon reads
	socket := asked{refresh: func(share string) {
		if share != "tutorials" {
			t.Errorf("it refreshes %q", share)
		}
		library, problems := lessons.Load(daemon.Content(dir, "tutorials"))
		if err := errors.Join(problems...); err != nil {
			t.Error(err)
		}
		read = []string{}
		for _, p := range library.Packs() {
			read = append(read, p.Name)
		}
	}}.answers(t)
	command := func(words ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := runMain(t.Context(), append([]string{"tutorials"}, words...), &out, &errs); code != exitOK || strings.Contains(out.String(), "not running") {
			t.Fatalf("%q exits %d: %s%s", words, code, &out, &errs)
		}
	}
	from := filepath.Join(dir, "carte")
	page := []byte("<title>La carte</title>")
	if err := errors.Join(os.Mkdir(from, 0o700), os.WriteFile(filepath.Join(from, "index.html"), page, 0o600)); err != nil {
		t.Fatal(err)
	}
	command("import", "--state", dir, "--socket", socket, from)
	if !slices.Equal(read, []string{"carte"}) {
		t.Errorf("packs %q", read)
	}
	command("remove", "--state", dir, "--socket", socket, "carte")
	if len(read) != 0 {
		t.Errorf("packs %q", read)
	}
}
