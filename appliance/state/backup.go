package state

import "time"

// Restore says what restoring a backup would change, or has changed.
type Restore struct {
	ID   string `json:"id"`   // of the checked backup that waits on the box
	Undo bool   `json:"undo"` // this is the state before the last restored backup

	Made    time.Time `json:"made"` // by the clock of the box that made it
	Release string    `json:"release"`
	Centre  string    `json:"centre"`
	Secrets bool      `json:"secrets"` // it contains them

	Network string `json:"network"`  // the Wi-Fi network of its hotspot, "" for a wired one
	CutsOff bool   `json:"cuts_off"` // devices on the hotspot may have to join it again

	First      bool              `json:"first"` // this box has no configuration
	Settings   []SettingChange   `json:"settings"`
	NewSecrets []string          `json:"new_secrets"` // secrets that are not in the backup, and that the box generates
	Accounts   []RestoredAccount `json:"accounts"`
	Files      []RestoredFile    `json:"files"`
	Unusable   []string          `json:"unusable"` // files that cannot be used, with the reason: they stay as they are on this box
	Packs      []string          `json:"packs"`    // packs that the box had then and does not have now: they must be imported again
	Kept       []string          `json:"kept"`     // parts of the backup that stay as they are on this box: "board", "opinion", "access"
}

// SettingChange is a change of a setting: a key of the configuration, or of a donation in it.
type SettingChange struct {
	Donation string `json:"donation,omitempty"`
	Key      string `json:"key"`
	Before   string `json:"before"`
	After    string `json:"after"`
}

// RestoredAccount is what a donation's account becomes. Sizes are in bytes.
type RestoredAccount struct {
	Donation string    `json:"donation"`
	Cap      uint64    `json:"cap"`   // in the configuration after it, 0 for none
	Saved    uint64    `json:"saved"` // used in its period, when the backup was made
	Here     uint64    `json:"here"`  // likewise, on this box now
	Used     uint64    `json:"used"`  // what counts as used after it
	Since    time.Time `json:"since,omitzero"`
	Unknown  bool      `json:"unknown"` // what was used since the backup is unknown: the cap counts as spent until it is stated
}

// RestoredFile is what happens to a list, a calendar, or other content.
type RestoredFile struct {
	Kind   string     `json:"kind"` // "places", "numbers", "needs", "agenda", "calendar", "board", "opinion", "access", "certificate", "stick"
	Name   string     `json:"name,omitempty"`
	Change FileChange `json:"change"`
}

// FileChange is how a file changes.
type FileChange string

// The changes.
const (
	FileNew     FileChange = "new"
	FileGone    FileChange = "gone"
	FileChanged FileChange = "changed"
	FileSame    FileChange = "same"
)

// RestoreResult is how the last restore ended.
type RestoreResult struct {
	Restore
	Running bool      `json:"running"`
	Done    time.Time `json:"done,omitzero"`
	Error   string    `json:"error,omitempty"` // nothing was changed
}

// Stick is a USB stick that is plugged in.
type Stick struct {
	Device  string      `json:"device"` // the kernel's name, such as "sda1"
	Size    uint64      `json:"size"`
	Free    uint64      `json:"free"`
	Ours    bool        `json:"ours"`             // it is marked for this box
	Centre  string      `json:"centre,omitempty"` // of the box that it is marked for, by its name then
	Backups []StickFile `json:"backups"`          // newest first
	Wrong   string      `json:"wrong,omitempty"`  // why it cannot be read, with the values of StickBackup.Why
}

// StickFile is a backup on a stick.
type StickFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Date Date   `json:"date"` // by the clock of the box that made it
}

// StickBackup describes the backups to USB sticks that are marked for this box.
type StickBackup struct {
	Done   time.Time `json:"done,omitzero"`   // the last backup that was written
	Failed time.Time `json:"failed,omitzero"` // the last attempt, if it failed
	Why    string    `json:"why,omitempty"`   // of Failed: "absent", "busy", "damaged", "failed", "file-system", "foreign", "full", "read-only", "slow"
	Error  string    `json:"error,omitempty"` // likewise, as text
}
