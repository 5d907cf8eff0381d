package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
)

// fakeFleet is the membership of a box in a fleet.
type fakeFleet struct {
	status state.Status
	asked  []string
	err    error
}

func (f *fakeFleet) Status() state.Status   { return f.status }
func (f *fakeFleet) Join(code string) error { return f.ask("join " + code) }
func (f *fakeFleet) Leave() error           { return f.ask("leave") }
func (f *fakeFleet) Accept(_ context.Context, service string) error {
	return f.ask("accept " + service)
}
func (f *fakeFleet) Withdraw(_ context.Context, service string) error {
	return f.ask("withdraw " + service)
}

func (f *fakeFleet) ask(what string) error {
	f.asked = append(f.asked, what)
	return f.err
}

// aMember is the status of a member box with all that the page can show.
var aMember = state.Status{
	Fleet: &state.Fleet{Stage: "member", Association: "lilas", Box: "abcdefghij", Connected: true, Contact: noon, Files: "no root", Handouts: []state.FleetFile{
		{Kind: "packs", Name: "velo", By: "association lilas", State: "waits", Why: "residents", Done: 3e6, Size: 20e6},
		{Kind: "places", Name: "nord", By: "region nord", State: "failed", Why: "it is a <poem>", Size: 1e6},
	}},
	Layers: &state.Layers{
		Set:      []state.LayerKey{{Key: "limits.session", Value: `"2h"`, By: "association lilas"}},
		Refused:  []state.LayerKey{{Key: "limits.data", Value: `"1GB"`, By: "region nord", Why: "it would raise it"}},
		Proposed: []state.Proposal{{Service: "a.example.org", By: "the fleet"}, {Service: "b.example.org", By: "the fleet", Accepted: true}},
		Unread:   []state.Unread{{By: "region nord", Error: "line 3"}},
	},
	Commands: []state.FleetCommand{{At: noon, Action: "pause", By: "Ana", Verdict: "yields"}},
}

// TestFleetPage: the page shows the box's membership, what the fleet proposes and has changed, and what it asked the box to do.
func TestFleetPage(t *testing.T) {
	t.Parallel()
	x := settler(t)
	for name, c := range map[string]struct {
		status  state.Status
		fr, en  []string
		without []string // words that appear in neither language
	}{
		"no fleet": {
			state.Status{}, []string{"aucune fédération"}, []string{"no federation"}, []string{`value="join"`, `value="leave"`},
		},
		"alone": {
			state.Status{Fleet: &state.Fleet{Stage: "alone", Refusal: "used", Waits: "no line is open"}},
			[]string{"pas encore membre", `value="join"`, "déjà servi", "no line is open"}, []string{"not a member yet", "already", "no line is open"}, []string{`value="leave"`},
		},
		"waiting": {
			state.Status{Fleet: &state.Fleet{Stage: "waiting", Words: []string{"pomme", "<b>", "lac", "nuage"}}},
			[]string{"quatre mots", "pomme", "&lt;b&gt;", `value="leave"`}, []string{"four words", "nuage"}, []string{`value="join"`, "<b>"},
		},
		"member": {
			aMember,
			[]string{
				"membre de lilas", "en contact maintenant", "no root", "limits.session = &#34;2h&#34;", "l’association lilas", "la région nord",
				"it would raise it", "Accepter a.example.org", "Retirer b.example.org", "line 3", "Mettre en pause", "par Ana", "autre chose", `value="leave"`,
				"velo", "Leçons ou pages · Envoyé par l’association lilas", "Il attend : 3 mégaoctets sur 20 mégaoctets sont là. Des personnes sont connectées.", "Liste de lieux · Envoyé par la région nord",
				"ne l’a pas pris", "it is a &lt;poem&gt;",
			},
			[]string{"member of lilas", "the association lilas", "Accept a.example.org", "Take b.example.org away", "otherwise", "It waits: 3 megabytes of 20 megabytes are here. Somebody is connected."},
			[]string{`value="join"`, "the fleet"},
		},
		"revoked": {
			state.Status{Fleet: &state.Fleet{Stage: "member", Revoked: true}},
			[]string{"ne laisse plus entrer", `value="join"`}, []string{"does not let this box in"}, nil,
		},
	} {
		x.box.fleet.status = c.status
		for code, want := range map[string][]string{"fr": c.fr, "en": c.en} {
			res := x.get(fleetPath + "?lang=" + code)
			page := strings.NewReplacer("\u00a0", " ", "\u202f", " ", "\u2068", "", "\u2069", "", "<bdi>", "", "</bdi>", "").Replace(res.Body.String())
			if res.Code != http.StatusOK {
				t.Errorf("%s (%s) is answered %d", name, code, res.Code)
			}
			for _, text := range want {
				if !strings.Contains(page, text) {
					t.Errorf("%s (%s): %q is missing in\n%s", name, code, text, page)
				}
			}
			for _, text := range c.without {
				if strings.Contains(page, text) {
					t.Errorf("%s (%s) says %q", name, code, text)
				}
			}
		}
	}
}

