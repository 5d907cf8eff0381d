package daemon

import (
	"crypto/sha256"
	"errors"
	"regexp"
	"strings"
	"testing"

	"passerelle/appliance/config"
	"passerelle/appliance/control"
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

// lendersConf has two donations.
var lendersConf = &config.Config{
	Box:       config.Box{Hostname: "partage.internal"},
	Donations: []config.Donation{{Name: "Fibre du centre"}, {Name: `Téléphone & "clé"`}},
}

func TestIssueLink(t *testing.T) {
	t.Parallel()
	tokens := keptTokens{by: map[string][sha256.Size]byte{}}
	var last string
	for _, name := range []string{"Fibre du centre", "Fibre du centre", `Téléphone & "clé"`} {
		link, err := issueLink(tokens, lendersConf, name)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
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
	}
}

func TestIssueLinkRefused(t *testing.T) {
	t.Parallel()
	tokens := keptTokens{by: map[string][sha256.Size]byte{}}
	full := keptTokens{err: errors.New("no space left on device")}
	for _, test := range []struct {
		tokens   keptTokens
		donation string
		refused  bool
		says     string
	}{
		{tokens, "fibre du centre", true,
			`unknown donation "fibre du centre"; the configuration has "Fibre du centre", "Téléphone & \"clé\""`},
		{full, "Fibre du centre", false, "no space left on device"},
	} {
		link, err := issueLink(test.tokens, lendersConf, test.donation)
		if err == nil || errors.Is(err, control.ErrRefused) != test.refused || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: %v", test.donation, err)
		}
		if link != "" || len(test.tokens.by) > 0 {
			t.Errorf("%q: the link %q, %v kept", test.donation, link, test.tokens.by)
		}
	}
}
