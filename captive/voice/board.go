package voice

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"passerelle/captive/records"
	"passerelle/captive/voice/board"
	"passerelle/captive/voice/week"
	"passerelle/captive/web"
)

// Bounds on what a device posts. All devices share the space for posts that wait. When it is full, the device with the most posts loses
// its newest one to a device with fewer. Devices are identified by their addresses, in memory only. Somebody who makes up addresses
// can fill the space, and then nobody can post until staff refuse those posts.
const (
	postsBurst = 3 // per day, and waiting at a time
	postsEvery = 24 * time.Hour / postsBurst

	maxPostForm = 16 << 10 // bytes; 280 characters may take 3360, and a longer text is shown again for its author to shorten

	postsPerPage = 15
)

// BoardFile is the file of the board in the share's folder.
func BoardFile(dir string) records.File[board.Board] {
	return records.File[board.Board]{Path: filepath.Join(dir, "board.json"), Version: 1}
}

// boardRoom is the board of mutual aid, a feature of the share.
type boardRoom struct {
	file  records.File[board.Board]
	log   *slog.Logger
	now   func() time.Time
	open  func() bool
	posts *web.Allowance

	shown atomic.Pointer[board.Board] // including what is not on disk

	mu      sync.Mutex // held for a change, including writing to the disk
	unsaved []board.Post
	owners  map[int]netip.Addr // the devices of the posts that wait, by number; not known for posts from before the start
	failing bool               // the last write failed
}

func newBoard(o Options) *boardRoom {
	b := &boardRoom{
		file: BoardFile(o.Dir), log: o.Log, now: o.Now, open: o.Board,
		posts: web.NewAllowance(postsBurst, postsEvery), owners: make(map[int]netip.Addr),
	}
	b.shown.Store(&board.Board{})
	return b
}

func (b *boardRoom) routes() map[string]web.Route {
	return map[string]web.Route{
		"/board":     {Get: b.ifOpen(b.list)},
		"/board/":    {Get: b.ifOpen(b.below)},
		"/board/new": {Get: b.ifOpen(b.form), Post: b.ifOpen(b.post)},
	}
}

func (b *boardRoom) doors(w *web.Words) []web.Door {
	if !b.open() {
		return nil
	}
	return []web.Door{{Href: "/board", Pictogram: "accompany", Title: w.T("board.title"), Text: w.T("board.text")}}
}

func (b *boardRoom) search(*web.Words, string, int) web.Found { return web.Found{} }

// ifOpen returns a handler that calls h while the board is open, and otherwise says that it is closed.
func (b *boardRoom) ifOpen(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *web.Request) {
		if b.open() {
			h(w, r)
			return
		}
		keep(w, r, "board.closed", "accompany", nil, http.StatusNotFound)
	}
}

// Errors of a post that the board does not take.
var (
	errEnough = errors.New("the device has posted enough")
	errNoRoom = errors.New("too many posts wait")
)

// add adds a device's post, on disk or, while the disk cannot be written, in memory.
func (b *boardRoom) add(from netip.Addr, now time.Time, p board.Post) (number int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting(b.shown.Load(), from) >= postsBurst {
		return 0, errEnough
	}
	if _, ok := b.posts.Take(from, now); !ok {
		return 0, errEnough
	}
	change := func(all *board.Board) error {
		all.Expire(now)
		if len(all.Waiting()) >= board.MaxWaiting {
			victim, ok := b.heaviest(all, b.waiting(all, from)+1)
			if !ok {
				return errNoRoom
			}
			all.Remove(victim)
		}
		number = all.Add(p).Number
		return nil
	}
	if err = b.update(change); err != nil && !errors.Is(err, errNoRoom) {
		all := *b.shown.Load()
		if err = change(&all); err == nil {
			b.unsaved = append(b.unsaved, all.Posts[len(all.Posts)-1])
			b.shown.Store(&all)
		}
	}
	if err != nil {
		b.posts.Return(from) // only posts on the board count
		return 0, err
	}
	b.owners[number] = from
	b.forget()
	return number, nil
}

// waiting counts the waiting posts of a device.
func (b *boardRoom) waiting(all *board.Board, from netip.Addr) (n int) {
	for _, p := range all.Waiting() {
		if owner, known := b.owners[p.Number]; known && owner == from {
			n++
		}
	}
	return n
}

// heaviest returns the newest waiting post of the device with the most waiting posts, if that device has more than that many.
func (b *boardRoom) heaviest(all *board.Board, than int) (newest int, ok bool) {
	for _, p := range all.Waiting() {
		owner, known := b.owners[p.Number]
		if !known {
			continue
		}
		if n := b.waiting(all, owner); n > than || n == than && ok {
			newest, than, ok = p.Number, n, true
		}
	}
	return newest, ok
}

