package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"passerelle/appliance/state"
)

func (f *fake) WriteBackup(w io.Writer, passphrase string) error {
	if err := f.does("backup " + passphrase); err != nil {
		return err
	}
	_, err := w.Write(bytes.Repeat([]byte("b"), 3<<20)) // larger than other answers may be
	if f.cuts {
		return errors.New("the disk failed")
	}
	return err
}

func (f *fake) CheckBackup(r io.Reader, passphrase string) (state.Restore, error) {
	text, err := io.ReadAll(r)
	return state.Restore{ID: "7", Centre: "Lilas"}, errors.Join(err, f.does(fmt.Sprintf("check %d bytes with %s", len(text), passphrase)))
}

func (f *fake) ListSticks(context.Context) ([]state.Stick, error) {
	return []state.Stick{{Device: "sda1", Ours: true}}, f.does("sticks")
}

func (f *fake) MarkStick(_ context.Context, device, passphrase string) error {
	return f.does(fmt.Sprintf("mark %q with %q", device, passphrase))
}

func (f *fake) WriteStick(context.Context) error { return f.does("write to the sticks") }

func (f *fake) KeepBackup() (string, error) { return "/state/kept.backup", f.does("keep") }

func (f *fake) CheckUndo() (state.Restore, error) {
	return state.Restore{ID: "8", Undo: true}, f.does("check undo")
}

func (f *fake) RestoreBackup(id string, used map[string]uint64) error {
	return f.does(fmt.Sprintf("restore %s %v", id, used))
}

func (f *fake) LastRestore() state.RestoreResult {
	f.asks++
	return state.RestoreResult{Restore: state.Restore{ID: "7"}, Running: f.asks < 3}
}

func (f *fake) StateUse(_ context.Context, donation string, bytes uint64) error {
	return f.does(fmt.Sprintf("use %d of %s", bytes, donation))
}

// TestBackupRequests: files of any size are transferred, and a backup that fails halfway is not taken for a complete one.
func TestBackupRequests(t *testing.T) {
	t.Parallel()
	f := &fake{}
	c, ctx := serve(t, f), t.Context()
	var b bytes.Buffer
	if err := c.WriteBackup(ctx, &b, "clé & « phrase »\n"); err != nil || b.Len() != 3<<20 {
		t.Errorf("%d bytes, %v", b.Len(), err)
	}
	says, err := c.CheckBackup(ctx, bytes.NewReader(make([]byte, 5<<20)), "x")
	if err != nil || says.Centre != "Lilas" {
		t.Errorf("checked: %+v, %v", says, err)
	}
	if path, err := c.KeepBackup(ctx); err != nil || path != "/state/kept.backup" {
		t.Errorf("kept: %q, %v", path, err)
	}
	if says, err := c.CheckUndo(ctx); err != nil || !says.Undo {
		t.Errorf("undo: %+v, %v", says, err)
	}
	if r, err := c.RestoreBackup(ctx, "7", map[string]uint64{"Fibre & 4G=x": 5e9}); err != nil || r.ID != "7" || r.Running || f.asks != 3 {
		t.Errorf("restored: %+v, %v, asked %d times", r, err, f.asks)
	}
	if _, err := c.RestoreBackup(ctx, "9", nil); err == nil {
		t.Error("the result of another one is taken for this one's")
	}
	if err := c.StateUse(ctx, "Fibre", 7); err != nil {
		t.Error(err)
	}
	want := "backup clé & « phrase »\n|check 5242880 bytes with x|keep|check undo|restore 7 map[Fibre & 4G=x:5000000000]|restore 9 map[]|use 7 of Fibre"
	if got := strings.Join(f.asked, "|"); got != want {
		t.Errorf("asked for\n%s, want\n%s", got, want)
	}
	f.cuts = true
	if err := c.WriteBackup(ctx, io.Discard, ""); err == nil {
		t.Error("a backup that failed half way has no error")
	}
	f.err = Refuse(errors.New("no"))
	if err := c.WriteBackup(ctx, io.Discard, ""); !errors.Is(err, ErrRefused) {
		t.Errorf("refused: %v", err)
	}
}
