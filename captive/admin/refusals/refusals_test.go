package refusals

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"passerelle/appliance/state"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// TestDays: refusals count once, on the day of a trusted time. Sums are written when their day is over, and survive a restart.
func TestDays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *Days {
		t.Helper()
		d, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open()
	add := func(at time.Time, trusted bool, data uint64, over bool) {
		t.Helper()
		if is := d.Add(at, trusted, state.Refused{Data: data}); is != over {
			t.Errorf("%v, %d: a day is over: %v", at, data, is)
		}
	}
	add(noon, false, 10, false) // undated
	add(noon, true, 25, false)
	add(noon, true, 25, false)
	add(noon.AddDate(0, 0, 1), true, 25, true)
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "refusals.json")
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	add(noon.AddDate(0, 0, 2), true, 25, false)
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("a file without news was written: %v", err)
	}
	d = open()
	add(noon.AddDate(0, 0, 2), true, 20, false) // the daemon was restarted, so its counter started at zero again
	add(noon.AddDate(0, 0, 1), true, 25, true)  // the clock was set back
	want := []Day{
		{state.DateOf(noon), state.Refused{Data: 15}}, {state.DateOf(noon.AddDate(0, 0, 1)), state.Refused{Data: 5}},
		{state.DateOf(noon.AddDate(0, 0, 2)), state.Refused{Data: 20}},
	}
	if got := d.All(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for i := range 100 {
		d.Add(noon.AddDate(0, 0, 3+i), true, state.Refused{Data: uint64(6 + i)})
	}
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || len(d.All()) != KeepDays || info.Size() > 4096 {
		t.Errorf("%d days, %v, %v", len(d.All()), info, err)
	}
}

// TestOlderRelease: exact counts of an older release are read in fives. A count that could not be written is written later.
func TestOlderRelease(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "refusals.json")
	older := []byte(`{"version":1,"content":[{"date":"2026-11-21","data":7,"busy":4}]}`)
	if err := os.WriteFile(file, older, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir)
	if want := []Day{{state.DateOf(noon), state.Refused{Data: 5}}}; err != nil || !reflect.DeepEqual(d.All(), want) {
		t.Fatalf("%+v, %v", d.All(), err)
	}
	if err := os.Rename(dir, dir+"-gone"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // no folder can be made
		t.Fatal(err)
	}
	d.Add(noon, true, state.Refused{Busy: 5})
	if err := d.Save(); err == nil {
		t.Fatal("a file in no folder is written")
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+"-gone", dir), d.Save()); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if want := []Day{{state.DateOf(noon), state.Refused{Data: 5, Busy: 5}}}; err != nil || !reflect.DeepEqual(again.All(), want) {
		t.Errorf("%+v, %v", again.All(), err)
	}
}

// TestNewerForm: a newer release's file is not lost.
func TestNewerForm(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newer := []byte(`{"version":2,"content":{}}`)
	if err := os.WriteFile(filepath.Join(dir, "refusals.json"), newer, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir)
	if err == nil || d.All() != nil {
		t.Fatalf("a newer file: %v, %v", d.All(), err)
	}
	d.Add(noon, true, state.Refused{Busy: 1})
	if err := d.Save(); err == nil {
		t.Error("nothing says that the file was set aside")
	}
	if text, err := os.ReadFile(filepath.Join(dir, "refusals.json.unreadable-1")); err != nil || string(text) != string(newer) {
		t.Errorf("the newer file is %q, %v", text, err)
	}
}