// forget drops the devices of posts that no longer wait.
func (b *boardRoom) forget() {
	all := b.shown.Load()
	for number := range b.owners {
		if p, ok := all.Find(number); !ok || !p.Waits() {
			delete(b.owners, number)
		}
	}
}

// update changes the board on disk, after it has added the posts that could not be written before.
func (b *boardRoom) update(change func(*board.Board) error) error {
	all, err := b.file.Update(func(all *board.Board) error {
		for _, p := range b.unsaved {
			if _, there := all.Find(p.Number); !there {
				all.Posts = append(all.Posts, p)
				all.Last = max(all.Last, p.Number)
			}
		}
		return change(all)
	})
	if _, aside := errors.AsType[*records.UnreadableError](err); aside {
		b.log.Error("the board's posts are lost", "err", err)
		err = nil
	}
	if errors.Is(err, errNoRoom) {
		return err
	}
	if err != nil {
		if !b.failing {
			b.log.Error("write the board; until that works, new posts are in memory only", "err", err)
		}
		b.failing = true
		return err
	}
	b.unsaved, b.failing = nil, false
	b.shown.Store(&all)
	return nil
}

// save writes the posts that are not on disk, and removes expired ones.
func (b *boardRoom) save() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, all := b.now(), *b.shown.Load()
	before := len(all.Posts)
	all.Expire(now)
	if len(b.unsaved) > 0 || len(all.Posts) < before {
		b.update(func(all *board.Board) error { all.Expire(now); return nil }) // update logs its error
	}
	b.forget()
}

func (b *boardRoom) refresh() {
	b.save()
	b.mu.Lock()
	defer b.mu.Unlock()
	all, err := b.file.Read()
	if err != nil {
		b.log.Error("read the board", "err", err)
		return
	}
	if len(b.unsaved) == 0 {
		b.shown.Store(&all)
		b.forget()
	}
}

// boardPage lists the posts that are shown.
type boardPage struct {
	web.Frame
	Kinds []web.Link // links to the posts of each kind
	Kind  string     // of this page, "" for all
	Posts []shownPost
	Back  string // path of the page before, "" for none
	More  string // path of the next page
}

// shownPost is a post on a page.
type shownPost struct {
	Pictogram, Side, Kind string
	Text                  string
	Number                string
}

// option is a choice of a form.
type option struct {
	Value, Text, Pictogram string
	Chosen                 bool
}

// postPage is the form for a post.
type postPage struct {
	web.Frame
	Sides, Kinds []option
	Text         string
	Most         int
	Problems     []string // what is wrong with the form that was sent
}

// sentPage says that a post waits, and what its author does next.
type sentPage struct {
	web.Frame
	Number string
}

func (boardPage) Template() string { return "voice/board" }
func (postPage) Template() string  { return "voice/post" }
func (sentPage) Template() string  { return "voice/sent" }

func (b *boardRoom) list(w http.ResponseWriter, r *web.Request) { b.page(w, r, "", 1) }

// below serves the paths below /board/: posts of a kind, further pages, and the page for a post that was sent.
func (b *boardRoom) below(w http.ResponseWriter, r *web.Request) {
	what, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/board/"), "/")
	number, err := strconv.Atoi(rest)
	if rest == "" {
		number, err = 1, nil
	}
	switch {
	case err != nil || number < 1 || rest != "" && strconv.Itoa(number) != rest:
	case what == "sent":
		b.sent(w, r, number)
		return
	case what == "all" || what == "" && rest == "":
		b.page(w, r, "", number)
		return
	case slices.Contains(board.Kinds, what):
		b.page(w, r, what, number)
		return
	}
	missing(w, r)
}

// missing says that there is no such post.
func missing(w http.ResponseWriter, r *web.Request) {
	keep(w, r, "board.missing", "search", toBoard(r), http.StatusNotFound)
}

func toBoard(r *web.Request) *web.Link {
	return &web.Link{Href: "/board", Text: r.Words.T("board.all")}
}

