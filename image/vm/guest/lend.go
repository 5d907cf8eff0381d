package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"passerelle/image/vm/outside"
)

// Offer tells the person at the desk outside that a lender has come.
func Offer(o outside.Offer) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	path := filepath.Join(share, outside.OfferFile)
	return errors.Join(os.WriteFile(path+".part", text, 0o600), os.Rename(path+".part", path))
}

// Desk waits for a file that the person at the desk outside writes, and returns its content.
func Desk(ctx context.Context, name string) (r outside.Report, err error) {
	for {
		text, err := os.ReadFile(filepath.Join(share, name))
		if err == nil {
			return r, json.Unmarshal(text, &r)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
		if err := pause(ctx, time.Second); err != nil {
			return r, fmt.Errorf("wait for the desk outside: %w", err)
		}
	}
}

// ConfirmTime confirms that the machine's time of day is right. It retries, because a busy emulated machine may answer too late for
// the command.
func (b *Box) ConfirmTime(ctx context.Context) error {
	for {
		_, err := b.Do(ctx, "clock", "--confirm", "--socket", b.daemon.Socket)
		if err == nil {
			return nil
		}
		if pause(ctx, time.Second) != nil {
			return err
		}
	}
}
