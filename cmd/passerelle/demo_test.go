package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

func TestStoryEndsWithTheFirstFailure(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	screen := newScreen(&out, func() { t.Error("the screen broke") })
	said := func(seen string, err error) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return seen, err }
	}
	err := story{
		{"One", said("fine\nvery fine", nil)},
		{"Two", said("half of it", errors.New("the other half is missing\nfor a reason"))},
		{"Three", said("", errors.New("must not be played"))},
	}.play(t.Context(), screen)
	if err == nil || err.Error() != "step 2 was not as it should be: Two" {
		t.Errorf("the story ended with %v", err)
	}
	const want = " 1  One\n  ✓ fine\n  ✓ very fine\n\n" +
		" 2  Two\n  ✓ half of it\n  ✗ the other half is missing\n    for a reason\n\n"
	if out.String() != want {
		t.Errorf("the story was told as\n%s\nwant\n%s", out.String(), want)
	}

	ctx, cancel := context.WithCancel(t.Context())
	err = story{{"One", func(context.Context) (string, error) { cancel(); return "", ctx.Err() }}}.play(ctx, screen)
	if err == nil || !strings.HasPrefix(err.Error(), "interrupted at step 1") {
		t.Errorf("an interrupted story ended with %v", err)
	}
}

func TestScreenDraws(t *testing.T) {
	t.Parallel()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	bars := []bar{rateBar("Amina", 2e6, 8e6), rateBar("Bo", 8e6, 8e6)}

	var out bytes.Buffer
	terminal := screen{out: &out, fd: int(null.Fd())} // of unknown width: 80
	terminal.draw("sharing", time.Hour, bars...)
	terminal.last = time.Time{}
	terminal.draw("sharing", time.Hour, bars...)
	const clear = "\r\x1b[2K    "
	frame := clear + "sharing\n" +
		clear + "Amina  " + strings.Repeat("█", 12) + "▌" + strings.Repeat("░", 37) + "  2.0 Mbit/s\n" +
		clear + "Bo     " + strings.Repeat("█", 50) + "  8.0 Mbit/s\n"
	if want := frame + "\x1b[3A" + frame; out.String() != want {
		t.Errorf("on a terminal %q, want %q", out.String(), want)
	}

	out.Reset()
	terminal.drawn, terminal.last = 0, time.Time{}
	terminal.draw("", time.Hour, bar{"card", []part{{0.5, solid, ""}, {0.26, "▓", ""}, {0.2, "▚", ""}}, "10.0 MB"})
	want := clear + "card  " +
		strings.Repeat("█", 25) + strings.Repeat("▓", 13) + strings.Repeat("▚", 10) + "░░  10.0 MB\n"
	if out.String() != want {
		t.Errorf("a bar of parts is %q, want %q", out.String(), want)
	}

	out.Reset()
	file := newScreen(&out, nil)
	file.draw("sharing", time.Hour, bars...)
	file.draw("sharing", time.Hour, bars...)
	if want := "    sharing, Amina 2.0 Mbit/s, Bo 8.0 Mbit/s\n"; out.String() != want {
		t.Errorf("in a file %q, want %q", out.String(), want)
	}

	broken := false
	newScreen(failingWriter{}, func() { broken = true }).say("hello")
	if !broken {
		t.Error("a screen that takes nothing was not noticed")
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestDemoNeedsRoot(t *testing.T) {
	t.Parallel()
	if err := demoNeeds(1000); err == nil || !strings.Contains(err.Error(), "sudo") {
		t.Errorf("without root: %v", err)
	}
}

func TestDemoListens(t *testing.T) {
	t.Parallel()
	l, err := listenForBrowsers("")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = listenForBrowsers(l.Addr().String())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("a port that is taken: %v", err)
	}
	other, err := listenForBrowsers("")
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
}

// running is the demo as a process of its own, as a user starts it.
type running struct {
	*exec.Cmd
	mark string // in the environment of everything that it starts
	out  *bufio.Reader
	said strings.Builder
}

func startDemo(t *testing.T, args ...string) *running {
	t.Helper()
	labtest.Root(t, tools...)
	r := &running{Cmd: program(append([]string{"demo"}, args...)...)}
	r.mark = fmt.Sprintf("PASSERELLE_TEST_MARK=%d-%s", os.Getpid(), t.Name())
	r.Env = append(r.Env, r.mark)
	// Both outputs into one pipe, which ends with the last process that holds it.
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

// until reads what the demo says up to the first line that matches.
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

// end reads the rest, and returns the exit status when the demo has ended and left nothing behind.
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
		environ, _ := os.ReadFile(p) // of a process that is gone meanwhile there is none
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
	if status := demo.end(t); status != exitFine {
		t.Fatalf("exit status %d", status)
	}
	if said := demo.said.String(); !strings.Contains(said, "steps were as they should be") || strings.Contains(said, "✗") {
		t.Errorf("exit status 0, with these words:\n%s", said)
	}
}

func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	demo := startDemo(t, "--listen", "127.0.0.1:0")
	demo.until(t, "Amina downloads")
	demo.until(t, "Mbit/s") // in the midst of it
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
	err := performance{
		screen: newScreen(&out, func() {}), once: true, program: program, limit: 2 * time.Second,
		prepare: func(s *netlab.Scene) error { return s.Lenders[fibre].LAN.Cut() },
	}.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "step 1 was not as it should be") {
		t.Errorf("without a line the demo ended with %v", err)
	}
	if !strings.Contains(out.String(), "✗ the box is offline and not sharing: eth1 does not exist; eth0 has no link") {
		t.Errorf("the reason is not said:\n%s", &out)
	}
}

// TestDemoBrowser goes online by the address that the demo prints, as a browser does.
func TestDemoBrowser(t *testing.T) {
	t.Parallel()
	demo := startDemo(t, "--listen", "127.0.0.1:0")
	demo.until(t, "open to your browser")
	base := strings.TrimSuffix(demo.until(t, `http://127\.0\.0\.1:\d+/`), "/")
	link := demo.until(t, "/lender/[a-z2-7]{26}")
	demo.until(t, "resident.* online, down") // it shows what goes on

	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	send := func(method, host, path, site string) (*http.Response, string) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
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
	internet := internetName + ":" + port

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

	lenders := lenderName + ":" + port
	if _, body := send("GET", lenders, link, ""); !strings.Contains(body, `action="`+link+`/pause"`) {
		t.Errorf("the lender's page: %q", body)
	}
	r, _ = send("POST", lenders, link+"/pause", "http://"+lenders)
	if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != link {
		t.Errorf("the lender's press: %d %s, want %d %s", r.StatusCode, r.Header.Get("Location"), http.StatusSeeOther, link)
	}
	wait(t, "the lender's page after the press, from a dnsmasq that was started anew for another line", func() error {
		if _, body := send("GET", lenders, link, ""); !strings.Contains(body, `action="`+link+`/resume"`) {
			return fmt.Errorf("it is %q", body)
		}
		return nil
	})

	if err := demo.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if status := demo.end(t); status != exitFine {
		t.Errorf("exit status %d", status)
	}
}
