package alerts

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"passerelle/appliance/fleet/report"
	"passerelle/cmd/hub/registry"
	"passerelle/cmd/hub/survey"
)

var start = time.Date(2027, 3, 29, 9, 0, 0, 0, time.UTC)

// memory is a Memory that several hubs share.
type memory struct {
	mu  sync.Mutex
	all map[string]registry.Claim
	now func() time.Time
}

func (m *memory) Claim(_ context.Context, key string, before registry.Claim) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all[key] != before {
		return false, nil
	}
	m.all[key] = registry.Claim{Since: m.now()}
	return true, nil
}

func (m *memory) Sent(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all[key] = registry.Claim{Since: m.now(), Sent: true}
	return nil
}

func (m *memory) Claimed(context.Context) (map[string]registry.Claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.all), nil
}

func (m *memory) Release(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, key)
	return nil
}

// channel keeps messages, unless it is broken.
type channel struct {
	mu   sync.Mutex
	sent [][]string
	err  error
}

func (c *channel) String() string { return "a channel" }
func (c *channel) Send(_ context.Context, subject string, lines []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.sent = append(c.sent, append([]string{subject}, lines...))
	}
	return c.err
}

// TestTell: an event is sent by one of the hubs, is tried again until a channel accepts it, and is sent again only a day later.
func TestTell(t *testing.T) {
	t.Parallel()
	now := start
	clock := func() time.Time { return now }
	m, c := &memory{all: map[string]registry.Claim{}, now: clock}, &channel{}
	var events []Event
	tell := func() error {
		return Tell(t.Context(), Options{Memory: m, Channels: []Channel{c}, Now: clock, Log: slog.New(slog.DiscardHandler),
			Events: func(context.Context) ([]Event, error) { return events, nil }})
	}
	want := func(messages int, what string) {
		t.Helper()
		if len(c.sent) != messages {
			t.Fatalf("%s: %d messages, want %d: %q", what, len(c.sent), messages, c.sent)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(tell())
	want(0, "nothing happened")
	events = []Event{{"a", "first"}, {"b", "second"}}
	c.err = errors.New("it is away")
	if err := tell(); err == nil || len(m.all) != 0 {
		t.Errorf("nobody took it: %v, and %d are remembered", err, len(m.all))
	}
	c.err = nil
	var hubs sync.WaitGroup
	for range 3 {
		hubs.Go(func() {
			if err := tell(); err != nil {
				t.Error(err)
			}
		})
	}
	hubs.Wait()
	lines := 0
	for _, s := range c.sent {
		lines += len(s) - 1
	}
	if lines != 2 {
		t.Fatalf("three hubs told of two events: %q", c.sent)
	}
	c.sent = nil
	for range 5 { // the events end and come back
		must(tell())
		now = now.Add(time.Hour)
		was := events
		events = nil
		must(tell())
		events = was
	}
	want(0, "within a day")
	now = now.Add(again)
	must(tell())
	want(0, "it lasts")
	events = nil
	must(tell())
	events = []Event{{"a", "first"}}
	must(tell())
	want(1, "a day later")
	// A hub dies before it sends what it has claimed.
	if ok, err := m.Claim(t.Context(), hash("c"), registry.Claim{}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	events = []Event{{"a", "first"}, {"c", "third"}}
	must(tell())
	want(1, "the hub that claimed it may be sending it")
	now = now.Add(lost)
	must(tell())
	want(2, "that hub died")
	must(tell())
	want(2, "it was sent")
	c.sent = c.sent[:1]
	for i := range 300 {
		events = append(events, Event{fmt.Sprint("many", i), "one of many"})
	}
	must(tell())
	want(2, "many at once")
	if last := c.sent[1]; len(last) != 1+most+1 || last[most+1] != "And 200 more: see the dashboard." || last[0] != "Passerelle: 300 alerts" {
		t.Errorf("%d lines, the last is %q, of %q", len(last), last[len(last)-1], last[0])
	}
}

// TestOf: the needs that are events are sent, and nothing else.
func TestOf(t *testing.T) {
	t.Parallel()
	said := func(r report.Report) []survey.Day {
		r.Day = "2027-03-28"
		return []survey.Day{{Report: r, At: start.Add(-time.Hour)}}
	}
	member := func(name string) survey.Box {
		return survey.Box{Box: registry.Box{Name: name, Association: "lilas", Stage: registry.Member, Centre: "Les Lilas", Seen: start.Add(-time.Hour)}}
	}
	well, silent, faulty, behind := member("well"), member("silent"), member("faulty"), member("behind")
	silent.Seen = start.AddDate(0, 0, -10)
	faulty.Days = said(report.Report{Release: "1.2.0", Faults: []report.Fault{{Code: "kernel-fails", Error: true}, {Code: "board-warm"}}})
	behind.Days = said(report.Report{Release: "0.1.0"})
	waiting := survey.Box{Box: registry.Box{Name: "waiting", Stage: registry.Waiting}}
	fell := member("fell")
	day := func(day report.Day, v report.Version, at time.Time, d ...report.Donation) survey.Day {
		return survey.Day{Report: report.Report{Day: day, Release: v, Donations: d}, At: at}
	}
	fell.Days = []survey.Day{day("2027-03-26", "1.3.0", start.AddDate(0, 0, -3)), day("2027-03-27", "1.2.0", start.AddDate(0, 0, -2))}
	spent := member("spent")
	for i, used := range []uint64{90, 10, 100} {
		d := report.Donation{Index: 1, Used: used, Cap: 100, State: "ready"}
		if used == 100 {
			d.State = "spent"
		}
		spent.Days = append(spent.Days, day(report.Day(fmt.Sprintf("2027-03-%d", 20+i)), "1.2.0", start.AddDate(0, 0, -9+i), d))
	}
	spent.Days = append(spent.Days, day("2027-03-28", "1.2.0", start.Add(-time.Hour), report.Donation{Index: 1, Used: 100, Cap: 100, State: "spent"}))
	var got []string
	for _, e := range Of([]survey.Box{well, silent, faulty, behind, waiting, fell, spent}, []string{"hub-2"}, start) {
		got = append(got, e.Text)
	}
	want := []string{
		"The hub hub-2 is away.",
		"Withdraw version 1.3.0: 1 of 1 boxes that tried it went back.",
		"lilas: the box silent (Les Lilas) was not seen since 2027-03-19 09:00.",
		"lilas: the box faulty (Les Lilas) has a fault, kernel-fails, since 2027-03-28.",
		"lilas: the box fell (Les Lilas) fell back from version 1.3.0.",
		"lilas: the box spent (Les Lilas) spent the cap of its donation 1 in 2 days.",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestOfRollout: only a halt by a hub is an event. A person who halts a roll-out needs no alert.
func TestOfRollout(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		phase registry.Phase
		why   string
		want  int
	}{{registry.Going, "", 0}, {registry.Halted, "", 0}, {registry.Halted, "fell", 1}, {registry.Abandoned, "fell", 0}, {"", "", 0}} {
		events := OfRollout(registry.Rollout{Version: "1.3.0", Phase: x.phase, Why: x.why})
		if len(events) != x.want {
			t.Errorf("%q, %q: %v", x.phase, x.why, events)
		}
	}
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	var got struct {
		Text, Subject string
		Lines         []string
	}
	status := http.StatusNoContent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || r.Method != http.MethodPost {
			t.Errorf("%s, %v", r.Method, err)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	hook := Webhook{server.URL + "/secret"}
	if err := errors.Join(CheckWebhook(hook.URL), hook.Send(t.Context(), "two", []string{"a", "b"})); err != nil {
		t.Fatal(err)
	}
	if got.Text != "two\na\nb" || got.Subject != "two" || len(got.Lines) != 2 {
		t.Errorf("it was told %+v", got)
	}
	for _, status = range []int{http.StatusFound, http.StatusInternalServerError} {
		if err := hook.Send(t.Context(), "x", nil); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("an answer of %d: %v", status, err)
		}
	}
	server.Close()
	if err := hook.Send(t.Context(), "x", nil); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("nobody listens: %v", err)
	}
	for _, bad := range []string{"", "http://example.org/", "ftp://example.org", "https://", "::"} {
		if CheckWebhook(bad) == nil {
			t.Errorf("%q is a webhook", bad)
		}
	}
}

// TestMail: what a mail server receives. This one implements only the minimum of SMTP (RFC 5321).
func TestMail(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	told := make(chan []string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "220 here\r\n")
		var lines []string
		data := false
		for in := bufio.NewScanner(c); in.Scan(); {
			line := in.Text()
			lines = append(lines, line)
			word, _, _ := strings.Cut(line, " ")
			switch {
			case data && line == ".":
				data = false
				fmt.Fprint(c, "250 taken\r\n")
			case data:
			case word == "DATA":
				data = true
				fmt.Fprint(c, "354 go on\r\n")
			case word == "QUIT":
				fmt.Fprint(c, "221 bye\r\n")
				told <- lines
				return
			default:
				fmt.Fprint(c, "250 fine\r\n")
			}
		}
	}()
	m := Mail{Server: l.Addr().String(), From: "hub@example.org", To: []string{"ana@example.org", "bo@example.org"}, Now: func() time.Time { return start }}
	if err := errors.Join(m.Check(), m.Send(t.Context(), "Passerelle: une alerte é", []string{"first", "sec\r\nond", "."})); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(<-told, "\n")
	for _, want := range []string{"MAIL FROM:<hub@example.org>", "RCPT TO:<ana@example.org>\nRCPT TO:<bo@example.org>", "Subject: =?utf-8?q?", "Date: Mon, 29 Mar 2027", "\n\nfirst\nsec  ond\n..\n."} {
		if !strings.Contains(text, want) {
			t.Errorf("the server was not told %q:\n%s", want, text)
		}
	}
	for _, bad := range []Mail{
		{Server: "mail.example.org", From: "a@b.c", To: []string{"a@b.c"}},
		{Server: "mail.example.org:25", From: "a@b.c"},
		{Server: "mail.example.org:25", From: "a@b.c\r\nBcc: x@y.z", To: []string{"a@b.c"}},
		{Server: "mail.example.org:25", From: "a@b.c", To: []string{"nobody"}},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v can be used", bad)
		}
	}
}
