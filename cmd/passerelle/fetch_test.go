package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// fetcher is a program that fetches files without a person who would see a page.
type fetcher struct {
	get   string // a script that fetches $URL into the file named by the end of the URL's path
	again string // a script that resumes the download; "" for the same
}

// aptHelper is apt's own HTTP client, which apt-get uses.
const aptHelper = "/usr/lib/apt/apt-helper"

var fetchers = map[string]fetcher{
	"wget":           {get: `wget --tries 3 --waitretry 1 $URL`, again: `wget --continue $URL`},
	"wget-busybox":   {get: `busybox wget $URL`, again: `busybox wget -c $URL`},
	"curl":           {get: `curl -O $URL`, again: `curl -O -C - $URL`},
	"curl-following": {get: `curl -LO $URL`, again: `curl -LO -C - $URL`},
	"curl-failing":   {get: `curl -fO $URL`, again: `curl -fO -C - $URL`},
	"podcasts": {
		get:   `curl -fO -A AntennaPod/3.5.0 -H Accept: -H 'Range: bytes=0-' $URL`,
		again: `curl -fO -A AntennaPod/3.5.0 -H Accept: -C - $URL`,
	},
	"aria2":     {get: `aria2c --file-allocation=none --max-tries=2 --continue $URL`},
	"apt":       {get: aptHelper + ` -o Acquire::Retries=1 -o APT::Sandbox::User=root download-file $URL apt`},
	"git-dumb":  {get: `git clone $REPOSITORIES/dumb clone && mv clone/file git-dumb`},
	"git-smart": {get: `git clone $REPOSITORIES/smart clone && mv clone/file git-smart`},
}

// TestFetchers: a program that fetches a file over plain http while its device has no session, or while sharing stops, fails, and its file
// contains nothing of our pages. Afterwards it resumes the download and completes it.
func TestFetchers(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "wget", "curl", "aria2c", "git", aptHelper)
	b := newBox(t, settings{down: "40mbit"}, netlab.Options{})
	r := b.scene.Residents[0]
	file := make([]byte, 1<<18)
	rand.NewChaCha8([32]byte{}).Read(file) // random, so that git cannot compress it
	halves := serveHalves(b, file)
	b.join(r)

	for _, moment := range []struct {
		name      string
		stop, run func()
	}{
		{"before a press", nil, func() { b.admit(r) }},
		{"at a session's end", func() { b.press(r, "/session/end") }, func() { b.admit(r) }},
		{"in a pause", func() { b.mustDo("pause") }, func() { b.mustDo("resume"); b.online(r) }},
	} {
		dir := t.TempDir()
		start := func(script func(fetcher) string) map[string]*netlab.Proc {
			all := map[string]*netlab.Proc{}
			for name, f := range fetchers {
				cmd := exec.Command("sh", "-c", script(f))
				cmd.Dir = filepath.Join(dir, name)
				b.must(os.MkdirAll(cmd.Dir, 0o755))
				cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C",
					"URL=http://www.example/files/"+name, "REPOSITORIES=http://www.example/git")
				proc, err := r.StartCmd(cmd)
				b.must(err)
				all[name] = proc
			}
			return all
		}
		// ended waits for all processes, and fails the test unless each succeeded or failed, as wanted.
		ended := func(procs map[string]*netlab.Proc, well bool) {
			t.Helper()
			for name, proc := range procs {
				select {
				case <-proc.Exited():
				case <-time.After(patience):
					t.Errorf("%s, %s: it does not end:\n%s", moment.name, name, proc.Output())
					proc.Kill()
				}
				if err := proc.Wait(); (err == nil) != well {
					t.Errorf("%s, %s: it ended with %v:\n%s", moment.name, name, err, proc.Output())
				}
			}
		}
		get := func(f fetcher) string { return f.get }
		again := func(f fetcher) string { return cmp.Or(f.again, f.get) }

		if moment.stop != nil {
			halves.hold()
			procs := start(get)
			halves.wait(t)
			moment.stop()
			ended(procs, false)
			halves.release()
			ended(start(again), false)
		} else {
			ended(start(get), false)
		}
		b.must(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte("10.80.0.1")) {
				t.Errorf("%s: %s has our page", moment.name, path)
			}
			return err
		}))
		moment.run()
		ended(start(again), true)
		for name := range fetchers {
			if got, err := os.ReadFile(filepath.Join(dir, name, name)); err != nil || !bytes.Equal(got, file) {
				t.Errorf("%s, %s: %d bytes, not those that were there: %v", moment.name, name, len(got), err)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// halves is a handler that can be made to pause in the middle of an answer.
type halves struct {
	http.Handler
	after int

	mu      sync.Mutex
	held    chan struct{}   // closed to let paused answers continue; nil: answers do not pause
	waiting map[string]bool // by path
}

func (h *halves) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held, h.waiting = make(chan struct{}), map[string]bool{}
}

func (h *halves) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.held)
	h.held = nil
}

// wait waits until every program's answer has paused.
func (h *halves) wait(t *testing.T) {
	t.Helper()
	wait(t, "every program's half", func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.waiting) < len(fetchers) {
			return fmt.Errorf("there is that of %v", slices.Collect(maps.Keys(h.waiting)))
		}
		return nil
	})
}

func (h *halves) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.Handler.ServeHTTP(&half{ResponseWriter: w, r: r, of: h}, r)
}

// half is one answer of halves.
type half struct {
	http.ResponseWriter
	r    *http.Request
	of   *halves
	sent int
}

func (w *half) Write(b []byte) (int, error) {
	if w.sent += len(b); w.sent > w.of.after {
		w.of.mu.Lock()
		held := w.of.held
		if held != nil {
			w.of.waiting[w.r.URL.Path] = true
		}
		w.of.mu.Unlock()
		if held != nil {
			http.NewResponseController(w.ResponseWriter).Flush()
			select {
			case <-held:
			case <-w.r.Context().Done():
			}
		}
	}
	return w.ResponseWriter.Write(b)
}

// serveHalves serves the file to each program on the internet, under the program's name, and in git repositories.
func serveHalves(b *box, file []byte) *halves {
	b.t.Helper()
	dir := b.t.TempDir()
	git := func(args ...string) {
		b.t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=A", "-c", "user.email=a@example"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	git("init", "--quiet", "--initial-branch=main")
	b.must(os.WriteFile(filepath.Join(dir, "file"), file, 0o644))
	git("add", "file")
	git("commit", "--quiet", "--message=a file")
	git("repack", "--quiet", "-ad")
	git("update-server-info")

	path, err := exec.LookPath("git")
	b.must(err)
	mux := http.NewServeMux()
	changed := time.Now().Add(-time.Hour)
	mux.HandleFunc("/files/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", changed, bytes.NewReader(file))
	})
	mux.Handle("/git/dumb/", http.StripPrefix("/git/dumb/", http.FileServer(http.Dir(filepath.Join(dir, ".git")))))
	mux.Handle("/git/smart/", &cgi.Handler{
		Path: path, Args: []string{"http-backend"}, Root: "/git/smart",
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Join(dir, ".git"), "GIT_HTTP_EXPORT_ALL=1"},
	})
	h := &halves{Handler: mux, after: len(file) / 2}
	b.scene.Internet.Pages.Handle("/files/", h)
	b.scene.Internet.Pages.Handle("/git/", h)
	return h
}
