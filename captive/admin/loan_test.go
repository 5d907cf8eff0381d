package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/hours"
	"passerelle/appliance/state"
)

func (b *fakeBox) PauseDonationUntilTomorrow(_ context.Context, name, by string) error {
	return b.press(by+" pauses "+name+" until tomorrow", func(s *state.Status) {
		s.Donations[0].PausedBy, s.Donations[0].PausedUntil = by, s.Donations[0].Tomorrow
	})
}

func (b *fakeBox) CountAtLeast(_ context.Context, name string, bytes uint64) error {
	return b.press(fmt.Sprint("the provider of ", name, " counted ", bytes), func(s *state.Status) {
		s.Donations[0].Stated = bytes - s.Donations[0].Used
	})
}

func (b *fakeBox) LowerThisPeriod(_ context.Context, name string, bytes uint64) error {
	return b.press(fmt.Sprint(name, " is lowered to ", bytes, " for now"), func(s *state.Status) {
		s.Donations[0].Lowered = s.Donations[0].Cap - bytes
	})
}

func (b *fakeBox) LowerCap(_ context.Context, name string, bytes uint64, _ config.Side) error {
	return b.press(fmt.Sprint(name, " is lowered to ", bytes), func(s *state.Status) { s.Donations[0].Cap = bytes })
}

func (b *fakeBox) Close(_ context.Context, name string, _ config.Side) error {
	err := b.press(name+" is closed", func(s *state.Status) {
		b.lent = map[string][]state.Day{name: s.Donations[0].Days}
		s.Donations = nil
	})
	return errors.Join(err, b.kept)
}

func (b *fakeBox) Lent(_ context.Context, name string) ([]state.Day, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	days, ok := b.lent[name]
	return days, ok
}

// send sends a form of the lender's page.
func send(t *testing.T, s http.Handler, path string, form ...string) *http.Response {
	t.Helper()
	values := url.Values{}
	for pair := range slices.Chunk(form, 2) {
		values.Set(pair[0], pair[1])
	}
	r := httptest.NewRequest(http.MethodPost, "https://partage.internal"+path, strings.NewReader(values.Encode()))
	r.RemoteAddr = "10.80.0.23:40000"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

// TestLenderPausesUntilTomorrow: a lender pauses until tomorrow with one press. Before and after it the page says until when, and so
// does the desk's.
func TestLenderPausesUntilTomorrow(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b, io.Discard)
	const says = "It starts again by itself tomorrow at 8:30"
	if got := text(body(t, ask(t, s, "GET "+page+"?lang=en"))); !strings.Contains(got, says) {
		t.Errorf("before the press the page is:\n%s", got)
	}
	b.change(func(s *state.Status, d *state.Donation) { s.Clock.Trusted = false })
	if got := text(body(t, ask(t, s, "GET "+page+"?lang=en"))); strings.Contains(got, says) || !strings.Contains(got, "by itself the next day") {
		t.Errorf("without the time the page is:\n%s", got)
	}
	b.change(func(s *state.Status, d *state.Donation) { s.Clock.Trusted = true })
	if res := ask(t, s, "POST "+page+"/tomorrow?lang=en", "Sec-Fetch-Site: same-origin"); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("status %d", res.StatusCode)
	}
	if got := body(t, ask(t, s, "GET "+page+"?lang=en")); !strings.Contains(text(got), says) {
		t.Errorf("the page is:\n%s", got)
	}
	if !slices.Equal(b.presses, []string{"its lender pauses Fibre du centre until tomorrow"}) {
		t.Errorf("the box was told %q", b.presses)
	}
}

