package check_test

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"passerelle/netctl/netlab"
)

// crowd is how many residents a box with 512 MB must be able to serve.
const crowd = 50

// TestCrowd checks that 50 residents at once get an address, a session and the portal's pages while a technician imports a pack.
// Together they read every page. The machine has the memory of the smallest board, and none of its processes is killed because
// memory runs out.
func TestCrowd(t *testing.T) {
	c := newCard(t)
	a := newAround(t, crowd)
	drop(t, c, packOfPictures(t, 12e6), "pack.zip")
	m := startSharing(t, c, a)
	shell(t, m, "{ (passerelle tutorials import /boot/firmware/pack.zip > /run/import 2>&1; echo $? > /run/imported) & }")

	p := &portal{met: map[string]bool{}}
	p.meet("/")
	var residents sync.WaitGroup
	for _, r := range a.Residents {
		residents.Go(func() { p.visit(t, r) })
	}
	done := make(chan struct{})
	go func() { residents.Wait(); close(done) }()
	most := 0
	for visiting := true; visiting; {
		select {
		case <-done:
			visiting = false
		case <-time.After(5 * time.Second):
		}
		most = max(most, memory(t, m))
	}
	within(t, "the pack", aroundLimit, func(context.Context) error {
		if got := shell(t, m, "cat /run/imported"); got != "0" {
			return errors.New(shell(t, m, "cat /run/import"))
		}
		return nil
	})
	t.Logf("%d pages were read by %d residents; at most %d MB of memory were in use", len(p.met), crowd, most)
	if len(p.met) < 100 {
		t.Errorf("only %d pages were found", len(p.met))
	}
	for _, c := range []struct{ name, command, want string }{
		{"processes that the kernel ended", "dmesg | grep -ci 'out of memory'", "0"},
		{"starts of the daemon", "systemctl show -P NRestarts passerelle.service", "0"},
		{"residents with a session", "passerelle status --json | grep -o '\"sessions\": *[0-9]*' | grep -o '[0-9]*'", fmt.Sprint(crowd)},
	} {
		if got := shell(t, m, c.command); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// packOfPictures writes a pack with that many bytes of pictures, and returns its file.
func packOfPictures(t *testing.T, size int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pack.zip")
	f, err := os.Create(file)
	must(t, err)
	defer f.Close()
	z := zip.NewWriter(f)
	index, err := z.Create("index.html")
	must(t, err)
	fmt.Fprint(index, "<!doctype html><title>Un jeu</title><h1>Un jeu</h1>")
	for i := range size / 100_000 {
		name := fmt.Sprintf("%d.png", i)
		fmt.Fprintf(index, "<img src=%s alt=''>", name)
	}
	noise := make([]byte, 100_000)
	for i := range size / 100_000 {
		for b := range noise {
			noise[b] = byte(rand.Uint32())
		}
		picture, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("%d.png", i), Method: zip.Store})
		must(t, err)
		_, err = picture.Write(append([]byte("\x89PNG\r\n\x1a\n"), noise...))
		must(t, err)
	}
	must(t, z.Close())
	return file
}

// portal has the paths of the portal's pages that were found in links, and those of them that nobody has read yet.
type portal struct {
	mu     sync.Mutex
	met    map[string]bool
	unread []string
}

func (p *portal) meet(paths ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, path := range paths {
		if !p.met[path] {
			p.met[path] = true
			p.unread = append(p.unread, path)
		}
	}
}

// next returns a path that nobody has read yet.
func (p *portal) next() (path string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.unread) == 0 {
		return "", false
	}
	path, p.unread = p.unread[0], p.unread[1:]
	return path, true
}

var inPortal = regexp.MustCompile(`href="(/[^"#?]*)`)

// visit makes a resident join, press the button, read the first page and then pages that nobody has read yet.
func (p *portal) visit(t *testing.T, r *netlab.Resident) {
	try := func(what string, ask func(context.Context) error) bool {
		var err error
		for until := time.Now().Add(aroundLimit); time.Now().Before(until); time.Sleep(time.Second) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err = ask(ctx)
			cancel()
			if err == nil {
				return true
			}
		}
		t.Errorf("%s: %v", what, err)
		return false
	}
	get := func(path string) bool {
		return try(path, func(ctx context.Context) error {
			got, err := r.Get(ctx, "http://partage.internal"+path)
			if err == nil && got.Status >= 400 {
				err = fmt.Errorf("%d %s", got.Status, got.Body)
			}
			if err != nil {
				return err
			}
			for _, found := range inPortal.FindAllStringSubmatch(got.Body, -1) {
				p.meet(found[1])
			}
			return nil
		})
	}
	joined := try("a lease", func(ctx context.Context) error {
		_, err := r.Join(ctx)
		return err
	}) && get("/") && try("the button", func(ctx context.Context) error {
		got, err := r.Post(ctx, "http://partage.internal/session", strings.NewReader(""))
		if err == nil && got.Status != 303 {
			err = fmt.Errorf("%d %s", got.Status, got.Body)
		}
		return err
	}) && get("/")
	for joined {
		path, ok := p.next()
		if !ok {
			return
		}
		joined = get(path)
	}
}