// TestFleetWords: each word of the fleet's packages has a message.
func TestFleetWords(t *testing.T) {
	t.Parallel()
	x := settler(t)
	see := func(s state.Status) {
		t.Helper()
		x.box.fleet.status = s
		if page := x.get(fleetPath).Body.String(); strings.Contains(page, "fleet.") {
			t.Errorf("%+v has no words in\n%s", s, page)
		}
	}
	for _, stage := range fleetStages {
		see(state.Status{Fleet: &state.Fleet{Stage: stage}})
	}
	for _, refusal := range fleetRefusals {
		see(state.Status{Fleet: &state.Fleet{Stage: "alone", Refusal: refusal}})
	}
	for _, file := range fleetFiles {
		for _, kind := range []string{"packs", "places"} {
			see(state.Status{Fleet: &state.Fleet{Stage: "alone", Handouts: []state.FleetFile{{Kind: kind, Name: "velo", State: file}}}})
		}
	}
	for _, why := range fleetWaits {
		see(state.Status{Fleet: &state.Fleet{Stage: "alone", Handouts: []state.FleetFile{{Kind: "packs", Name: "velo", State: "waits", Why: why}}}})
	}
	for _, action := range fleetActions {
		for _, verdict := range fleetVerdicts {
			see(state.Status{Fleet: &state.Fleet{Stage: "alone"}, Commands: []state.FleetCommand{{At: noon, Action: action, By: "Ana", Verdict: verdict}}})
		}
	}
}

// TestFleetPresses: each button does one thing, is recorded in the journal, and leads back to the page. A code that was refused is
// still in its field.
func TestFleetPresses(t *testing.T) {
	t.Parallel()
	x := settler(t)
	x.box.fleet.status = state.Status{Fleet: &state.Fleet{Stage: "alone"}}
	for _, c := range []struct {
		form  url.Values
		asked string
		what  journal.What
	}{
		{url.Values{"do": {"join"}, "code": {"7K2QX-0M4TW"}}, "join 7K2QX-0M4TW", journal.FleetAsked},
		{url.Values{"do": {"leave"}}, "leave", journal.FleetLeft},
		{url.Values{"do": {"accept"}, "service": {"a.example.org"}}, "accept a.example.org", journal.ServiceAccepted},
		{url.Values{"do": {"withdraw"}, "service": {"a.example.org"}}, "withdraw a.example.org", journal.ServiceWithdrawn},
	} {
		x.box.fleet.asked, x.box.fleet.err = nil, nil
		res := x.post(fleetPath, c.form)
		if res.Code != http.StatusSeeOther || !slices.Equal(x.box.fleet.asked, []string{c.asked}) {
			t.Errorf("%v is answered %d, asked %q", c.form, res.Code, x.box.fleet.asked)
		}
		entries, err := x.box.journal.Entries()
		if err != nil || len(entries) == 0 || entries[0].What != c.what {
			t.Errorf("%v is noted as %+v, %v", c.form, entries, err)
		}
		before := len(entries)
		x.box.fleet.err = errors.New("nobody proposes it")
		res = x.post(fleetPath, c.form)
		if entries, _ := x.box.journal.Entries(); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "nobody proposes it") ||
			!strings.Contains(res.Body.String(), `value="`+c.form.Get("code")+`"`) || len(entries) != before {
			t.Errorf("%v, refused, is answered %d, and noted %d times", c.form, res.Code, len(entries)-before)
		}
	}
	x.box.fleet.asked = nil
	for _, form := range []url.Values{{"do": {"dance"}}, {"do": {"join"}, "code": {"\xff"}}} {
		if res := x.post(fleetPath, form); res.Code != http.StatusBadRequest {
			t.Errorf("%v is answered %d", form, res.Code)
		}
	}
	x.box.fleet.status = state.Status{}
	if res := x.post(fleetPath, url.Values{"do": {"leave"}}); res.Code != http.StatusBadRequest || x.box.fleet.asked != nil {
		t.Errorf("a box without a fleet is answered %d, asked %q", res.Code, x.box.fleet.asked)
	}
}
