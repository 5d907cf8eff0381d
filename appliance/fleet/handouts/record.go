package handouts

import (
	"fmt"
	"slices"

	"passerelle/appliance/fleet/content"
)

// What has become of a file that the fleet hands out: state.FleetFile has these words.
const (
	Here    = "here"    // it is imported
	Coming  = "coming"  // it is being fetched
	Waits   = "waits"   // for its hours, or for a budget
	Failed  = "failed"  // or it is refused
	Own     = "own"     // the box has one of that name that somebody here imported or changed: it stays
	Removed = "removed" // somebody here has removed it: it stays away until its next version
)

// NoEdition is the edition of what is not there (private.Edition).
const NoEdition = "none"

// Record is what is known of a file that the fleet handed out.
type Record struct {
	Kind    content.Kind `json:"kind"`
	Name    string       `json:"name"`
	SHA256  string       `json:"sha256,omitempty"`  // of the file that was imported last; "": none was
	Edition string       `json:"edition,omitempty"` // of what that made: another one is not the fleet's

	// An import that has begun, and after a power cut perhaps ended: it has if the edition is another one.
	Begun    string `json:"begun,omitempty"`    // the SHA-256 of its file
	Replaces string `json:"replaces,omitempty"` // the edition before
}

// ended returns what is known once the import that had begun has ended, in whatever way. now is the edition that is there.
func (k Record) ended(now string) Record {
	if k.Begun != "" && now != k.Replaces {
		k.SHA256, k.Edition = k.Begun, now
	}
	k.Begun, k.Replaces = "", ""
	return k
}

// begins returns what is known while a file is imported that replaces an edition.
func (k Record) begins(sha256, now string) Record {
	k.Begun, k.Replaces = sha256, now
	return k
}

// becomes returns what has become of a file before anything is fetched, "" if it must be imported. now is the edition that is there.
func (k Record) becomes(sha256, now string) string {
	switch {
	case now != NoEdition && now != k.Edition:
		return Own
	case k.SHA256 == sha256 && now == NoEdition:
		return Removed
	case k.SHA256 == sha256:
		return Here
	}
	return ""
}

// removable tells whether the edition that is there is the fleet's: what somebody changed stays when the fleet withdraws it.
func (k Record) removable(now string) bool { return now != NoEdition && now == k.Edition }

func (k Record) same(other Record) bool { return k.Kind == other.Kind && k.Name == other.Name }

// find returns what is known of a name.
func find(all []Record, kind content.Kind, name string) Record {
	k := Record{Kind: kind, Name: name}
	if i := slices.IndexFunc(all, k.same); i >= 0 {
		return all[i]
	}
	return k
}

// with returns the records with another one of its name; without one if nothing is known of it.
func (k Record) with(all []Record) []Record {
	all = slices.DeleteFunc(all, k.same)
	if k.SHA256 != "" || k.Begun != "" {
		all = append(all, k)
	}
	return all
}

// tooLarge returns why a file of that size is not taken where at most so many bytes are.
func tooLarge(size, most int64) error {
	if size > most {
		return fmt.Errorf("it has %d MB, and at most %d are taken", size/1e6, most/1e6)
	}
	return nil
}
