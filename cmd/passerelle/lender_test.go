package main

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"rsc.io/qr"

	"passerelle/appliance/config"
)

// keptTokens keeps links in memory.
type keptTokens struct {
	by  map[string][sha256.Size]byte
	err error
}

func (k keptTokens) Set(donation string, hash [sha256.Size]byte) error {
	if k.err == nil {
		k.by[donation] = hash
	}
	return k.err
}

func (k keptTokens) Donation(hash [sha256.Size]byte) (string, bool) {
	for name, h := range k.by {
		if h == hash {
			return name, true
		}
	}
	return "", false
}

// lenderBox serves a control socket that issues links and nothing else.
func lenderBox(t *testing.T, tokens keptTokens) (socket string) {
	t.Helper()
	conf := &config.Config{
		Box:       config.Box{Hostname: "partage.internal"},
		Donations: []config.Donation{{Name: "Fibre du centre"}, {Name: `Téléphone & "clé"`}},
	}
	mux := http.NewServeMux()
	mux.Handle("POST /lender", issueLinks(tokens, func() *config.Config { return conf }, slog.New(slog.DiscardHandler)))
	socket = filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s, served := &http.Server{Handler: mux}, make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-served
	})
	return socket
}

func TestLenderCommand(t *testing.T) {
	t.Parallel()
	tokens := keptTokens{by: map[string][sha256.Size]byte{}}
	socket := lenderBox(t, tokens)
	var last string
	for _, name := range []string{"Fibre du centre", "Fibre du centre", `Téléphone & "clé"`} {
		var out, errs strings.Builder
		if code := Main(t.Context(), []string{"lender", "--socket", socket, name}, &out, &errs); code != exitFine {
			t.Fatalf("%q: exit status %d: %s", name, code, &errs)
		}
		link, _, _ := strings.Cut(out.String(), "\n")
		found := regexp.MustCompile(`^https://partage\.internal/lender/([a-z2-7]{26})$`).FindStringSubmatch(link)
		if found == nil {
			t.Fatalf("%q: the link is %q", name, link)
		}
		if link == last {
			t.Errorf("%q: the same link again", name)
		}
		last = link
		if got := tokens.by[name]; got != sha256.Sum256([]byte(found[1])) {
			t.Errorf("%q: %x is kept", name, got)
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
	tokens := keptTokens{by: map[string][sha256.Size]byte{}}
	full := keptTokens{err: errors.New("no space left on device")}
	for _, test := range []struct {
		tokens keptTokens
		words  []string
		status int
		says   string
	}{
		{tokens, nil, exitWrong, "name the donation"},
		{tokens, []string{"fibre du centre"}, exitWrong,
			`there is no donation "fibre du centre"; the configuration has "Fibre du centre", "Téléphone & \"clé\""`},
		{tokens, []string{"Fibre", "du", "centre"}, exitWrong, `"du" is one word too many`},
		{full, []string{"Fibre du centre"}, exitFailed, "no space left on device"},
	} {
		var out, errs strings.Builder
		args := append([]string{"lender", "--socket", lenderBox(t, test.tokens)}, test.words...)
		if code := Main(t.Context(), args, &out, &errs); code != test.status || !strings.Contains(errs.String(), test.says) {
			t.Errorf("%q: exit status %d: %s", test.words, code, &errs)
		}
		if out.Len() > 0 || len(test.tokens.by) > 0 {
			t.Errorf("%q: %q is printed, %v kept", test.words, &out, test.tokens.by)
		}
	}
}

// What is drawn is the code, module by module, with its margin.
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
