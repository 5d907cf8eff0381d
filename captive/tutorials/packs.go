package tutorials

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"passerelle/captive/tutorials/lessons"
	"passerelle/captive/web"
)

// mediaPolicy is the Content-Security-Policy of a pack's pictures and videos. Packs are not trusted, so the browser treats each file as
// an origin of its own, which can neither read the box's pages nor send a form.
const mediaPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

// packPolicy returns the Content-Security-Policy of a pack's pages. site is the box's origin, files the URL that the pack's files are
// below. The pages may run scripts, which exercises need. The scripts have an opaque origin, so they cannot read or send anything as
// their reader, and they reach only their own pack's files. For a page with an opaque origin these files are cross-origin: fonts,
// module scripts and what scripts fetch are loaded only if a header lets any origin read them, so packFile sends it. Only the box's
// pages may frame a pack's. All sources are written as URLs, since not every browser knows what 'self' is for an opaque origin.
func packPolicy(site, files string) string {
	code := " 'unsafe-inline' data: " + files
	return "sandbox allow-scripts; default-src 'none'; script-src" + code + "; style-src" + code +
		"; img-src data: " + files + "; media-src " + files + "; font-src data: " + files +
		"; connect-src " + files + "; form-action 'none'; base-uri 'none'; frame-ancestors " + site
}

// media serves the files below /tutorials/media/: packs' pictures, videos and captions for lessons. Only the box's own pages, which
// show them, link to them. A drawing that is opened on its own is downloaded, not shown: its links could lead the window to another
// site.
func (t *Tutorials) media(w http.ResponseWriter, r *web.Request, path string) {
	pack, _, _ := strings.Cut(path, "/")
	if _, pages := t.Library().Pages(pack); pages {
		t.missing(w, r)
		return
	}
	t.packFile(w, r, path, mediaPolicy)
}

// framePath returns the path of the box's page that shows a pack's pages in a frame.
func framePath(p lessons.Pack) string { return "/packs/" + p.Name }

// filesPath returns the path of a pack's pages. They must be in the frame: in a window of their own they could redirect it to another
// site that imitates the centre's. On plain HTTP browsers do not send what a request is for (Sec-Fetch-Dest is for https only). So the
// path contains a hash of the time of the import, which neither an external link nor the pack itself can know.
func filesPath(p lessons.Pack) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", p.Name, p.Imported.UnixNano()))
	return framePath(p) + "/" + hex.EncodeToString(sum[:8]) + "/"
}

// pack serves the paths below /packs/: the page with a pack's frame, the frame's files, and redirects to that page.
func (t *Tutorials) pack(w http.ResponseWriter, r *web.Request) {
	name, _, below := strings.Cut(strings.TrimPrefix(r.URL.Path, "/packs/"), "/")
	p, ok := t.Library().Pages(name)
	if usual, known := t.Library().Pages(strings.ToLower(name)); !ok && known {
		r.Lead(w, http.StatusFound, framePath(usual))
		return
	}
	if path, lessons := t.Library().Path(name); !ok && lessons && !below { // a pack of lessons
		r.Lead(w, http.StatusFound, "/tutorials/"+path.Slug)
		return
	}
	if !ok {
		t.missing(w, r)
		return
	}
	file, framed := strings.CutPrefix(r.URL.Path, filesPath(p))
	switch {
	case !below:
		if path := framePath(p); !r.Kept(w, path) {
			r.Keep(w, path, packPage{Frame: r.Frame(path, p.Title), Src: filesPath(p)}, http.StatusOK)
		}
	case !framed, r.Header.Get("Sec-Fetch-Dest") == "document":
		r.Lead(w, http.StatusFound, framePath(p))
	default:
		if file == "" || strings.HasSuffix(file, "/") {
			file += "index.html"
		}
		if t.Library().IsFolder(name, file) { // its page has links relative to the folder
			r.Lead(w, http.StatusFound, r.URL.Path+"/")
			return
		}
		site := "http://" + r.Host
		t.packFile(w, r, name+"/"+file, packPolicy(site, site+filesPath(p)))
	}
}

// packFile serves a file by its path, which begins with its pack's name. Files may be large, so ranges can be requested. They do not
// change until the pack does.
func (t *Tutorials) packFile(w http.ResponseWriter, r *web.Request, path, policy string) {
	pack, name, _ := strings.Cut(path, "/")
	web.Yield(r.Request) // it waits for the disk
	f, mediaType, err := t.Library().Open(pack, name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			t.log.Error("open a file of a pack", "err", err)
		}
		if policy != mediaPolicy { // it is in a frame, which must not show the box's pages
			w.Header().Set("Content-Security-Policy", policy)
			http.Error(w, r.Words.T("tutorials.missing.title"), http.StatusNotFound)
			return
		}
		t.missing(w, r)
		return
	}
	defer f.Close()
	var changed time.Time
	if info, err := f.Stat(); err == nil {
		changed = info.ModTime()
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	if policy == mediaPolicy && mediaType == "image/svg+xml" {
		h.Set("Content-Disposition", "attachment")
	}
	h.Set("Content-Security-Policy", policy)
	if policy != mediaPolicy {
		h.Set("Access-Control-Allow-Origin", "*")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache") // cached, and revalidated
	http.ServeContent(web.ExtendDeadline(w), r.Request, "", changed, f)
}