// page lists posts.
func (b *boardRoom) page(w http.ResponseWriter, r *web.Request, kind string, number int) {
	words := r.Words
	all := *b.shown.Load()
	all.Expire(r.Now)
	posts := all.Shown()
	if kind != "" {
		posts = slices.DeleteFunc(posts, func(p board.Post) bool { return p.Kind != kind })
	}
	pages := max(1, (len(posts)+postsPerPage-1)/postsPerPage)
	if number > pages {
		missing(w, r)
		return
	}
	path := "/board"
	if kind != "" {
		path += "/" + kind
	}
	of := func(n int) string {
		switch {
		case n == 1:
			return path
		case kind == "":
			return path + "/all/" + strconv.Itoa(n)
		}
		return path + "/" + strconv.Itoa(n)
	}
	p := boardPage{Frame: r.Frame(of(number), words.T("board.title")), Kind: kind}
	if kind != "" {
		p.Title = words.T("board.kind." + kind)
	}
	for _, k := range board.Kinds {
		p.Kinds = append(p.Kinds, web.Link{Href: k, Text: words.T("board.kind." + k)})
	}
	if number > 1 {
		p.Back = of(number - 1)
	}
	if number < pages {
		p.More = of(number + 1)
	}
	from := (number - 1) * postsPerPage
	for _, post := range posts[from:min(from+postsPerPage, len(posts))] {
		p.Posts = append(p.Posts, shownPost{
			Pictogram: post.Kind, Side: words.T("board.side." + post.Side), Kind: words.T("board.kind." + post.Kind),
			Text: post.Text, Number: strconv.Itoa(post.Number),
		})
	}
	r.Serve(w, p, http.StatusOK)
}

// sent shows the number of a post that waits, and nothing else about it, since the number is not secret.
func (b *boardRoom) sent(w http.ResponseWriter, r *web.Request, number int) {
	n := strconv.Itoa(number)
	if p, ok := b.shown.Load().Find(number); !ok || !p.Waits() {
		missing(w, r)
		return
	}
	r.Serve(w, sentPage{Frame: r.Frame("/board/sent/"+n, r.Words.T("board.sent.title")), Number: n}, http.StatusOK)
}

func (b *boardRoom) form(w http.ResponseWriter, r *web.Request) {
	r.Serve(w, newPostPage(r, url.Values{}), http.StatusOK)
}

// newPostPage returns the form, filled in with what was sent before.
func newPostPage(r *web.Request, sent url.Values) postPage {
	words := r.Words
	p := postPage{
		Frame: r.Frame("/board/new", words.T("board.new")), Text: board.Clean(sent.Get("text")), Most: board.MaxText,
	}
	for _, s := range board.Sides {
		p.Sides = append(p.Sides, option{s, words.T("board.side." + s), s, sent.Get("side") == s})
	}
	for _, k := range board.Kinds {
		p.Kinds = append(p.Kinds, option{k, words.T("board.kind." + k), k, sent.Get("kind") == k})
	}
	return p
}

// post takes a post. A text that says who its author is, or how to reach them, is refused: the page says what to remove.
func (b *boardRoom) post(w http.ResponseWriter, r *web.Request) {
	sent, err := r.ReadForm(w, maxPostForm)
	if err != nil {
		refuse(w, r, err)
		return
	}
	words, p := r.Words, newPostPage(r, sent)
	say := func(problem string) { p.Problems = append(p.Problems, problem) }
	side, kind := sent.Get("side"), sent.Get("kind")
	if !slices.Contains(board.Sides, side) {
		say(words.T("board.problem.side"))
	}
	if !slices.Contains(board.Kinds, kind) {
		say(words.T("board.problem.kind"))
	}
	if empty, long := board.Fits(p.Text); empty {
		say(words.T("board.problem.empty"))
	} else if long {
		say(words.T("board.problem.long", "most", strconv.Itoa(board.MaxText)))
	}
	for _, found := range board.Personal(p.Text) {
		say(words.T("board.problem."+found.What, "part", found.Part))
	}
	if p.Problems != nil {
		r.Serve(w, p, http.StatusUnprocessableEntity)
		return
	}
	web.Yield(r.Request) // it waits for the disk
	number, err := b.add(r.Client, r.Now, board.Post{Side: side, Kind: kind, Text: p.Text, Week: week.Of(r.Now)})
	switch {
	case errors.Is(err, errEnough):
		keep(w, r, "board.enough", "wait", toBoard(r), http.StatusTooManyRequests)
	case err != nil:
		keep(w, r, "board.full", "wait", toBoard(r), http.StatusServiceUnavailable)
	default:
		r.Lead(w, http.StatusSeeOther, "/board/sent/"+strconv.Itoa(number))
	}
}

// keep answers with a notice that has the title and the text of a key. It is cached, since a device that floods gets many.
func keep(w http.ResponseWriter, r *web.Request, key, pictogram string, to *web.Link, status int) {
	if name := "voice." + key; !r.Kept(w, name) {
		r.Keep(w, name, web.Notice{
			Frame: r.Frame("/", r.Words.T(key+".title")), Pictogram: pictogram, Lines: r.Words.Lines(key + ".text"),
			Home: to == nil, To: to,
		}, status)
	}
}

// refuse answers a form that could not be read.
func refuse(w http.ResponseWriter, r *web.Request, err error) {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		w.Header().Set("Connection", "close") // the rest of the form is not read
	}
	keep(w, r, "refused", "fault", nil, http.StatusBadRequest)
}
