package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// secureFrom sends a request over TLS from any host. The error is the connection's.
func (b *box) secureFrom(h *netlab.Host, q *http.Request) (status int, body string, certificate *x509.Certificate, err error) {
	b.t.Helper()
	q.Close = true
	client := h.HTTPClient()
	client.Timeout = 10 * brief
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	reply, err := client.Do(q)
	if err != nil {
		return 0, "", nil, err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	return reply.StatusCode, string(text), reply.TLS.PeerCertificates[0], err
}

// TestAccess: technicians reach their pages from the hotspot and from a line's own network, or only from the latter. Elsewhere the pages
// do not exist, and residents cannot reach them.
func TestAccess(t *testing.T) {
	t.Parallel()
	const field = `type="password"` // on the page to sign in
	b := newBox(t, settings{more: "[admin]\naccess = \"anywhere\"\n"}, netlab.Options{Uplinks: 2})
	r, lender := b.scene.Residents[0], b.scene.Lenders[0]
	b.newcomer(r)
	path, _ := b.lenderLink()
	hotspot, line := "https://10.80.0.1", "https://"+lender.Box.Addr().String()

	pages := func(want ...string) {
		t.Helper()
		b.waitStatus("the technicians' pages", func(s state.Status) error {
			if !slices.Equal(s.Admin.Pages, want) {
				return fmt.Errorf("the pages are %q, want %q", s.Admin.Pages, want)
			}
			return nil
		})
	}
	// answered requests a page, and checks its status and whether it is the page to sign in.
	answered := func(h *netlab.Host, url string, want int, signIn bool) *x509.Certificate {
		t.Helper()
		status, page, certificate, err := b.secureFrom(h, b.request(http.MethodGet, url))
		if err != nil {
			t.Fatalf("%s from %s: %v", url, h.Name(), err)
		}
		if status != want || strings.Contains(page, field) != signIn {
			t.Errorf("%s from %s is answered with %d\n%s", url, h.Name(), status, page)
		}
		return certificate
	}
	refused := func(h *netlab.Host, url string) {
		t.Helper()
		if status, _, _, err := b.secureFrom(h, b.request(http.MethodGet, url)); err == nil {
			t.Errorf("%s from %s is answered with %d", url, h.Name(), status)
		}
	}

	pages("https://partage.internal/admin/", line+"/admin/")
	answered(r.Host, hotspot+"/admin/login", http.StatusOK, true)
	certificate := answered(lender.NAS, line+"/admin/login", http.StatusOK, true)
	s, err := b.Status(t.Context())
	b.must(err)
	sum := sha256.Sum256(certificate.Raw)
	if got := strings.NewReplacer(":", "", " ", "").Replace(s.Admin.Fingerprint); !strings.EqualFold(got, hex.EncodeToString(sum[:])) {
		t.Errorf("status tells the fingerprint %s, the certificate has %x", s.Admin.Fingerprint, sum)
	}
	if out, err := program("status", "--socket", b.Socket).CombinedOutput(); err != nil || !strings.Contains(string(out), s.Admin.Fingerprint[:23]) ||
		!strings.Contains(string(out), line+"/admin/") {
		t.Errorf("status: %v\n%s", err, out)
	}
	if !strings.Contains(b.Log(), s.Admin.Fingerprint) {
		t.Error("the log has no fingerprint")
	}

	for _, url := range []string{line + path, line + "/accessibility", line + "/session"} {
		answered(lender.NAS, url, http.StatusNotFound, false)
	}
	q := b.request(http.MethodGet, line+"/admin/login")
	q.Host = "rebind.example"
	if status, _, _, err := b.secureFrom(lender.NAS, q); err != nil || status != http.StatusMisdirectedRequest {
		t.Errorf("under another name: %d, %v", status, err)
	}
	if reply, err := lender.NAS.Get(t.Context(), "http://"+lender.Box.Addr().String()+"/admin/"); err == nil {
		t.Errorf("plain http on the line is answered with %d", reply.Status)
	}
	refused(r.Host, line+"/admin/login")
	refused(b.scene.Lenders[1].NAS, "https://"+b.scene.Lenders[1].Box.Addr().String()+"/admin/login") // this line is not lent

	// The address changes, as with DHCP.
	moved := netip.PrefixFrom(netip.MustParseAddr("192.168.1.77"), lender.Box.Bits())
	b.must(b.scene.Box.RemoveAddresses(lender.Interface))
	b.must(b.scene.Box.AddAddress(lender.Interface, moved))
	pages("https://partage.internal/admin/", "https://192.168.1.77/admin/")
	answered(lender.NAS, "https://192.168.1.77/admin/login", http.StatusOK, true)

	b.configure(settings{more: "[admin]\naccess = \"wired\"\n"})
	b.mustDo("reload")
	answered(lender.NAS, "https://192.168.1.77/admin/login", http.StatusOK, true)
	answered(r.Host, hotspot+"/admin/login", http.StatusForbidden, false)
	answered(r.Host, hotspot+path, http.StatusOK, false)

	b.configure(settings{more: "[admin]\naccess = \"button\"\n"})
	b.mustDo("reload")
	answered(lender.NAS, "https://192.168.1.77/admin/login", http.StatusForbidden, false)
	answered(r.Host, hotspot+"/admin/", http.StatusForbidden, false)
}
