package check_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"passerelle/image/check"
	"passerelle/image/slot"
)

// federation is a repository of releases and the keys that sign them. It uses the command that federations use.
type federation struct {
	t         *testing.T
	tool, dir string
}

// newFederation makes the keys, and the root of trust.
func newFederation(t *testing.T) *federation {
	t.Helper()
	f := &federation{t, filepath.Join(t.TempDir(), "passerelle-release"), t.TempDir()}
	out, err := exec.Command("go", "build", "-o", f.tool, "../../cmd/release").CombinedOutput()
	if err != nil {
		t.Fatalf("build the tool of releases: %v: %s", err, out)
	}
	must(t, os.WriteFile(filepath.Join(f.dir, "words"), []byte("six words that nobody has drawn\n"), 0o600))
	for _, name := range []string{"ana", "ben", "cem", "dia", "eva", "fox", "hub1"} {
		f.run("key", "--passphrase-file", "words", name)
	}
	f.run("root", "--root", "ana.pub,ben.pub,cem.pub", "--release", "dia.pub,eva.pub,fox.pub", "--hub", "hub1.pub", "repo")
	f.sign("root", "ana", "ben")
	return f
}

// run runs one of the tool's commands.
func (f *federation) run(words ...string) {
	f.t.Helper()
	cmd := exec.Command(f.tool, words...)
	cmd.Dir = f.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Fatalf("passerelle-release %s: %v: %s", strings.Join(words, " "), err, out)
	}
}

// sign signs a role with two keys, and publishes it.
func (f *federation) sign(role string, keys ...string) {
	f.t.Helper()
	for _, key := range keys {
		f.run("sign", "--yes", "--key", key, "--passphrase-file", "words", "repo", role)
	}
	f.run("publish", "repo")
}

// release publishes the content of a card's slot a as a release.
func (f *federation) release(version string, epoch int, c check.Card) {
	f.t.Helper()
	f.run("release", "--version", version, "--epoch", fmt.Sprint(epoch), "repo", string(c))
	f.sign("targets", "dia", "eva")
	f.run("seal", "--key", "hub1", "--passphrase-file", "words", "repo")
}

// root returns the root of trust.
func (f *federation) root() []byte {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, "repo/metadata/1.root.json"))
	must(f.t, err)
	return text
}

// stick returns a file with the content of a FAT USB stick that has the repository.
func (f *federation) stick() string {
	f.t.Helper()
	file := filepath.Join(f.dir, "stick")
	repo := filepath.Join(f.dir, "repo")
	for _, argv := range [][]string{
		{"truncate", "-s", "1G", file},
		{"mkfs.vfat", "-F", "32", file},
		{"mmd", "-i", file, "::passerelle-releases"},
		{"mcopy", "-s", "-i", file, filepath.Join(repo, "metadata"), filepath.Join(repo, "targets"), "::passerelle-releases/"},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			f.t.Fatalf("%s: %v: %s", argv[0], err, out)
		}
	}
	return file
}

// technician is a technician who is signed in to the box's pages, at a PC on the network of the box's cable.
type technician struct {
	t      *testing.T
	client *http.Client
	pages  string // as in Fast.Pages
	login  *http.Cookie
}

// box is the machine's address on QEMU's network.
const box = "10.0.2.15"

// signIn signs in with the technicians' password. If there is none yet, it sets one with the setup code.
func signIn(t *testing.T, pages, code string) *technician {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the certificate is the box's own
	t.Cleanup(transport.CloseIdleConnections)
	p := &technician{t: t, pages: pages, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	form := url.Values{"password": {"trois petits chats"}}
	if code != "" {
		form.Set("code", code)
	}
	p.within("to sign in", func(ctx context.Context) error {
		_, cookies, err := p.ask(ctx, http.MethodPost, "/admin/login", form)
		if err == nil && len(cookies) == 0 {
			err = errors.New("the box does not sign us in")
		}
		if err == nil {
			p.login = cookies[0]
		}
		return err
	})
	return p
}

// within calls ask until it succeeds. Hashing a password takes long on this machine.
func (p *technician) within(what string, ask func(context.Context) error) {
	p.t.Helper()
	for until := time.Now().Add(aroundLimit); ; time.Sleep(time.Second) {
		ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Minute)
		err := ask(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			p.t.Fatalf("waited in vain for %s: %v", what, err)
		}
	}
}

