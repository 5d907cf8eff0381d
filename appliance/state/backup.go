package state

import "time"

// Restore says what restoring a backup would change, or has changed.
type Restore struct {
	ID   string `json:"id"`   // of the checked backup, which waits on the box
	Undo bool   `json:"undo"` // it is the state before the last one that was restored

	Made    time.Time `json:"made"` // by the clock of the box that made it
	Release string    `json:"release"`
	Centre  string    `json:"centre"`
	Secrets bool      `json:"secrets"` // they are in it

	Network string `json:"network"`  // the Wi-Fi network of its hotspot, "" for a wired one
	CutsOff bool   `json:"cuts_off"` // who is on the hotspot may have to join it again

	First      bool              `json:"first"` // this box has no configuration
	Settings   []SettingChange   `json:"settings"`
	NewSecrets []string          `json:"new_secrets"` // that are not in the backup, and that the box makes up
	Accounts   []RestoredAccount `json:"accounts"`
	Files      []RestoredFile    `json:"files"`
	Unusable   []string          `json:"unusable"` // files that cannot be used, with the reason: they stay as they are on this box
	Packs      []string          `json:"packs"`    // that the box had then and has not now: they are to be imported again
	Kept       []string          `json:"kept"`     // what is in the backup, and stays as it is on this box: "board", "opinion", "access"
}

// SettingChange is a change of a setting: a key of the configuration, of a donation if it is one of its keys.
type SettingChange struct {
	Donation string `json:"donation,omitempty"`
	Key      string `json:"key"`
	Before   string `json:"before"`
	After    string `json:"after"`
}

// RestoredAccount is what becomes of a donation's account. Sizes are bytes.
type RestoredAccount struct {
	Donation string    `json:"donation"`
	Cap      uint64    `json:"cap"`   // in the configuration then, 0 for none
	Saved    uint64    `json:"saved"` // used in its period, when the backup was made
	Here     uint64    `json:"here"`  // likewise, on this box now
	Used     uint64    `json:"used"`  // that counts then
	Since    time.Time `json:"since,omitzero"`
	Unknown  bool      `json:"unknown"` // nobody knows what was used since the backup: the cap counts as spent until it is stated
}

// RestoredFile is what becomes of a list, a calendar, or other content.
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

// RestoreResult is how the last restoring ended.
type RestoreResult struct {
	Restore
	Running bool      `json:"running"`
	Done    time.Time `json:"done,omitzero"`
	Error   string    `json:"error,omitempty"` // nothing is changed
}

// Stick is a USB stick that is plugged in.
type Stick struct {
	Device  string      `json:"device"` // as the kernel calls it, such as "sda1"
	Size    uint64      `json:"size"`
	Free    uint64      `json:"free"`
	Ours    bool        `json:"ours"`             // it is marked for this box
	Centre  string      `json:"centre,omitempty"` // of the box that it is marked for, as that box was called then
	Backups []StickFile `json:"backups"`          // the last one first
	Wrong   string      `json:"wrong,omitempty"`  // why it cannot be read: as StickBackup.Why
}

// StickFile is a backup on a stick.
type StickFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Date Date   `json:"date"` // by the clock of the box that made it
}

// StickBackup tells of the backups to USB sticks that are marked for this box.
type StickBackup struct {
	Done   time.Time `json:"done,omitzero"`   // the last one that was written
	Failed time.Time `json:"failed,omitzero"` // the last attempt, if it was not written
	Why    string    `json:"why,omitempty"`   // of Failed: "absent", "busy", "damaged", "failed", "file-system", "foreign", "full", "read-only", "slow"
	Error  string    `json:"error,omitempty"` // likewise, as text
}
