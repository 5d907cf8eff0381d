package tutorials

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"passerelle/captive/tutorials/lessons"
)

// TestRefresh: imported packs are added, and removed ones dropped.
func TestRefresh(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := New(dir, slog.New(slog.DiscardHandler))
	s.Refresh()
	own := s.Library()
	if _, ok := own.Lesson("wifi", "fr"); !ok || len(own.Packs()) != 0 {
		t.Fatal("without packs there are other than the built-in lessons")
	}
	from := filepath.Join(t.TempDir(), "carte")
	if err := os.Mkdir(from, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "index.html"), []byte("<title>La carte</title>"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := lessons.Importer{Dir: dir, MaxSize: 1 << 20, Now: time.Now, Progress: func(int64, int64) {}}
	if _, err := i.Import(t.Context(), from, ""); err != nil {
		t.Fatal(err)
	}
	s.Refresh()
	if got := s.Library().Packs(); len(got) != 1 || got[0].Name != "carte" || len(own.Packs()) != 0 {
		t.Errorf("packs %v", got)
	}
	if err := lessons.Remove(dir, "carte", ""); err != nil {
		t.Fatal(err)
	}
	s.Refresh()
	if got := s.Library().Packs(); len(got) != 0 {
		t.Errorf("packs %v", got)
	}
}
