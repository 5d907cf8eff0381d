package control

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/state"
)

func (f *fake) Search() { f.does("search"); f.looks = 0 }

// Diagnosis returns a search that ends when it is read for the third time.
func (f *fake) Diagnosis() (d state.Diagnosis, ok bool) {
	f.looks++
	d = state.Diagnosis{Running: f.looks < 3, Steps: []state.Finding{{Step: state.StepLink, Verdict: state.Bad, Code: "link-unplugged"}}}
	return d, f.err == nil
}

func (f *fake) RecentLog() []state.LogEntry {
	return []state.LogEntry{{Level: "WARN", Text: "the line is down"}}
}

func (f *fake) Support(context.Context) ([]byte, error) { return []byte("a zip"), f.does("support") }

// TestDiagnose: a client waits for the end of the search, and gets the log and the support file.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	f := &fake{}
	c := serve(t, f)
	d, text, err := c.Diagnose(t.Context())
	if err != nil || d.Running || f.looks != 3 || len(d.Steps) != 1 || len(text) == 0 {
		t.Errorf("%+v after %d looks, %v", d, f.looks, err)
	}
	log, err := c.RecentLog(t.Context())
	if err != nil || len(log) != 1 || log[0].Text != "the line is down" {
		t.Errorf("the log: %+v, %v", log, err)
	}
	zip, err := c.Support(t.Context())
	if err != nil || string(zip) != "a zip" {
		t.Errorf("the file: %q, %v", zip, err)
	}
	if diff := cmp.Diff([]string{"search", "support"}, f.asked); diff != "" {
		t.Error(diff)
	}
}
