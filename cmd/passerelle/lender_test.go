package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"rsc.io/qr"

	"passerelle/appliance/control"
	"passerelle/appliance/state"
)

// asked is a fake daemon that answers only what a test needs.
type asked struct {
	control.Box
	link    func(donation string) (string, error)
	refresh func(share string)
	status  *state.Status
	taken   map[string]string // the texts of layers that were taken, by "LEVEL NAME"
}

func (a asked) LenderLink(donation string) (string, error) { return a.link(donation) }
func (a asked) Refresh(share string) error                 { a.refresh(share); return nil }

// answers serves a control socket until the test ends.
func (a asked) answers(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "sock")
	l, err := control.Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	s, served := control.NewServer(a, slog.New(slog.DiscardHandler)), make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-served
	})
	return socket
}

func TestLenderCommand(t *testing.T) {
	t.Parallel()
	made := map[string]string{}
	socket := asked{link: func(donation string) (string, error) {
		made[donation] = fmt.Sprintf("https://partage.internal/lender/%026d", len(made))
		return made[donation], nil
	}}.answers(t)
	for _, name := range []string{"Fibre du centre", `Téléphone & "clé"`} {
		var out, errs strings.Builder
		if code := runMain(t.Context(), []string{"lender", "--socket", socket, name}, &out, &errs); code != exitOK {
			t.Fatalf("%q: exit status %d: %s", name, code, &errs)
		}
		link, _, _ := strings.Cut(out.String(), "\n")
		if link == "" || link != made[name] {
			t.Errorf("%q: the link is %q, want %q", name, link, made[name])
		}
		code, err := qr.Encode(link, qr.M)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "\n\n"+halfBlocks(code)+"\n") {
			t.Errorf("%q: the link is not drawn:\n%s", name, &out)
		}
	}
}

func TestLenderCommandRefused(t *testing.T) {
	t.Parallel()
	unknown := control.Refuse(errors.New("there is no such donation"))
	for _, test := range []struct {
		why    error // the daemon's error
		words  []string
		status int
		says   string
	}{
		{nil, nil, exitUsage, "name the donation"},
		{unknown, []string{"fibre du centre"}, exitUsage, "the daemon says: there is no such donation"},
		{nil, []string{"Fibre", "du", "centre"}, exitUsage, `unexpected argument "du"`},
		{errors.New("no space left on device"), []string{"Fibre du centre"}, exitFailed, "no space left on device"},
	} {
		var out, errs strings.Builder
		socket := asked{link: func(string) (string, error) { return "", test.why }}.answers(t)
		args := append([]string{"lender", "--socket", socket}, test.words...)
		if code := runMain(t.Context(), args, &out, &errs); code != test.status || !strings.Contains(errs.String(), test.says) {
			t.Errorf("%q: exit status %d: %s", test.words, code, &errs)
		}
		if out.Len() > 0 {
			t.Errorf("%q: %q is printed", test.words, &out)
		}
	}
}

// TestHalfBlocks: the drawing has the code's modules and its quiet zone.
func TestHalfBlocks(t *testing.T) {
	t.Parallel()
	code, err := qr.Encode("https://partage.internal/lender/k3vqzj5xw7oadcl2ygt4me6rnb", qr.M)
	if err != nil {
		t.Fatal(err)
	}
	black := map[rune][2]bool{' ': {}, '▀': {true, false}, '▄': {false, true}, '█': {true, true}}
	lines := strings.Split(strings.TrimSuffix(halfBlocks(code), "\n"), "\n")
	size := code.Size + 2*quiet
	if len(lines) != (size+1)/2 {
		t.Fatalf("%d lines for %d modules", len(lines), size)
	}
	for row, line := range lines {
		line = strings.TrimSuffix(strings.TrimPrefix(line, "\x1b[30;107m"), "\x1b[0m")
		if n := len([]rune(line)); n != size {
			t.Fatalf("line %d has %d characters, want %d", row, n, size)
		}
		for column, char := range []rune(line) {
			for half, got := range black[char] {
				x, y := column-quiet, 2*row+half-quiet
				inside := x >= 0 && x < code.Size && y >= 0 && y < code.Size
				if got != (inside && code.Black(x, y)) {
					t.Fatalf("the module at %d, %d is black: %t", x, y, got)
				}
			}
		}
	}
}
