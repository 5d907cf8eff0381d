package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	asked "passerelle/appliance/fleet/command"
	"passerelle/appliance/fleet/report"
	"passerelle/cmd/hub/authority"
)

// TestPages: a hub serves its pages and its metrics: a box that enrolled and reported is there, and does what a person asks.
func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	free := freePorts(t, 2)
	name := filepath.Join(w.dirs[0], fileConfig)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text = fmt.Appendf(text, "pages = %q\nmetrics = %q\nfederation = %q\n", free[0], free[1], "Les Lilas & Cie")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openFolder(w.dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "nord")
	code, err := d.AddPerson(t.Context(), "ana", "Ana", "lilas")
	if err != nil {
		t.Fatal(err)
	}
	b := w.box(quick)
	b.enrol(d, "lilas")
	box := b.Status().Box
	today := w.clock.now().UTC()
	r := report.Report{Form: report.Form, Day: report.Day(today.Format(time.DateOnly)), Release: "1.2.3", State: "sharing", Sessions: 17,
		Donations: []report.Donation{}, Faults: []report.Fault{}}
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	b.report(r.Day.Report(), string(body))
	b.delivered()

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(f.ca)
	client := &http.Client{
		Timeout:       waitFor,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	cookie := ""
	ask := func(method, address string, form url.Values) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Cookie", cookie)
		answer, err := client.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer answer.Body.Close()
		for _, c := range answer.Cookies() {
			cookie = c.Name + "=" + c.Value
		}
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Error(err)
		}
		return answer.StatusCode, string(text)
	}
	site := "https://" + free[0]
	eventually(t, "the pages are served", func() bool {
		status, _ := ask(http.MethodGet, site+"/login", nil)
		return status == http.StatusOK
	})
	if status, _ := ask(http.MethodGet, "http://"+free[0]+"/login", nil); status == http.StatusOK {
		t.Error("the pages are served without TLS")
	}
	if status, page := ask(http.MethodPost, site+"/login", url.Values{"code": {strings.ToLower(code)}}); status != http.StatusSeeOther {
		t.Fatalf("sign in: %d, %s", status, page)
	}
	eventually(t, "the page of the box has its report", func() bool {
		status, page := ask(http.MethodGet, site+"/box/"+box, nil)
		return status == http.StatusOK && strings.Contains(page, "<td>17</td>") && strings.Contains(page, "1.2.3") && strings.Contains(page, "Les Lilas &amp; Cie")
	})
	if status, page := ask(http.MethodPost, site+"/box/"+box+"/command", url.Values{"do": {"pause"}}); status != http.StatusSeeOther {
		t.Errorf("pause: %d, %s", status, page)
	}
	eventually(t, "the box has the command", func() bool {
		var said string
		b.locked(func() { said = b.command })
		c, err := asked.Parse([]byte(said))
		return err == nil && c.Action == asked.Pause && c.By == "Ana"
	})
	eventually(t, "the metrics count the box", func() bool {
		status, page := ask(http.MethodGet, "http://"+free[1]+"/metrics", nil)
		return status == http.StatusOK && regexp.MustCompile(`passerelle_hub_boxes\{association="lilas",stage="member"\} 1\n`).MatchString(page)
	})
	if err := d.RemovePerson(t.Context(), "ana", "Ana"); err != nil {
		t.Fatal(err)
	}
	if status, _ := ask(http.MethodGet, site+"/", nil); status != http.StatusSeeOther {
		t.Errorf("somebody who was removed has the pages: %d", status)
	}
}

// TestPagesWithoutCertificate: a hub whose pages have no certificate still serves boxes.
func TestPagesWithoutCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	name := filepath.Join(w.dirs[0], fileConfig)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text = fmt.Appendf(text, "pages = %q\npages_certificate = \"none.pem\"\npages_key = \"none.key\"\n", freePorts(t, 1)[0])
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "")
	b := w.box(quick)
	b.enrol(d, "lilas")
	eventually(t, "the box is connected", func() bool { return b.Status().Connected })
}

// TestRenewed: a renewed certificate is served without a restart, but not before both its files are there.
func TestRenewed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ca, err := authority.NewCA(now)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &certificate{file: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	if _, err := c.get(); err == nil {
		t.Error("there is a certificate without a file")
	}
	put := func(host string, at time.Time, both bool) {
		t.Helper()
		p, err := ca.Host(host, now)
		if err != nil {
			t.Fatal(err)
		}
		if both {
			err = os.WriteFile(c.key, p.Key, 0o600)
		}
		if err == nil {
			err = os.WriteFile(c.file, p.Certificate, 0o600)
		}
		if err == nil {
			err = os.Chtimes(c.file, at, at)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(host string) {
		t.Helper()
		pair, err := c.get()
		if err != nil || pair.Leaf.DNSNames[0] != host {
			t.Errorf("%v, %v, want %s", pair, err, host)
		}
	}
	put("a.example.org", now.Add(-3*time.Hour), true)
	want("a.example.org")
	put("b.example.org", now.Add(-2*time.Hour), false)
	want("a.example.org") // its key is not there yet
	put("c.example.org", now.Add(-time.Hour), true)
	want("c.example.org")
	if err := os.Remove(c.file); err != nil {
		t.Fatal(err)
	}
	want("c.example.org")
}