// TestLenderLendsLess: a lender can only lower the cap. A value that is not lower, or not a number, changes nothing.
func TestLenderLendsLess(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		path   string
		form   []string
		cap    uint64 // 0: the fake's default
		status int
		says   string // what the page that follows says
		told   string // the call that the box got
	}{
		{"/cap", []string{"size", "100", "until", "period"}, 0, 303, "lower for this period", "Fibre du centre is lowered to 100000000000 for now"},
		{"/cap", []string{"size", "99,5 Go", "until", "ever"}, 0, 303, "Your limit is lower.", "Fibre du centre is lowered to 99500000000"},
		{"/cap", []string{"size", " 0.1 ", "until", "ever"}, 0, 303, "Your limit is lower.", "Fibre du centre is lowered to 100000000"},
		{"/cap", []string{"size", "٥٠", "until", "ever"}, 0, 303, "Your limit is lower.", "Fibre du centre is lowered to 50000000000"},
		{"/cap", []string{"size", "200", "until", "ever"}, 0, 422, "not smaller", ""},
		{"/cap", []string{"size", "201", "until", "period"}, 0, 422, "not smaller", ""},
		{"/cap", []string{"size", "0", "until", "ever"}, 0, 422, "at least 0.1", ""},
		{"/cap", []string{"size", "0,0999", "until", "ever"}, 0, 422, "at least 0.1", ""},
		{"/cap", []string{"size", "-5", "until", "ever"}, 0, 422, "Write a number", ""},
		{"/cap", []string{"size", "1e3", "until", "ever"}, 0, 422, "Write a number", ""},
		{"/cap", []string{"size", "999999999999999999999", "until", "ever"}, 0, 422, "Write a number", ""},
		{"/cap", nil, 0, 422, "Write a number", ""},
		{"/cap", []string{"size", "500", "until", "period"}, 1, 303, "Your limit is lower.", "Fibre du centre is lowered to 500000000000"},
		{"/figure", []string{"size", "90"}, 0, 303, "We count with your provider’s figure", "the provider of Fibre du centre counted 90000000000"},
		{"/figure", []string{"size", "83,7"}, 0, 303, "We keep ours", ""},
		{"/figure", []string{"size", "0"}, 0, 303, "We keep ours", ""},
		{"/figure", []string{"size", "beaucoup"}, 0, 422, "Write a number", ""},
		{"/figure", []string{"size", "90"}, 1, 303, "We keep ours", ""},
	} {
		b := newFakeBox()
		if test.cap != 0 {
			b.change(func(_ *state.Status, d *state.Donation) { d.Cap, d.Left, d.Reserve, d.Granted, d.Daily = 0, 0, 0, 0, 0 })
		}
		s := newServer(b, io.Discard)
		res := send(t, s, page+test.path+"?lang=en", test.form...)
		if res.StatusCode != test.status {
			t.Errorf("%s %q: status %d, want %d", test.path, test.form, res.StatusCode, test.status)
		}
		if res.StatusCode == http.StatusSeeOther {
			res = ask(t, s, "GET "+res.Header.Get("Location"))
		}
		if got := body(t, res); !strings.Contains(got, test.says) {
			t.Errorf("%s %q: no %q in:\n%s", test.path, test.form, test.says, got)
		}
		if told := strings.Join(b.presses, "; "); told != test.told {
			t.Errorf("%s %q: the box was told %q, want %q", test.path, test.form, told, test.told)
		}
	}
}

// TestLenderLowersMeanwhile: a cap that somebody else has lowered further in the meantime is not raised, and the page says so. An
// error is shown, too.
func TestLenderLowersMeanwhile(t *testing.T) {
	t.Parallel()
	for err, says := range map[error]string{ErrNotLower: "not smaller", config.ErrByHand: "The centre"} {
		b := newFakeBox()
		b.err = err
		var log bytes.Buffer
		res := send(t, newServer(b, &log), page+"/cap?lang=en", "size", "50", "until", "ever")
		if says == "The centre" {
			says = "Ask the centre."
		}
		if got := body(t, res); !strings.Contains(got, says) || !strings.Contains(got, `value="50"`) {
			t.Errorf("%v: no %q in:\n%s", err, says, got)
		}
		if strings.Contains(log.String(), token) {
			t.Errorf("the log has the token:\n%s", &log)
		}
	}
}

