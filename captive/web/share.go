package web

import (
	"context"
	"errors"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"passerelle/appliance/hours"
)

// Share is a group of residents' pages, such as the tutorials, with everything that the residents' server needs to mount it. A share's
// code and content are in a folder of its own. Outside that folder only the list of shares names it.
type Share struct {
	Name string // its templates are called NAME/FILE

	// Files has the templates pages/FILE.html, with their common parts in pages/parts.html, the styles pages/FILE.css, and the
	// words words/CODE.toml for every language.
	Files fs.FS

	// Routes are the share's routes by path. A path that ends in "/" is a top-level folder with everything below it, and includes
	// the folder's path without the slash unless that has a route of its own.
	Routes map[string]Route

	// Refresh reads the share's content from the disk again, after a command changed it; nil for a share without content.
	Refresh func()

	// Run does the share's background work until ctx ends, such as writing residents' answers to the disk; nil for none.
	Run func(ctx context.Context) error

	// Version changes whenever the share's pages change, which discards its cached pages. It must change together with the pages'
	// content, or after it. If it changed before, an old page could be cached under the new version.
	Version func() uint64

	// Doors are links into the share, from the first page and from pages without internet.
	Doors func(*Words) []Door

	// Opened returns how often the share's lessons were opened since the program began; nil for a share without lessons.
	Opened func() uint64

	// Search returns at most that many results of each kind for a query, the best of each kind first; nil for a share without a
	// search.
	Search func(w *Words, query string, most int) []Found
}

// Route answers the methods of a path. A nil Handler means that the method is not allowed. Only forms of the box's own pages reach
// Post, which reads them with [Request.ReadForm].
type Route struct{ Get, Post Handler }

// Handler answers a request.
type Handler func(http.ResponseWriter, *Request)

// Door is a link from a page into a share.
type Door struct {
	Href, Pictogram string
	Title, Text     string
	Session         bool // it is also on the page of a running session
}

// Found holds the search results of one kind, such as lessons or places.
type Found struct {
	Title, Pictogram string // of the kind
	Tiles            []Tile
	Sprite           template.HTML // the symbols that the tiles' pictures use
	Sure             float64       // how much of the query the first result matches: see search.Hit
}

// Tile is a link with a picture.
type Tile struct {
	Href    string // path
	At      string // the fragment on that page, "" for its top
	Title   string
	Text    string
	Meta    []Fact
	Picture template.HTML
	Lang    *Lang // of the title and the text, nil if it is the page's
}

// Fact is a short piece of information, with its pictogram.
type Fact struct{ Pictogram, Text string }

// Head is what all pages of a server share. It is valid until the desk opens or closes, and at most until midnight.
type Head struct {
	Centre    string // the centre's name
	Card      Card   // what else is known about it
	Hostname  string // the address to come back to
	Languages *Languages

	contacts sync.Map // Contact by language: cached, since computing one goes through a year of opening hours
}

// Card is the centre's own card. Everything in it is optional.
type Card struct {
	Address, Postcode, Town string
	Phone                   string          // as people dial it
	Hours                   *hours.Schedule // of the desk, nil for unknown
	Desk                    []string        // what the desk helps with
	At                      *Point          // where the centre is, nil for unknown
}

// Point is a place on earth, in degrees (WGS 84).
type Point struct{ Latitude, Longitude float64 }

// Request is a request for one of the box's pages.
type Request struct {
	*http.Request
	Head   *Head
	Now    time.Time  // when it arrived, in the box's time zone
	Client netip.Addr // of the device; invalid if the request came over no IP network
	Words  *Words     // of the answer
	Chosen bool       // a link chose the language

	Mount // nil where no shares are mounted
}

// Mount is what the server provides to its mounted shares.
type Mount interface {
	// Kept answers with the page that is cached under a name, in the request's language. It returns false if there is none.
	Kept(w http.ResponseWriter, name string) bool
	// Keep renders a page that is the same for all residents, caches it until a share's version or the box's facts change, and
	// answers with it. The name is the share's own, such as the page's path.
	Keep(w http.ResponseWriter, name string, p Page, status int)
	// Serve renders a page for this request, and answers with it.
	Serve(w http.ResponseWriter, p Page, status int)
	// Search searches the essential services and all shares. It returns the kinds that have results. Kinds whose best result is
	// nearly as good as the best of all come first, in their usual order.
	Search(query string, most int) []Found
}

// Negotiate chooses the language of the answer.
func (r *Request) Negotiate() { r.Words, r.Chosen = r.Head.Languages.For(r.Request) }

// Frame returns the frame of a page at a path.
func (r *Request) Frame(path, title string) Frame {
	f := Frame{
		Words: r.Words, Others: r.Head.Languages.Others(r.Words), Title: title, Path: path,
		Centre: r.Head.Centre, Contact: r.Head.contact(r.Words, r.Now), Hostname: r.Head.Hostname,
	}
	if r.Chosen {
		f.Language = r.Words.Code
	}
	return f
}

// Lead redirects to one of the box's pages, and keeps a chosen language.
func (r *Request) Lead(w http.ResponseWriter, status int, path string) {
	if r.Chosen {
		path += "?lang=" + r.Words.Code
	}
	h := w.Header()
	h.Set("Location", path)
	h["Cache-Control"] = noStore
	h["Content-Length"] = nothing
	w.WriteHeader(status)
}

// ErrForm says that a request has no readable form.
var ErrForm = errors.New("not a form of ours")

// ReadForm reads a form (application/x-www-form-urlencoded) of at most that many bytes. The error is *http.MaxBytesError for a larger
// form, and [ErrForm] if the body is not such a form. A form with files is an error, too.
func (r *Request) ReadForm(w http.ResponseWriter, most int64) (url.Values, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, ErrForm
	}
	Yield(r.Request) // it waits for the client
	r.Body = http.MaxBytesReader(w, r.Body, most)
	if err := r.ParseForm(); err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return nil, err
		}
		return nil, errors.Join(ErrForm, err)
	}
	return r.PostForm, nil
}
