package board

import (
	"errors"
	"strings"
	"testing"
	"time"

	"passerelle/captive/voice/week"
)

var saturday = time.Date(2026, 11, 21, 15, 10, 0, 0, time.FixedZone("CET", 3600))

func numbers(posts []Post) (all []int) {
	for _, p := range posts {
		all = append(all, p.Number)
	}
	return all
}

func TestBoard(t *testing.T) {
	t.Parallel()
	var b Board
	for range 3 {
		b.Add(Post{Side: Offer, Kind: "lend", Text: "Une perceuse", Week: week.Of(saturday)})
	}
	before := b
	if err := b.Accept(2, saturday); err != nil {
		t.Fatal(err)
	}
	if got := numbers(b.Shown()); len(got) != 1 || got[0] != 2 || len(before.Shown()) != 0 {
		t.Errorf("shown: %v; before it was accepted: %v", got, before.Shown())
	}
	for _, n := range []int{2, 4, 0} {
		if err := b.Accept(n, saturday); !errors.Is(err, ErrUnknown) {
			t.Errorf("%d is accepted: %v", n, err)
		}
	}
	if b.Remove(4) || !b.Remove(1) || b.Remove(1) {
		t.Error("a post that is not there is removed, or one that is there is not")
	}
	if p := b.Add(Post{}); p.Number != 4 {
		t.Errorf("the next post is %d", p.Number)
	}
	for len(b.Shown()) < MaxShown {
		if err := b.Accept(b.Add(Post{}).Number, saturday); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Accept(b.Add(Post{}).Number, saturday); !errors.Is(err, ErrFull) {
		t.Errorf("%d are shown: %v", len(b.Shown()), err)
	}
}

// A post is gone after 30 days. One that waits is gone when 30 days have passed since its week began.
func TestExpire(t *testing.T) {
	t.Parallel()
	for days := range 40 {
		var b Board
		b.Add(Post{Week: week.Of(saturday)})
		if err := b.Accept(b.Add(Post{Week: week.Of(saturday)}).Number, saturday); err != nil {
			t.Fatal(err)
		}
		b.Expire(saturday.AddDate(0, 0, days))
		if waits, shown := len(b.Waiting()) == 1, len(b.Shown()) == 1; waits != (days < 25) || shown != (days < 30) {
			t.Errorf("after %d days: waits %v, shown %v", days, waits, shown)
		}
	}
	b := Board{Posts: []Post{{Number: 1}, {Number: 2, Shown: "never"}}}
	if b.Expire(saturday); len(b.Posts) != 0 {
		t.Errorf("posts without a date stay: %v", b.Posts)
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		" a\r\n\r\n b\t c \n":         "a\nb c",
		"a\x00\x1b[31mb\u202ec\u2066": "a[31mbc",
		"e\u0301\xff":                 "é",
		"<b>\u00a0&":                  "<b> &",
		"👩‍🔧":                         "👩‍🔧",
		"  \n ":                       "",
	} {
		if got := Clean(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string][2]bool{
		"": {true, false}, "123 !": {true, false}, "Vélo": {},
		strings.Repeat("é", MaxText): {}, strings.Repeat("é", MaxText+1): {false, true},
		"a" + strings.Repeat("\na", MaxLines-1): {}, "a" + strings.Repeat("\na", MaxLines): {false, true},
	} {
		if empty, long := Fits(text); [2]bool{empty, long} != want {
			t.Errorf("%.20q: empty %v, long %v", text, empty, long)
		}
	}
}
