package mirror_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"passerelle/appliance/fleet/mirror"
	"passerelle/appliance/fleet/trust"
)

// sources returns a folder with these files twice: read directly, and through a web server.
func sources(t *testing.T, names map[string]string) map[string]trust.Source {
	t.Helper()
	dir := t.TempDir()
	for name, text := range names {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(http.FileServerFS(os.DirFS(dir)))
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]trust.Source{"folder": mirror.Folder{FS: os.DirFS(dir)}, "site": mirror.Site{Client: server.Client(), URL: at}}
}

func TestRead(t *testing.T) {
	for kind, source := range sources(t, map[string]string{"metadata/1.root.json": "root", "empty": ""}) {
		for name, want := range map[string]string{"metadata/1.root.json": "root", "empty": ""} {
			if text, err := source.Read(t.Context(), name, 4); err != nil || string(text) != want {
				t.Errorf("%s %s: %q, %v", kind, name, text, err)
			}
		}
		if _, err := source.Read(t.Context(), "metadata/2.root.json", 4); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a file that is not there: %v", kind, err)
		}
		if text, err := source.Read(t.Context(), "metadata/1.root.json", 3); !errors.Is(err, mirror.ErrTooLong) || text != nil {
			t.Errorf("%s: a file that is too long: %q, %v", kind, text, err)
		}
		stopped, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := source.Read(stopped, "empty", 4); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: stopped: %v", kind, err)
		}
	}
}

// A stick may have anything under a name. Reading never blocks on it.
func TestHostileFolder(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "zero")); err != nil {
		t.Fatal(err)
	}
	source := mirror.Folder{FS: os.DirFS(dir)}
	for _, name := range []string{"pipe", "folder", "zero", "../../etc/passwd", "/etc/passwd", ""} {
		if text, err := source.Read(t.Context(), name, 100); err == nil {
			t.Errorf("%q: %q", name, text)
		}
	}
}

func TestSiteRefuses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	at, err := url.Parse(server.URL + "/repository/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (mirror.Site{Client: server.Client(), URL: at}).Read(t.Context(), "timestamp.json", 10); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a server that does not serve: %v", err)
	}
}
