package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"passerelle/appliance/fleet"
	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/hub/registry"
)

// TestEnrol: a code makes one box a member, and only after a person compared its words.
func TestEnrol(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "nord")
	if _, err := d.MakeSticker(t.Context(), "ana", "other", w.clock.now().AddDate(0, 0, 1)); err == nil {
		t.Error("a sticker of an association that is not there")
	}
	code, err := d.MakeSticker(t.Context(), "ana", "lilas", w.clock.now().AddDate(0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}

	b := w.box(quick)
	if err := b.Enrol("7K2QX-0M4T"); !errors.Is(err, protocol.ErrCode) {
		t.Errorf("a code that is too short: %v", err)
	}
	if err := b.Enrol("00000-00000"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a wrong code is refused", func() bool { return b.Status().Refusal == protocol.Unknown })
	if s := b.Status(); s.Stage != fleet.Alone {
		t.Errorf("after a wrong code the box is %s", s.Stage)
	}
	if err := b.Enrol(strings.ToLower(code)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the box waits", func() bool { return b.Status().Stage == fleet.Waiting })

	// After the box was switched off and on it still waits, with the same words.
	words := b.Status().Words
	b.stop()
	b.start(quick)
	b.SetLine(fleet.Line{Name: "fibre", Mode: fleet.Connected})
	eventually(t, "the box waits again", func() bool { return b.Status().Stage == fleet.Waiting })
	if b.Status().Words != words {
		t.Error("after a restart the words are others")
	}

	boxes, err := d.Boxes(t.Context())
	if err != nil || len(boxes) != 1 || boxes[0].Stage != registry.Waiting || boxes[0].Words != words || boxes[0].Association != "lilas" {
		t.Fatalf("the hub shows %+v, %v", boxes, err)
	}
	wrong := words
	wrong[3] = "passerelle"
	if err := d.Confirm(t.Context(), "ana", boxes[0].Name, wrong[:]); !errors.Is(err, registry.ErrWords) {
		t.Errorf("other words confirm the box: %v", err)
	}
	other := w.box(quick)
	if err := other.Enrol(code); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a used code is refused", func() bool { return other.Status().Refusal == protocol.Used })
	if err := d.Confirm(t.Context(), "ana", boxes[0].Name, words[:]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the box is a member and connected", func() bool {
		s := b.Status()
		return s.Stage == fleet.Member && s.Connected && s.Association == "lilas"
	})
	if err := d.Confirm(t.Context(), "ana", boxes[0].Name, words[:]); err == nil {
		t.Error("a member is confirmed again")
	}
	if err := b.Enrol(code); !errors.Is(err, fleet.ErrMember) {
		t.Errorf("a member enrols: %v", err)
	}

	// A box that a person refuses, and a sticker that has expired.
	refused := w.box(quick)
	if code, err = d.MakeSticker(t.Context(), "ana", "lilas", w.clock.now().AddDate(0, 0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := refused.Enrol(code); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second box waits", func() bool { return refused.Status().Stage == fleet.Waiting })
	if err := d.Revoke(t.Context(), "ana", refused.Status().Box); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second box is refused", func() bool { return refused.Status().Refusal == protocol.Refused })
	if code, err = d.MakeSticker(t.Context(), "ana", "lilas", w.clock.now().AddDate(0, 0, 1)); err != nil {
		t.Fatal(err)
	}
	w.clock.add(25 * time.Hour)
	if err := other.Enrol(code); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an old sticker is refused", func() bool { return other.Status().Refusal == protocol.Unknown })

	// No file on the hub's disk has the code.
	if err := filepath.Walk(w.dirs[0], func(name string, i os.FileInfo, err error) error {
		if err != nil || i.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		plain, _ := protocol.ParseCode(code)
		if strings.Contains(string(text), code) || strings.Contains(string(text), plain) {
			t.Errorf("%s has a sticker's code", name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	lines, err := d.Audit(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	var did []string
	for _, l := range lines {
		did = append(did, l.Author+" "+l.Did)
	}
	want := []string{"ana add association", "ana make sticker", "ana confirm box", "ana make sticker", "ana revoke box", "ana make sticker"}
	if !slices.Equal(did, want) {
		t.Errorf("the audit has %q instead of %q", did, want)
	}
}

// TestGuess: an address that sends wrong codes is told that the hub is busy for a while; in that time not even a right code is tried.
func TestGuess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "")
	code, err := d.MakeSticker(t.Context(), "ana", "lilas", w.clock.now().AddDate(0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	c := w.connect(protocol.Asker, w.bundle.Token, w.bundle.Seed)
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(code string) protocol.Enrolment {
		code, err := protocol.ParseCode(code)
		if err != nil {
			t.Fatal(err)
		}
		question, err := json.Marshal(protocol.Ask{Code: code, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Request(protocol.SubjectAsk, question, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var a protocol.Answer
		if err := json.Unmarshal(m.Data, &a); err != nil {
			t.Fatal(err)
		}
		return a.State
	}
	for i := range 5 {
		if s := ask(fmt.Sprintf("0000000%03d", i)); s != protocol.Unknown {
			t.Fatalf("wrong code %d: %s", i+1, s)
		}
	}
	if s := ask(code); s != protocol.Busy {
		t.Errorf("a right code after five wrong ones: %s", s)
	}
	w.clock.add(time.Minute)
	if s := ask(code); s != protocol.Waiting {
		t.Errorf("a right code a minute later: %s", s)
	}

	// The token for asking permits nothing else.
	w.mayNot(c, "$JS.API.STREAM.NAMES", protocol.DirectGet(protocol.StreamRegion, protocol.SubjectRegion("lilas")), "$SYS.REQ.SERVER.PING", "up.lilas.aaaaaaaaaa.state", "audit")
}

// connect connects with this token and seed.
func (w *world) connect(name, token, seed string) *nats.Conn {
	w.Helper()
	pool, err := w.bundle.Pool()
	if err != nil {
		w.Fatal(err)
	}
	pair, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		w.Fatal(err)
	}
	c, err := nats.Connect("tls://"+w.hubs[0], nats.CustomInboxPrefix(protocol.Inbox(name)), nats.TLSHandshakeFirst(), nats.NoReconnect(),
		nats.Secure(&tls.Config{RootCAs: pool}), nats.UserJWT(func() (string, error) { return token, nil }, pair.Sign))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(c.Close)
	return c
}

// mayNot fails the test if a client may publish on one of these subjects.
func (w *world) mayNot(c *nats.Conn, subjects ...string) {
	w.Helper()
	for _, s := range subjects {
		if !refuses(c, func() error { return c.Publish(s, nil) }) {
			w.Errorf("it may publish on %s", s)
		}
	}
}

// refuses tells whether the server refuses what do does. The server answers in order, so its refusal is known once Flush returns.
func refuses(c *nats.Conn, do func() error) bool {
	before := c.LastError()
	if do() != nil || c.Flush() != nil {
		return true
	}
	err := c.LastError() // each refusal is a new error value
	return err != before && errors.Is(err, nats.ErrPermissionViolation)
}

// TestWanted: a wake brings regions and commands to the boxes that they are for, and to no others.
func TestWanted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "nord")
	w.association(d, "roses", "sud")
	a, b := w.box(quick), w.box(quick)
	a.enrol(d, "lilas")
	b.enrol(d, "roses")
	in := func(x *box, region string) {
		t.Helper()
		eventually(t, fmt.Sprintf("the region is %q", region), func() bool {
			s := x.Status()
			return !s.Round.IsZero() && s.Region == region
		})
	}
	in(a, "nord")
	in(b, "sud")
	w.association(d, "roses", "nord")
	in(b, "nord")
	w.association(d, "roses", "")
	in(b, "")
	in(a, "nord")

	if err := d.PutCommand(t.Context(), "ana", "lilas", a.Status().Box, []byte("pause")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command is there", func() (there bool) {
		a.locked(func() { there = a.command == "pause" })
		return there
	})
	b.locked(func() {
		if b.command != "" {
			t.Errorf("another box has the command %q", b.command)
		}
	})
	if err := d.AddAssociation(t.Context(), "", "nobody", ""); err == nil {
		t.Error("nobody changes something")
	}
}

// TestBounds: a thief who has a box's key can do only what that box could.
func TestBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "")
	w.association(d, "roses", "")
	a, b := w.box(quick), w.box(quick)
	a.enrol(d, "lilas")
	b.enrol(d, "roses")
	me, other := a.Status().Box, b.Status().Box
	m := a.membership()
	c := w.connect(me, m.Token, m.Seed)
	w.mayNot(c,
		protocol.SubjectUp("lilas", other, protocol.Done),
		protocol.SubjectUp("roses", me, protocol.Done),
		protocol.DirectGet(protocol.StreamRegion, protocol.SubjectRegion("roses")),
		protocol.DirectGet(protocol.StreamUp, protocol.SubjectUp("roses", other, protocol.Done)),
		protocol.DirectGet(protocol.StreamCommand, protocol.SubjectCommand("roses", other)),
		protocol.SubjectRegion("lilas"), protocol.SubjectCommand("lilas", me), protocol.SubjectPack("os", 0),
		protocol.SubjectWakeAll, protocol.SubjectWakeBox(other),
		"$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.CREATE.UP", "$JS.API.STREAM.MSG.GET.UP", "$JS.API.STREAM.PURGE.UP", "$JS.API.INFO",
		"$SYS.REQ.SERVER.PING", "_INBOX."+other+".x", "audit", protocol.SubjectAsk)
	for _, s := range []string{">", "up.>", "wake.>", protocol.SubjectWakeBox(other), protocol.SubjectWakeAssociation("roses"), "_INBOX.>", "_INBOX." + other + ".>"} {
		if !refuses(c, func() error {
			_, err := c.SubscribeSync(s)
			return err
		}) {
			t.Errorf("it may subscribe to %s", s)
		}
	}
	// Only the names of reports that exist are stored, so that a box cannot fill the hubs.
	for _, s := range []string{"day.1301", "day.2027-01-04", "x", "state.x"} {
		if m, err := c.Request(protocol.SubjectUp("lilas", me, s), []byte("x"), time.Second); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("the report %s is stored: %v, %v", s, m, err)
		}
	}
	if _, err := c.Request(protocol.SubjectUp("lilas", me, protocol.Done), make([]byte, protocol.MaxReport+1), time.Second); err == nil {
		t.Error("a report that is too long is stored")
	}
}

// TestReports: the hub shows what the box reported. A report is done only when a later round has read it back, so a hub that lost its disk
// gets it again.
func TestReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	stop := w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "")
	b := w.box(quick)
	b.enrol(d, "lilas")
	b.reportOnce("day.0104", `{"bytes":1}`)
	eventually(t, "the hub has the report", func() bool { return w.show(d, b, "day.0104") == `{"bytes":1}` })
	if b.pending() != 1 {
		t.Error("an acknowledged report is done before a later round has read it")
	}
	b.delivered()
	b.report("day.0104", `{"bytes":2}`)
	b.report(protocol.Done, "fine")
	b.delivered()
	if got := w.show(d, b, "day.0104"); got != `{"bytes":2}` {
		t.Errorf("the hub shows %q", got)
	}
	boxes, err := d.Boxes(t.Context())
	if err != nil || len(boxes) != 1 || time.Since(boxes[0].Seen) > time.Hour {
		t.Errorf("the box was seen %+v, %v", boxes, err)
	}

	// The hub goes away before the box has read its report back, and comes back with an empty disk.
	b.reportOnce("day.0105", `{"bytes":3}`)
	eventually(t, "the hub has the next report", func() bool { return w.show(d, b, "day.0105") != "" })
	stop()
	eventually(t, "the box notices", func() bool { return !b.Status().Connected && b.Status().Err != "" })
	if err := os.RemoveAll(filepath.Join(w.dirs[0], "store")); err != nil {
		t.Fatal(err)
	}
	w.inside(0)
	d = w.desk(0)
	w.association(d, "lilas", "") // this is all that a person has to enter again
	b.delivered()
	if got := w.show(d, b, "day.0105"); got != `{"bytes":3}` {
		t.Errorf("the hub without a disk shows %q", got)
	}
	boxes, err = d.Boxes(t.Context())
	if err != nil || len(boxes) != 1 || boxes[0].Name != b.Status().Box || boxes[0].Association != "lilas" {
		t.Errorf("the hub knows %+v, %v", boxes, err)
	}
}

// TestRevoke: a stolen box is cut off at once and cannot connect again; the others notice nothing.
func TestRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	stop := w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "")
	a, b := w.box(quick), w.box(quick)
	a.enrol(d, "lilas")
	b.enrol(d, "lilas")
	eventually(t, "both are connected", func() bool { return a.Status().Connected && b.Status().Connected })
	var dials int
	b.locked(func() { dials = b.dials })
	if err := d.Revoke(t.Context(), "ana", a.Status().Box); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stolen box is cut off, and refused", func() bool { return !a.Status().Connected && a.Status().Revoked })
	b.report(protocol.Done, "fine")
	b.delivered()
	b.locked(func() {
		if b.dials != dials {
			t.Error("the other box had to connect again")
		}
	})
	// A hub that restarts refuses the box at once, from its own file of members.
	stop()
	w.inside(0)
	eventually(t, "the other box is back", func() bool { return b.Status().Connected })
	eventually(t, "the stolen box is refused again", func() bool { return a.Status().Revoked && !a.Status().Connected })
	// A box that leaves gets a new key, which may enrol.
	name := a.Status().Box
	if err := a.Leave(); err != nil {
		t.Fatal(err)
	}
	a.enrol(w.desk(0), "lilas")
	if a.Status().Box == name {
		t.Error("a revoked key is a member again")
	}
}

