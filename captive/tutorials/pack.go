package tutorials

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Load returns our own lessons and the packs of a folder, which need not be there. A broken pack is left out, and what
// is wrong with it is returned.
func Load(dir string) (*Library, []error) {
	l := *Own()
	l.dir = dir
	return &l, nil
}

// mediaTypes are the files that a pack may have, by ending.
var mediaTypes = map[string]string{
	".md": "text/markdown; charset=utf-8", ".toml": "application/toml",
	".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp",
	".mp4": "video/mp4", ".webm": "video/webm", ".vtt": "text/vtt; charset=utf-8", ".pdf": "application/pdf",
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".json": "application/json", ".woff": "font/woff", ".woff2": "font/woff2",
}

// Open opens a file of a pack, by its path inside it, and says its media type. The error is fs.ErrNotExist if there is
// no such file.
func (l *Library) Open(pack, name string) (file *os.File, mediaType string, err error) {
	mediaType = mediaTypes[strings.ToLower(path.Ext(name))]
	known := false
	for _, p := range l.packs {
		known = known || p.Name == pack
	}
	if !known || mediaType == "" || !fs.ValidPath(name) {
		return nil, "", fmt.Errorf("%s of pack %s: %w", name, pack, fs.ErrNotExist)
	}
	f, err := os.OpenInRoot(filepath.Join(l.dir, pack), name)
	if err != nil {
		return nil, "", err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, "", errors.Join(err, f.Close())
	}
	return f, mediaType, nil
}
