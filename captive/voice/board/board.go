// Package board is the board of mutual aid: what residents offer and ask for. It owns what a post contains, when it is shown and when it
// expires, and what its text must not say. It does not depend on pages, devices or files. A post contains neither the device nor the
// hour; its author gives a name on paper, at the desk.
package board

import (
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"passerelle/captive/voice/week"
)

// Bounds of a board.
const (
	MaxText    = 280 // characters of a text
	MaxWaiting = 50  // posts that wait for staff
	MaxShown   = 200 // posts on the board
	MaxLines   = 8

	// Days is how long a post is shown, and how long it waits at most. A waiting post has no date but its week, so its wait is counted
	// from that week's Monday.
	Days = 30
)

// Kinds are what people do for each other, in the order of the page.
var Kinds = []string{"lend", "repair", "teach", "drive", "accompany"}

// Sides are the two sides of a post: its author offers something, or asks for it.
var Sides = []string{Offer, Request}

const (
	Offer   = "offer"
	Request = "request"
)

// Errors of Accept, and of callers that remove a post.
var (
	// ErrNoNotice says that a post does not exist, or no longer does. The post's number is appended to it.
	ErrNoNotice = errors.New("there is no notice")

	ErrUnknown = errors.New("no such post is waiting")
	ErrFull    = errors.New("the board is full")
)

// Board holds all posts, in the order of their numbers.
type Board struct {
	Last  int    `json:"last"` // number of the newest post ever
	Posts []Post `json:"posts"`
}

// Post is an offer or a request.
type Post struct {
	Number int       `json:"number"`
	Side   string    `json:"side"` // one of Sides
	Kind   string    `json:"kind"` // one of Kinds
	Text   string    `json:"text"`
	Week   week.Week `json:"week"`
	Shown  string    `json:"shown,omitempty"` // the day on which staff accepted it, "2026-11-21"; "" while it waits
}

// Waits reports whether staff have not accepted the post yet.
func (p Post) Waits() bool { return p.Shown == "" }

// Waiting returns the posts that wait for staff, the oldest first.
func (b *Board) Waiting() []Post { return b.filter(Post.Waits) }

// Shown returns the posts on the board, the newest first.
func (b *Board) Shown() []Post {
	shown := b.filter(func(p Post) bool { return !p.Waits() })
	slices.Reverse(shown)
	return shown
}

func (b *Board) filter(has func(Post) bool) (some []Post) {
	for _, p := range b.Posts {
		if has(p) {
			some = append(some, p)
		}
	}
	return some
}

// Find returns the post of a number.
func (b *Board) Find(number int) (Post, bool) {
	if i := b.index(number); i >= 0 {
		return b.Posts[i], true
	}
	return Post{}, false
}

func (b *Board) index(number int) int {
	return slices.IndexFunc(b.Posts, func(p Post) bool { return p.Number == number })
}

// Add adds a post, which then waits for staff, and returns it with its number.
func (b *Board) Add(p Post) Post {
	b.Last++
	p.Number, p.Shown = b.Last, ""
	b.Posts = append(slices.Clip(b.Posts), p)
	return p
}

// Accept shows a post that waits, from this day. The error is ErrUnknown or ErrFull.
func (b *Board) Accept(number int, today time.Time) error {
	i := b.index(number)
	if i < 0 || !b.Posts[i].Waits() {
		return ErrUnknown
	}
	if len(b.Shown()) >= MaxShown {
		return ErrFull
	}
	b.Posts = slices.Clone(b.Posts)
	b.Posts[i].Shown = today.Format(time.DateOnly)
	return nil
}

// Remove removes a post, and reports whether there was one.
func (b *Board) Remove(number int) bool {
	before := len(b.Posts)
	b.Posts = slices.DeleteFunc(slices.Clone(b.Posts), func(p Post) bool { return p.Number == number })
	return len(b.Posts) < before
}

// Expire removes the posts that have waited or been shown for Days.
func (b *Board) Expire(now time.Time) {
	b.Posts = slices.DeleteFunc(slices.Clone(b.Posts), func(p Post) bool { return p.over(now) })
}

// over says whether a post has expired. A post with a date that cannot be parsed has.
func (p Post) over(now time.Time) bool {
	from := p.Week.Monday()
	if !p.Waits() {
		from, _ = time.Parse(time.DateOnly, p.Shown)
	}
	y, m, d := now.Date()
	return !time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Before(from.AddDate(0, 0, Days))
}

// Clean returns a text in the form that the board stores: with composed characters (NFC), and without control characters, characters
// that change the direction of text, and empty lines.
func Clean(text string) string {
	text = norm.NFC.String(strings.ToValidUTF8(text, ""))
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case unicode.IsSpace(r), r == '\u2028', r == '\u2029':
			return ' '
		case unicode.IsControl(r), r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', r == utf8.RuneError, r == '\ufeff':
			return -1
		}
		return r
	}, strings.ReplaceAll(text, "\r\n", "\n"))
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	return norm.NFC.String(strings.Join(lines, "\n")) // a removed character may have separated two that compose
}

// Fits reports whether a clean text is empty, that is without letters, or too long for a post.
func Fits(text string) (empty, long bool) {
	return !strings.ContainsFunc(text, unicode.IsLetter),
		utf8.RuneCountInString(text) > MaxText || strings.Count(text, "\n") >= MaxLines
}
