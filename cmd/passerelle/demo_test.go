package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/cmd/passerelle/demo"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// running is the demo as a process, as a user starts it.
type running struct {
	*exec.Cmd
	mark string // in the environment of all its processes
	out  *bufio.Reader
	said strings.Builder
}

func startDemo(t *testing.T, args ...string) *running {
	t.Helper()
	labtest.Root(t, tools...)
	r := &running{Cmd: program(append([]string{"demo"}, args...)...)}
	r.mark = fmt.Sprintf("PASSERELLE_TEST_MARK=%d-%s", os.Getpid(), t.Name())
	r.Env = append(r.Env, r.mark)
	// Both outputs share one pipe, which ends with the last process that holds it.
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close() })
	r.Stdout, r.Stderr = write, write
	r.out = bufio.NewReader(read)
	err = r.Start()
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.ProcessState == nil {
			r.Process.Kill()
			r.Wait()
			if err := netlab.Sweep(context.Background()); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Logf("the demo said:\n%s", &r.said)
		}
	})
	return r
}

// until reads the demo's output up to the first line that matches.
func (r *running) until(t *testing.T, pattern string) string {
	t.Helper()
	expr := regexp.MustCompile(pattern)
	for {
		line, err := r.out.ReadString('\n')
		r.said.WriteString(line)
		if found := expr.FindString(line); found != "" {
			return found
		}
		if err != nil {
			t.Fatalf("the demo ended without saying %q: %v", pattern, err)
		}
	}
}