// ask requests a page, or sends a form.
func (p *technician) ask(ctx context.Context, method, path string, form url.Values) (text string, cookies []*http.Cookie, err error) {
	r, err := http.NewRequestWithContext(ctx, method, "https://"+p.pages+path, strings.NewReader(form.Encode()))
	if err != nil {
		return "", nil, err
	}
	r.Host = box
	r.Header.Set("Accept-Language", "en")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if p.login != nil {
		r.AddCookie(p.login)
	}
	answer, err := p.client.Do(r)
	if err != nil {
		return "", nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 400 {
		err = fmt.Errorf("%s %s: %d %s", method, path, answer.StatusCode, body)
	}
	return string(body), answer.Cookies(), err
}

// press presses a button on the page of updates.
func (p *technician) press(button string) {
	p.t.Helper()
	p.within("the button "+button, func(ctx context.Context) error {
		_, _, err := p.ask(ctx, http.MethodPost, "/admin/update", url.Values{"do": {button}})
		return err
	})
}

// page returns the page of updates, "" if the request fails.
func (p *technician) page() string {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	text, _, _ := p.ask(ctx, http.MethodGet, "/admin/update", nil) // callers that wait for a text retry
	return text
}

// TestUpdate checks that a technician can install a signed release from a USB stick with the page of updates. The box restarts into
// the new system on its own, since it was switched on a moment ago. If that was too long ago, the technician restarts it. The new
// system runs, proves itself, and reports its version. The image must be built with the federation's root of trust.
func TestUpdate(t *testing.T) {
	long(t)
	c := newCard(t)
	f := newFederation(t)
	root := filepath.Join(t.TempDir(), "root")
	must(t, c.UnpackRoot(root))
	must(t, os.WriteFile(filepath.Join(root, "usr/share/passerelle/root.json"), f.root(), 0o644))
	must(t, c.PackRoot(root))
	next, err := c.Copy(filepath.Join(t.TempDir(), "next"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(root, "usr/share/passerelle/next"), []byte("the next release\n"), 0o644))
	must(t, next.PackRoot(root))
	must(t, os.RemoveAll(root))
	f.release("2026.2", 2, next)
	must(t, os.Remove(string(next)))

	machine := check.Fast{Slot: "a", Stick: f.stick(), Pages: freeAddress(t)}
	m := start(t, c, machine)
	p := signIn(t, machine.Pages, setup(t, m))
	p.press("stick")
	pressed := false
	for until := time.Now().Add(bootLimit); !ended(m); time.Sleep(2 * time.Second) {
		page := p.page()
		switch {
		case time.Now().After(until):
			t.Fatalf("the box did not restart into the release: %s", page)
		case strings.Contains(page, "It waits until") && !pressed:
			p.press("other")
			pressed = true
		}
	}

	after := choose(t, c)
	if after.Slot != "b" {
		t.Fatalf("slot %s is booted, of %+v", after.Slot, held(t, c))
	}
	machine.Slot = after.Slot
	m = start(t, c, machine)
	wait(t, m, `(?m)^setup: `, bootLimit)
	if got := shell(t, m, "cat /usr/share/passerelle/next"); got != "the next release" {
		t.Errorf("in the new system there is %q", got)
	}
	for until := time.Now().Add(bootLimit); held(t, c).Good != slot.B; time.Sleep(time.Second) {
		if time.Now().After(until) {
			t.Fatalf("slot b does not prove itself: %s", shell(t, m, "passerelle slot status; journalctl --no-pager -u passerelle-slot"))
		}
	}
	p = signIn(t, machine.Pages, "")
	p.within("the name of the release", func(context.Context) error {
		if page := p.page(); !strings.Contains(page, "The box runs version 2026.2.") {
			return errors.New(page)
		}
		return nil
	})
	t.Log(shell(t, m, "journalctl --no-pager -o short-monotonic -u passerelle-update -u passerelle-slot | cut -c 1-200"))
}

// ended tells whether the machine has ended, as a fast machine does where a board would restart.
func ended(m *check.Machine) bool {
	select {
	case <-m.Ended():
		return true
	default:
		return false
	}
}

// freeAddress returns an address of this computer on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}
