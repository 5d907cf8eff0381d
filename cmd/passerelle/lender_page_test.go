package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

const lent = "Fibre du centre" // the donation of these tests

// lenderLink creates a new link for the donation's lender and returns its path and its token.
func (b *box) lenderLink() (path, token string) {
	b.t.Helper()
	out, err := program("lender", "--socket", b.Socket, lent).CombinedOutput()
	if err != nil {
		b.t.Fatalf("passerelle lender: %v\n%s", err, out)
	}
	link, _, _ := strings.Cut(string(out), "\n")
	path, ok := strings.CutPrefix(link, "https://partage.internal")
	token, ours := strings.CutPrefix(path, "/lender/")
	if !ok || !ours || len(token) != 26 {
		b.t.Fatalf("the link is %q", link)
	}
	return path, token
}

// secure sends a request to the box over TLS, like a browser whose user trusts the box, and returns the certificate.
func (b *box) secure(r *netlab.Resident, q *http.Request) (status int, body string, certificate *x509.Certificate) {
	b.t.Helper()
	q.Close = true
	client := r.HTTPClient()
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	reply, err := client.Do(q)
	b.must(err)
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	b.must(err)
	return reply.StatusCode, string(text), reply.TLS.PeerCertificates[0]
}

// waitPaused waits until the donation is paused by its lender, or not paused.
func (b *box) waitPaused(paused bool) {
	b.t.Helper()
	want, by := state.Sharing, ""
	if paused {
		want, by = state.Paused, "its lender"
	}
	s := b.waitState(want)
	if got := s.Donations[0].PausedBy; got != by {
		b.t.Errorf("%s: paused by %q, want %q", s.State, got, by)
	}
}

// TestLenderPage: the holder of the link sees the donation and can pause it, only over TLS. Nobody else can, and nobody sees residents.
func TestLenderPage(t *testing.T) {
	t.Parallel()
	const site = "https://10.80.0.1"
	b := newBox(t, settings{}, netlab.Options{Residents: 2})
	r, other := b.scene.Residents[0], b.scene.Residents[1]
	lease := b.newcomer(r)
	b.join(other)
	path, token := b.lenderLink()

	for _, address := range []string{site, "https://partage.internal"} {
		status, page, certificate := b.secure(other, b.request(http.MethodGet, address+path))
		if status != http.StatusOK || !strings.Contains(page, lent) {
			t.Fatalf("%s: %d\n%s", address, status, page)
		}
		for _, name := range []string{"10.80.0.1", "partage.internal"} {
			if err := certificate.VerifyHostname(name); err != nil {
				t.Errorf("%s: %v", address, err)
			}
		}
		for _, secret := range []string{lease.Address.Addr().String(), r.MAC.String(), r.Name()} {
			if strings.Contains(page, secret) {
				t.Errorf("%s tells %s:\n%s", address, secret, page)
			}
		}
	}
	reply, err := other.Get(t.Context(), portal+path)
	b.must(err)
	if to := reply.Header.Get("Location"); reply.Status != http.StatusFound || to != site+path {
		t.Errorf("without TLS: %d %q", reply.Status, to)
	}
	if reply := b.press(other, path+"/pause"); reply.Status != http.StatusMethodNotAllowed {
		t.Errorf("without TLS, the button is answered with %d", reply.Status)
	}

	press := func(path, button, header, value string) int {
		t.Helper()
		q := b.request(http.MethodPost, site+path+button)
		if header == "Host" {
			q.Host = value
		} else {
			q.Header.Set(header, value)
		}
		status, _, _ := b.secure(other, q)
		return status
	}
	wrong := "/lender/" + strings.Repeat("a", len(token))
	if status, _, _ := b.secure(other, b.request(http.MethodGet, site+wrong)); status != http.StatusNotFound {
		t.Errorf("a wrong link is answered with %d", status)
	}
	for _, c := range []struct {
		path, header, value string
		want                int
	}{
		{wrong, "Origin", site, http.StatusNotFound},
		{path, "Origin", "https://www.example", http.StatusForbidden},
		{path, "Origin", "null", http.StatusForbidden},
		{path, "Sec-Fetch-Site", "cross-site", http.StatusForbidden},
		{path, "Host", "www.example", http.StatusMisdirectedRequest},
	} {
		if got := press(c.path, "/pause", c.header, c.value); got != c.want {
			t.Errorf("the button with %s: %s is answered with %d, want %d", c.header, c.value, got, c.want)
		}
	}
	b.waitPaused(false)
	b.online(r)

	button := func(path, button string) {
		t.Helper()
		if got := press(path, button, "Origin", site); got != http.StatusSeeOther {
			t.Fatalf("the button is answered with %d", got)
		}
	}
	button(path, "/pause")
	b.waitPaused(true)
	b.blocked(r)
	if b.leads(r, netip.MustParsePrefix(boxPrefix).Addr()) {
		t.Error("the box asks for a name by a line that its lender paused")
	}
	b.kill()
	b.start()
	b.waitPaused(true)
	b.blocked(r)
	b.stop()
	b.start()
	b.waitPaused(true)
	b.blocked(r)
	button(path, "/resume")
	b.waitPaused(false)
	b.online(r)

	newPath, newToken := b.lenderLink()
	for path, want := range map[string]int{path: http.StatusNotFound, newPath: http.StatusOK} {
		if status, _, _ := b.secure(other, b.request(http.MethodGet, site+path)); status != want {
			t.Errorf("after a new link, %s is answered with %d, want %d", path, status, want)
		}
	}
	if got := press(path, "/pause", "Origin", site); got != http.StatusNotFound {
		t.Errorf("the old link's button is answered with %d", got)
	}
	b.stop()
	b.secret(token, newToken)
}