// end reads the rest of the output. When the demo has ended and left nothing behind, it returns the exit status.
func (r *running) end(t *testing.T) int {
	t.Helper()
	if _, err := io.Copy(&r.said, r.out); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := r.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var left []string
	for _, pattern := range []string{"/run/netns/netlab-%d-*", "/etc/netns/netlab-%d-*", os.TempDir() + "/netlab-%d-*"} {
		found, err := filepath.Glob(fmt.Sprintf(pattern, r.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		environ, _ := os.ReadFile(p) // empty for a process that has exited
		if slices.Contains(strings.Split(string(environ), "\x00"), r.mark) {
			left = append(left, p)
		}
	}
	if left != nil {
		t.Errorf("left behind: %q", left)
	}
	return r.ProcessState.ExitCode()
}

func TestDemoOnce(t *testing.T) {
	t.Parallel()
	demo := startDemo(t, "--once")
	if status := demo.end(t); status != exitOK {
		t.Fatalf("exit status %d", status)
	}
	if said := demo.said.String(); !strings.Contains(said, "steps passed") || strings.Contains(said, "✗") {
		t.Errorf("exit status 0, with these words:\n%s", said)
	}
}

func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	demo := startDemo(t, "--listen", "127.0.0.1:0")
	demo.until(t, "Amina downloads")
	demo.until(t, "Mbit/s") // during the step
	if err := demo.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if status := demo.end(t); status != exitFailed {
		t.Errorf("exit status %d", status)
	}
	if !strings.Contains(demo.said.String(), "interrupted at step") {
		t.Error("the demo does not say where it was interrupted")
	}
}

func TestDemoFailsWithoutLine(t *testing.T) {
	t.Parallel()
	labtest.Root(t, tools...)
	var out bytes.Buffer
	err := demo.Run(t.Context(), &out, demo.Options{
		Once: true, Program: program, Online: residents, Limit: 10 * time.Second,
		Prepare: func(s *netlab.Scene) error { return s.Lenders[0].LAN.Cut() },
	})
	if err == nil || !strings.Contains(err.Error(), "step 1 failed") {
		t.Errorf("without a line the demo ended with %v", err)
	}
	if !strings.Contains(out.String(), "✗ the box is offline and not sharing: eth1 does not exist; eth0 has no link") {
		t.Errorf("the reason is not said:\n%s", &out)
	}
}

// technicianPassword is the password that the demo chose.
var technicianPassword = regexp.MustCompile(`[a-z2-7]{16}`)

// TestDemoBrowser goes online and signs in through the addresses that the demo prints, as a browser does.
func TestDemoBrowser(t *testing.T) {
	t.Parallel()
	demo := startDemo(t, "--listen", "127.0.0.1:0")
	demo.until(t, "When the story is over")
	base := strings.TrimSuffix(demo.until(t, `http://127\.0\.0\.1:\d+/`), "/")
	secure := strings.TrimSuffix(demo.until(t, `https://127\.0\.0\.1:\d+/admin/`), "/admin/")
	demo.until(t, "open to your browser, which")
	secret := technicianPassword.FindString(demo.until(t, `asks for the password .*`))
	if secret == "" {
		t.Fatal("the demo does not say the technician's password")
	}
	link := demo.until(t, "/lender/[a-z2-7]{26}")
	fingerprint := demo.until(t, "[0-9A-F]{2}([: ][0-9A-F]{2}){31}")
	demo.until(t, "resident.* online, down") // it displays the traffic

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	defer client.CloseIdleConnections()
	send := func(method, host, path, site string) (*http.Response, string) {
		t.Helper()
		if !strings.Contains(path, "://") {
			path = base + path
		}
		q, err := http.NewRequestWithContext(t.Context(), method, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			q.Host = host
		}
		q.Header.Set("Accept", "text/html")
		if site != "" {
			q.Header.Set("Origin", site)
			q.Header.Set("Referer", site+"/")
		}
		r, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r, string(body)
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	internet := "internet.localhost:" + port

	if r, _ := send("GET", internet, "/", ""); r.StatusCode != http.StatusFound || r.Header.Get("Location") != base+"/" {
		t.Errorf("the internet before the press: %d %s, want the way to %s/", r.StatusCode, r.Header.Get("Location"), base)
	}
	if r, body := send("GET", "", "/", ""); r.StatusCode != http.StatusOK || !strings.Contains(body, `action="/session"`) {
		t.Errorf("the first page: %d %q", r.StatusCode, body)
	}
	if r, _ := send("POST", "", "/session", "http://elsewhere.example"); r.StatusCode != http.StatusForbidden {
		t.Errorf("a press on another site's page: %d, want %d", r.StatusCode, http.StatusForbidden)
	}
	r, _ := send("POST", "", "/session", base)
	if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/session" {
		t.Fatalf("the press: %d %s, want %d /session", r.StatusCode, r.Header.Get("Location"), http.StatusSeeOther)
	}
	if _, body := send("GET", "", "/session", ""); !strings.Contains(body, `action="/session/end"`) {
		t.Errorf("the session's page: %q", body)
	}
	if _, body := send("GET", internet, "/", ""); body != netlab.InternetPage {
		t.Errorf("the internet after the press: %q", body)
	}

	if _, body := send("GET", "", secure+link, ""); !strings.Contains(body, `action="`+link+`/pause"`) {
		t.Errorf("the lender's page: %q", body)
	}
	r, _ = send("POST", "", secure+link+"/pause", secure)
	if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != link {
		t.Errorf("the lender's press: %d %s, want %d %s", r.StatusCode, r.Header.Get("Location"), http.StatusSeeOther, link)
	}
	if _, body := send("GET", "", secure+link, ""); !strings.Contains(body, `action="`+link+`/resume"`) {
		t.Errorf("the lender's page after the press: %q", body)
	}
	if r, _ := send("POST", "", secure+link+"/resume", secure); r.StatusCode != http.StatusSeeOther {
		t.Errorf("the lender's second press: %d", r.StatusCode)
	}

	if r, _ := send("GET", "", "/admin/", ""); r.StatusCode != http.StatusFound || r.Header.Get("Location") != secure+"/admin/" {
		t.Errorf("the technician's page on http: %d %s, want the way to %s/admin/", r.StatusCode, r.Header.Get("Location"), secure)
	}
	r, _ = send("GET", "", secure+"/admin/", "")
	if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/admin/login" {
		t.Errorf("the technician's page without a login: %d %s", r.StatusCode, r.Header.Get("Location"))
	}
	if sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw); strings.NewReplacer(":", "", " ", "").Replace(fingerprint) != fmt.Sprintf("%X", sum) {
		t.Errorf("the certificate's fingerprint is %X, the demo says %s", sum, fingerprint)
	}
	if _, body := send("GET", "", secure+"/admin/login", ""); !strings.Contains(body, `name="password"`) {
		t.Errorf("the page to sign in: %q", body)
	}
	form := url.Values{"password": {secret}}.Encode()
	for _, c := range []struct {
		site string
		want int
	}{{"https://elsewhere.example", http.StatusForbidden}, {secure, http.StatusSeeOther}} {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, secure+"/admin/login", strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Origin", c.site)
		r, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != c.want {
			t.Errorf("signing in on %s's page: %d, want %d", c.site, r.StatusCode, c.want)
		}
	}
	if r, body := send("GET", "", secure+"/admin/", ""); r.StatusCode != http.StatusOK || !strings.Contains(body, `action="/admin/pause"`) {
		t.Errorf("the technician's page: %d %q", r.StatusCode, body)
	}
	if r, _ := send("GET", "evil.example", secure+"/admin/", ""); r.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("the technician's page under a stranger's name: %d", r.StatusCode)
	}

	if err := demo.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if status := demo.end(t); status != exitOK {
		t.Errorf("exit status %d", status)
	}
}
