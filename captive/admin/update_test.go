package admin

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/admin/journal"
)

// fakeUpdates are a box's updates.
type fakeUpdates struct {
	status *state.Updates
	err    error
	asked  []string
}

func (f *fakeUpdates) Status() *state.Updates { return f.status }
func (f *fakeUpdates) Look() error            { return f.ask("look") }
func (f *fakeUpdates) Other() error           { return f.ask("other") }

func (f *fakeUpdates) FromStick(expired bool) error {
	if expired {
		return f.ask("expired")
	}
	return f.ask("stick")
}

func (f *fakeUpdates) ask(what string) error {
	f.asked = append(f.asked, what)
	return f.err
}

// TestUpdatePage: the page says in words what runs, what comes next and why it waits, in both languages.
func TestUpdatePage(t *testing.T) {
	t.Parallel()
	x := settler(t)
	checked := time.Date(2026, 11, 30, 21, 5, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		updates *state.Updates
		fr, en  []string
		without []string // words that appear in neither language
	}{
		"no slots": {nil, []string{"ses propres paquets"}, []string{"own packages"}, []string{`value="stick"`}},
		"unread":   {&state.Updates{}, []string{"pas encore lu"}, []string{"not read"}, []string{`value="look"`, `value="other"`, `value="expired"`}},
		"newest": {
			&state.Updates{Read: true, Version: "2026.1", Newest: "2026.1", Current: true, Checked: checked, From: "a.example", Auto: true},
			[]string{"version 2026.1", "dernière version", `value="look"`, `value="stick"`}, []string{"version 2026.1", "newest version"}, []string{`value="other"`},
		},
		"coming": {
			&state.Updates{Read: true, Version: "2026.1", Newest: "2026.2", Done: 150e6, Size: 190e6, From: "a.example", Auto: true, Fetches: "residents"},
			[]string{"150 mégaoctets sur 190 mégaoctets", "personne ne soit connecté"}, []string{"150 megabytes of 190 megabytes", "nobody is connected"}, nil,
		},
		"ready": {
			&state.Updates{Read: true, Version: "2026.1", Other: "2026.2", Ready: true, Starts: "quiet", From: "a.example", Auto: true},
			[]string{"est prête", "la nuit", `value="other"`}, []string{"is ready", "the night"}, nil,
		},
		"others first": {
			&state.Updates{Read: true, Version: "2026.1", Newest: "2026.2", From: "a.example", Auto: true, Fetches: "later"},
			[]string{"La version 2026.2 existe", "d’abord sur quelques box", `value="look"`}, []string{"There is a version 2026.2", "on a few boxes first"}, nil,
		},
		"fell back": {
			&state.Updates{Read: true, Version: "2026.1", Other: "2026.2", FellBack: "2026.2", FellBackWhy: "the portal does not answer"},
			[]string{"revenue toute seule", "the portal does not answer"}, []string{"went back", "the portal does not answer"}, []string{"never started"},
		},
		"never started": {
			&state.Updates{Read: true, FellBack: "?"},
			[]string{"jamais démarré", `value="other"`}, []string{"never started"}, nil,
		},
		"expired": {
			&state.Updates{Read: true, Version: "2026.1", Code: "expired", Error: "timestamp.json is refused"},
			[]string{"trop vieilles", `value="expired"`, "timestamp.json is refused"}, []string{"too old", `value="expired"`}, nil,
		},
		"busy": {
			&state.Updates{Read: true, Version: "2026.1", Busy: true, Code: "expired", Error: "an earlier error"},
			[]string{"travaille à une mise à jour", `http-equiv="refresh"`}, []string{"working on an update"}, []string{"an earlier error"},
		},
	} {
		x.box.updates.status = c.updates
		for code, want := range map[string][]string{"fr": c.fr, "en": c.en} {
			res := x.get(updatePath + "?lang=" + code)
			page := strings.ReplaceAll(res.Body.String(), "\u00a0", " ")
			page = strings.ReplaceAll(page, "\u202f", " ")
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

// TestUpdateWords: each word of the packages that decide has a message.
func TestUpdateWords(t *testing.T) {
	t.Parallel()
	x := settler(t)
	for _, word := range updateWaits {
		x.box.updates.status = &state.Updates{Read: true, Ready: true, Auto: true, Starts: word}
		if page := x.get(updatePath).Body.String(); strings.Contains(page, "update.waits") {
			t.Errorf("the wait %q has no words", word)
		}
	}
	for code := range updateWrong {
		x.box.updates.status = &state.Updates{Read: true, Code: code, Error: "said"}
		if page := x.get(updatePath).Body.String(); strings.Contains(page, "update.wrong") || !strings.Contains(page, "said") {
			t.Errorf("an error with the code %q has no words", code)
		}
	}
}

// TestUpdatePresses: each button does one thing, is recorded in the journal, and leads back to the page.
func TestUpdatePresses(t *testing.T) {
	t.Parallel()
	x := settler(t)
	x.box.updates.status = &state.Updates{Read: true}
	for do, what := range map[string]journal.What{
		"look": journal.UpdateLook, "stick": journal.UpdateStick, "expired": journal.UpdateExpired, "other": journal.OtherSystem,
	} {
		x.box.updates.asked, x.box.updates.err = nil, nil
		res := x.post(updatePath, url.Values{"do": {do}})
		if res.Code != http.StatusSeeOther || !slices.Equal(x.box.updates.asked, []string{do}) {
			t.Errorf("%s is answered %d, asked %v", do, res.Code, x.box.updates.asked)
		}
		entries, err := x.box.journal.Entries()
		if err != nil || len(entries) == 0 || entries[0].What != what {
			t.Errorf("%s is noted as %+v, %v", do, entries, err)
		}
		before := len(entries)
		x.box.updates.err = errors.New("its server was asked a short time ago")
		res = x.post(updatePath, url.Values{"do": {do}})
		if entries, _ := x.box.journal.Entries(); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "a short time ago") || len(entries) != before {
			t.Errorf("%s, refused, is answered %d, and noted %d times", do, res.Code, len(entries)-before)
		}
	}
	if res := x.post(updatePath, url.Values{"do": {"dance"}}); res.Code != http.StatusBadRequest {
		t.Errorf("something else is answered %d", res.Code)
	}
}