// TestQuiet: a client that is away makes no connection, and one whose hub is away, refuses or lies does no harm.
func TestQuiet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "")
	b := w.box(quick)
	b.SetLine(fleet.Line{})
	if err := b.Enrol("00000-00000"); err != nil {
		t.Fatal(err)
	}
	b.Look()
	b.SetLine(fleet.Line{Name: "other"})
	b.locked(func() {
		if b.dials != 0 {
			t.Errorf("a box that is away connected %d times", b.dials)
		}
	})
	b.SetLine(fleet.Line{Name: "fibre", Mode: fleet.Connected})
	b.enrol(d, "lilas")
	eventually(t, "the box is connected", func() bool { return b.Status().Connected })
	var dials int
	b.locked(func() { dials = b.dials })
	b.SetLine(fleet.Line{Name: "fibre", Mode: fleet.Connected})
	b.report(protocol.Done, "fine")
	b.delivered()
	b.locked(func() {
		if b.dials != dials {
			t.Error("the same line once more makes a connection")
		}
	})
	b.SetLine(fleet.Line{Name: "fibre"})
	eventually(t, "the box has left", func() bool { return !b.Status().Connected })

	// A hub at the right name and port, but with a certificate from another fleet.
	elsewhere := newWorld(t, 1)
	stranger := elsewhere.box(quick)
	stranger.stop()
	elsewhere.hubs = w.hubs
	stranger.start(quick)
	if err := stranger.Enrol("00000-00000"); err != nil {
		t.Fatal(err)
	}
	stranger.SetLine(fleet.Line{Name: "fibre", Mode: fleet.Connected})
	eventually(t, "a hub of somebody else is refused", func() bool { return strings.Contains(stranger.Status().Err, "certificate") })
}

// TestNothingPerBox: a box leaves nothing on the hubs that costs while idle: no consumer, and so no watcher either.
func TestNothingPerBox(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "")
	boxes := []*box{w.box(quick), w.box(quick), w.box(quick)}
	for _, b := range boxes {
		b.enrol(d, "lilas")
		b.report("day.0104", `{"bytes":1}`)
		b.delivered()
	}
	w.association(d, "lilas", "nord")
	eventually(t, "the boxes have their region", func() bool {
		return !slices.ContainsFunc(boxes, func(b *box) bool { return b.Status().Region != "nord" })
	})
	streams, err := d.Streams(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, s := range streams {
		if slices.Contains([]string{protocol.StreamRegion, protocol.StreamCommand, protocol.StreamUp, protocol.StreamPack}, s.Name) {
			found++
			most := 0
			if s.Name == protocol.StreamUp {
				most = 1 // the hub's own
			}
			if s.Consumers > most {
				t.Errorf("the stream %s has %d consumers with %d boxes, want at most %d", s.Name, s.Consumers, len(boxes), most)
			}
		}
	}
	if found != 4 {
		t.Errorf("%d of the boxes' streams are there", found)
	}
}
