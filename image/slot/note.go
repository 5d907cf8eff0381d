package slot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// NotePath is the file in memory that tells the state of the slots to programs without access to the card. Root writes it.
const NotePath = "/run/passerelle-slot/state.json"

// Note is the content of that file, as JSON.
type Note struct {
	Running Name `json:"running"`
	Slot    Name `json:"slot"` // to boot next
	Good    Name `json:"good"`
	Tries   int  `json:"tries,omitempty"`
	Failed  Name `json:"failed,omitempty"`
}

// Proven tells whether the running slot has proved itself.
func (n Note) Proven() bool { return n.Running == n.Good }

// NoteOf returns the note of a running slot and the state on its card.
func NoteOf(running Name, s State) Note { return Note{running, s.Slot, s.Good, s.Tries, s.Failed} }

// Write writes the note to a file that everybody may read.
func (n Note) Write(file string) error {
	text, err := json.Marshal(n)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = renameio.WriteFile(file, text, 0o644, renameio.WithTempDir(filepath.Dir(file)), renameio.WithStaticPermissions(0o644))
	}
	if err != nil {
		return fmt.Errorf("note the slot state: %w", err)
	}
	return nil
}

// ReadNote returns the note of a machine, from a file system with /proc and /run. The error is ErrNone if the machine has no
// slots. With any other error the note has no good slot, so that the running slot does not count as proven.
func ReadNote(root fs.FS) (n Note, err error) {
	running, err := Running(root)
	if errors.Is(err, ErrNone) {
		return n, err
	}
	if err == nil {
		var text []byte
		if text, err = fs.ReadFile(root, NotePath[1:]); err == nil {
			err = json.Unmarshal(text, &n)
		}
	}
	if err == nil && n.Running != running {
		err = fmt.Errorf("it is of slot %q", n.Running)
	}
	if err != nil {
		return Note{Running: running}, fmt.Errorf("read the slot state: %w", err)
	}
	return n, nil
}