// secret fails the test if a token is in any file of the box, including the daemons' log. The store has the hash of the last one.
func (b *box) secret(tokens ...string) {
	b.t.Helper()
	found := map[string]bool{}
	b.must(filepath.WalkDir(b.scene.Box.Path("/"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, token := range tokens {
			if bytes.Contains(text, []byte(token)) {
				b.t.Errorf("%s tells the token", path)
			}
		}
		hash := sha256.Sum256([]byte(tokens[len(tokens)-1]))
		found[path] = bytes.Contains(text, hash[:])
		return nil
	}))
	if kept := found[filepath.Join(b.State, "ledger.db")]; !kept {
		b.t.Errorf("the accounts have no hash of the token; the files are %v", found)
	}
	if _, looked := found[b.scene.Box.Path("/log")]; !looked {
		b.t.Error("the log was not read")
	}
}

// TestPausedLine: when a lender pauses one of two donations, residents use the other.
func TestPausedLine(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{more: `
[[donation]]
name = "Téléphone d'Ana"
interface = "eth1"
cap = "2GB"
priority = 2
`}, netlab.Options{Uplinks: 2})
	r := b.scene.Residents[0]
	b.newcomer(r)
	path, _ := b.lenderLink()
	conn := b.talk(r)
	q := b.request(http.MethodPost, "https://10.80.0.1"+path+"/pause")
	q.Header.Set("Origin", "https://10.80.0.1")
	if status, _, _ := b.secure(r, q); status != http.StatusSeeOther {
		t.Fatalf("the button is answered with %d", status)
	}
	s := b.waitStatus("the other line", func(s state.Status) error {
		if !s.Donations[1].Chosen {
			return errors.New(s.Why)
		}
		return nil
	})
	if s.State != state.Sharing || s.Donations[0].PausedBy != "its lender" {
		t.Errorf("%s: %+v", s.State, s.Donations[0])
	}
	b.reset(conn)
	b.online(r)
	before := b.counted(b.scene.Lenders[0])
	limited(t, b, r, 8e6)
	if more := b.counted(b.scene.Lenders[0]) - before; more > 50e3 {
		t.Errorf("the paused line carried %d bytes more", more)
	}
	b.sessions(1)
}
