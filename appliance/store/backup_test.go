package store

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"passerelle/appliance/ledger"
)

func opened(t *testing.T) *Store {
	t.Helper()
	s, quarantined, err := Open(filepath.Join(t.TempDir(), "ledger.db"), nil, time.Now())
	if err != nil || quarantined != nil {
		t.Fatal(err, quarantined)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func check1(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSave: a saved ledger is the same after it is written and parsed, has no link if it was saved without secrets, and is
// identified again.
func TestSave(t *testing.T) {
	t.Parallel()
	s := opened(t)
	day := ledger.Day{Date: 20261109, Bytes: 5e6, Residents: 3}
	check1(t, s.Put(map[string]ledger.Record{
		"Fibre": {Period: "month", Base: 3e9, LastID: 7, Today: ledger.Day{Date: 20261110}, LastDay: day},
		"4G":    {Period: "once", Base: 1e9},
	}))
	check1(t, s.Set("Fibre", [32]byte{1, 2, 3}))
	check1(t, s.SetPaused("4G", ledger.Pause{By: "the lender"}))
	saved, err := s.Save()
	check1(t, err)
	again, err := s.Save()
	check1(t, err)
	if saved.Ledger == "" || saved.Ledger != again.Ledger {
		t.Errorf("the ledger is %q, then %q", saved.Ledger, again.Ledger)
	}
	text, err := json.Marshal(saved)
	check1(t, err)
	read, err := ParseSaved(text)
	check1(t, err)
	if diff := cmp.Diff(saved, read); diff != "" {
		t.Errorf("read again (-want +got):\n%s", diff)
	}
	plain, links := saved.WithoutSecrets()
	if diff := cmp.Diff([]string{"Fibre"}, links); diff != "" || plain.Donations["Fibre"].Link != nil || saved.Donations["Fibre"].Link == nil {
		t.Errorf("links %q; without secrets %+v", links, plain)
	}
	for _, wrong := range []string{"", "[]", `{"donations":{"a":{"record":"AAAA"}}}`, `{"donations":{"a":{"link":"AAAA"}}}`, strings.Replace(string(text), `"date":20261109`, `"date":-1`, 1)} {
		if _, err := ParseSaved([]byte(wrong)); err == nil {
			t.Errorf("%.60s is read", wrong)
		}
	}
}

// TestRestoreLedger: the ledger that a backup was made from continues. Another ledger counts the larger use, and its account is lost.
// Both keep what is not in the backup.
func TestRestoreLedger(t *testing.T) {
	t.Parallel()
	old := opened(t)
	check1(t, old.Put(map[string]ledger.Record{"Fibre": {Period: "month", Start: 1, End: 2, Base: 3e9, LastID: 7}}))
	check1(t, old.Set("Fibre", [32]byte{1}))
	saved, err := old.Save()
	check1(t, err)
	check1(t, old.Put(map[string]ledger.Record{"Fibre": {Period: "month", Start: 1, End: 2, Base: 4e9, LastID: 9}}))
	check1(t, old.Set("Fibre", [32]byte{2}))
	check1(t, old.Restore(saved, false, nil))
	all, err := old.Load()
	check1(t, err)
	if r := all["Fibre"].Record; r.Base != 4e9 || r.Lost {
		t.Errorf("the same ledger has %+v", r)
	}
	if name, ok := old.Donation([32]byte{2}); !ok || name != "Fibre" {
		t.Error("a newer link is gone")
	}

	other := opened(t)
	check1(t, other.Put(map[string]ledger.Record{"4G": {Base: 1}}))
	before, err := other.Save()
	check1(t, err)
	check1(t, other.Restore(saved, false, nil))
	all, err = other.Load()
	check1(t, err)
	if r := all["Fibre"].Record; r.Base != 3e9 || !r.Lost || all["4G"].Record.Base != 1 {
		t.Errorf("another ledger has %+v", all)
	}
	if _, ok := other.Donation([32]byte{1}); !ok {
		t.Error("the link is not restored")
	}
	check1(t, other.Restore(before, true, nil))
	all, err = other.Load()
	check1(t, err)
	if !all["Fibre"].Record.Lost || all["4G"].Record.Lost {
		t.Errorf("undone, it has %+v", all)
	}
}

// TestStated: an account is no longer lost once somebody states what its line has carried.
func TestStated(t *testing.T) {
	t.Parallel()
	old, s := opened(t), opened(t)
	check1(t, old.Put(map[string]ledger.Record{"Fibre": {Period: "month", Base: 3e9}, "4G": {Base: 1}}))
	check1(t, old.SetPaused("4G", ledger.Pause{By: "the lender"}))
	saved, err := old.Save()
	check1(t, err)
	check1(t, s.Restore(saved, false, map[string]uint64{"Fibre": 5e9, "none": 1}))
	all, err := s.Load()
	check1(t, err)
	if r := all["Fibre"].Record; r.Lost || r.Base != 5e9 || !all["4G"].Record.Lost || len(all) != 2 {
		t.Errorf("the accounts are %+v", all)
	}
	paused, err := s.Paused()
	check1(t, err)
	check1(t, s.ForgetPeople())
	none, err := s.Paused()
	check1(t, err)
	if all, err = s.Load(); err != nil || paused["4G"].By == "" || len(none) != 0 || all["Fibre"].Record.Base != 5e9 {
		t.Errorf("paused are %v, then %v; accounts %+v, %v", paused, none, all, err)
	}
}

func FuzzParseSaved(f *testing.F) {
	f.Add([]byte(`{"ledger":"x","donations":{"a":{"record":"AgAAAA==","paused":"me"}}}`))
	r := ledger.Record{Period: "month", Base: 5, Today: ledger.Day{Date: 20261110}}
	text, err := json.Marshal(Saved{"x", map[string]SavedDonation{"a": {Record: r.Append(nil), Days: []SavedDay{{20261109, ledger.Day{Bytes: 1}.Append(nil)}}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSaved(text)
		if err != nil {
			return
		}
		for name := range s.Donations {
			r, ok, err := Restored(s, name, nil, false, false)
			if err != nil || ok && !r.Lost {
				t.Errorf("%q becomes %+v, %v", name, r, err)
			}
		}
	})
}