// TestLenderStops: the page asks for confirmation. Then the loan is closed, and its link shows thanks, with what the loan gave.
func TestLenderStops(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	s := newServer(b, io.Discard)
	if got := body(t, ask(t, s, "GET "+page+"/stop?lang=en")); !strings.Contains(got, `action="`+page+`/stop?lang=en"`) || len(b.presses) > 0 {
		t.Errorf("told %q, the page is:\n%s", b.presses, got)
	}
	got := body(t, send(t, s, page+"/stop?lang=en"))
	for _, want := range []string{"Your loan has ended", "Since 2 November you shared 83.7 gigabytes.", "we have erased it"} {
		if !strings.Contains(strings.ReplaceAll(got, "\u00a0", " "), want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if !slices.Equal(b.presses, []string{"Fibre du centre is closed"}) {
		t.Errorf("the box was told %q", b.presses)
	}
	for _, line := range []string{"GET " + page + "?lang=en", "GET " + page + "/stop?lang=en"} {
		if got := body(t, ask(t, s, line)); !strings.Contains(got, "Your loan has ended") || strings.Contains(got, "erased") {
			t.Errorf("%s:\n%s", line, got)
		}
	}
	if res := send(t, s, page+"/pause"); res.StatusCode != http.StatusOK || len(b.presses) != 1 {
		t.Errorf("a press on a closed loan: %d, told %q", res.StatusCode, b.presses)
	}
	b.status.State = state.Setup
	if res := ask(t, s, "GET "+page); res.StatusCode != http.StatusNotFound {
		t.Errorf("while the box has no configuration: %d", res.StatusCode)
	}
}

// TestLenderCannotStop: a loan that cannot be closed is paused, and the page says so if copies of the password remain.
func TestLenderCannotStop(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.kept = ErrKept
	got := body(t, send(t, newServer(b, io.Discard), page+"/stop?lang=en"))
	if !strings.Contains(got, "not erased everywhere yet") || strings.Contains(got, "we have erased it") {
		t.Errorf("the page is:\n%s", got)
	}

	b = newFakeBox()
	b.kept = config.ErrByHand
	broken := &closedTo{b}
	s := newServer(b, io.Discard)
	s.Loans = broken
	got = body(t, send(t, s, page+"/stop?lang=en"))
	if !strings.Contains(got, "Your loan is not stopped") || !slices.Equal(b.presses, []string{"its lender pauses Fibre du centre"}) {
		t.Errorf("told %q, the page is:\n%s", b.presses, got)
	}
}

// closedTo is a box that cannot close a donation.
type closedTo struct{ *fakeBox }

func (c *closedTo) Close(context.Context, string, config.Side) error { return c.kept }

// TestLenderCallsTheCentre: the page shows the centre's phone number, and its opening hours as of now.
func TestLenderCallsTheCentre(t *testing.T) {
	t.Parallel()
	b := newFakeBox()
	b.card = &state.Card{Phone: "0123456789", Hours: "Mo-Sa 09:00-18:00"}
	now := noon
	s := newServer(b, io.Discard)
	s.Now = func() time.Time { return now }
	got := body(t, ask(t, s, "GET "+page+"?lang=en"))
	for _, want := range []string{`href="tel:0123456789"`, "Open today until"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	now = time.Date(2026, 11, 21, 18, 0, 0, 0, paris)
	if got := body(t, ask(t, s, "GET "+page+"?lang=en")); strings.Contains(got, "Open today until") {
		t.Errorf("at six it still says:\n%s", got)
	}
	if at := cardHolds(cardOf(nil), noon); !at.Equal(hours.DayStart(2026, 11, 22, paris)) {
		t.Errorf("without hours it holds until %s", at)
	}
}

// TestMostlyUsedIsFound: from 80 % used on there is one finding, unless less than 10 % is left or the donation is paused.
func TestMostlyUsedIsFound(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		used, stated, lowered uint64
		left                  uint64
		want                  string
	}{
		{79e9, 0, 0, 21e9, ""},
		{80e9, 0, 0, 20e9, "cap-mostly-used"},
		{60e9, 20e9, 0, 20e9, "cap-mostly-used"},
		{50e9, 0, 40e9, 10e9, "cap-mostly-used"},
		{95e9, 0, 0, 5e9, "cap-low"},
	} {
		f := facts{now: noon, box: state.Status{State: state.Sharing, Clock: state.Clock{Trusted: true}, Donations: []state.Donation{{
			Name: "Fibre", Open: true, Works: true, Cap: 100e9, Used: test.used, Stated: test.stated, Lowered: test.lowered, Left: test.left,
		}}}}
		var codes []string
		for _, x := range f.findings(catalog.Language("fr")) {
			codes = append(codes, x.Code)
		}
		if got := strings.Join(codes, " "); got != test.want {
			t.Errorf("%d, %d and %d: found %q, want %q", test.used, test.stated, test.lowered, got, test.want)
		}
	}
}

// FuzzGigabytes: no text is parsed as a larger number than it says.
func FuzzGigabytes(f *testing.F) {
	for _, text := range []string{"12", "2,5", "0.75 Go", "٣٫٥", "1,2,3", "", "Go", "9999999999", "0,0009999", "1 000"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		bytes, ok := parseGigabytes(text)
		if !ok {
			return
		}
		digits := strings.Map(func(c rune) rune {
			switch {
			case c == ',' || c == '٫':
				return '.'
			case c >= '٠' && c <= '٩':
				return c + '0' - '٠'
			case c >= '0' && c <= '9' || c == '.':
				return c
			}
			return -1
		}, text)
		var want float64
		if _, err := fmt.Sscanf(digits, "%g", &want); err != nil {
			t.Fatalf("%q is read as %d: %v", text, bytes, err)
		}
		if got := float64(bytes) / 1e9; got > want+1e-9 || got < want-0.001001 {
			t.Errorf("%q is read as %g", text, got)
		}
	})
}
