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

// Trial is the last report of a system on trial. After a rollback it tells the reason.
type Trial struct {
	Slot slot.Name `json:"slot"`
	Why  string    `json:"why"`            // the reason why it does not work; "" if it works
	Code string    `json:"code,omitempty"` // the kind of reason, as the judge of the trial named it
}

const trialFile = "trial.json"

// ReadTrial reads the last report in the folder of the box's state; the zero value if there is none.
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

// Write writes the report to the folder.
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
