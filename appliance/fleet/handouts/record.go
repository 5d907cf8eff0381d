package handouts

import (
	"fmt"
	"slices"

	"passerelle/appliance/fleet/content"
)

// The states of a file that the fleet hands out, as in state.FleetFile.
const (
	Here    = "here"    // it is imported
	Coming  = "coming"  // it is being fetched
	Waits   = "waits"   // for its hours, or for budget
	Failed  = "failed"  // fetching or importing it failed, or it was refused
	Own     = "own"     // the box has a file of that name that somebody imported or changed here: that one stays
	Removed = "removed" // somebody has removed it here: it stays away until its next version
)

// NoEdition is the edition of a file that does not exist (private.Edition).
const NoEdition = "none"

// Record is what is known about a file that the fleet handed out.
type Record struct {
	Kind    content.Kind `json:"kind"`
	Name    string       `json:"name"`
	SHA256  string       `json:"sha256,omitempty"`  // of the file that was imported last; "" if none was
	Edition string       `json:"edition,omitempty"` // that the import made: any other edition is not the fleet's

	// An import that has begun. After a power cut it may have completed: it has if the edition has changed.
	Begun    string `json:"begun,omitempty"`    // the SHA-256 of its file
	Replaces string `json:"replaces,omitempty"` // the edition before
}

// ended returns the record after an interrupted import was settled. now is the edition on the box.
func (k Record) ended(now string) Record {
	if k.Begun != "" && now != k.Replaces {
		k.SHA256, k.Edition = k.Begun, now
	}
	k.Begun, k.Replaces = "", ""
	return k
}

// begins returns the record while a file is imported that replaces the edition now.
func (k Record) begins(sha256, now string) Record {
	k.Begun, k.Replaces = sha256, now
	return k
}

// becomes returns the state of a file before anything is fetched, "" if it must be imported. now is the edition on the box.
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

// removable tells whether the edition on the box is the fleet's. What somebody has changed stays when the fleet withdraws it.
func (k Record) removable(now string) bool { return now != NoEdition && now == k.Edition }

func (k Record) same(other Record) bool { return k.Kind == other.Kind && k.Name == other.Name }

// find returns the record of a name, an empty one if there is none.
func find(all []Record, kind content.Kind, name string) Record {
	k := Record{Kind: kind, Name: name}
	if i := slices.IndexFunc(all, k.same); i >= 0 {
		return all[i]
	}
	return k
}

// with returns the records with k in place of an earlier one of its name. An empty record is left out.
func (k Record) with(all []Record) []Record {
	all = slices.DeleteFunc(all, k.same)
	if k.SHA256 != "" || k.Begun != "" {
		all = append(all, k)
	}
	return all
}

// tooLarge returns an error if a file of that size is larger than most bytes.
func tooLarge(size, most int64) error {
	if size > most {
		return fmt.Errorf("it has %d MB, and at most %d are taken", size/1e6, most/1e6)
	}
	return nil
}
