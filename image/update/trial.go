package update

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"passerelle/appliance/private"
	"passerelle/image/slot"
)

// Trial is what a system on trial last said of itself: after the box went back, it tells why.
type Trial struct {
	Slot slot.Name `json:"slot"`
	Why  string    `json:"why"`            // it does not work; "" if it does
	Code string    `json:"code,omitempty"` // the kind of that, a word of who judged
}

const trialFile = "trial.json"

// ReadTrial returns what was last said, in the folder of the box's state; the zero value if that is nothing.
func ReadTrial(dir string) (t Trial, err error) {
	text, err := os.ReadFile(filepath.Join(dir, trialFile))
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil {
		return Trial{}, fmt.Errorf("read the last trial: %w", err)
	}
	return t, nil
}

// Write writes it to the folder.
func (t Trial) Write(dir string) error {
	text, err := json.Marshal(t)
	if err == nil {
		err = private.WriteFile(filepath.Join(dir, trialFile), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("note the trial: %w", err)
	}
	return nil
}
