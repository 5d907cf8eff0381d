package main

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
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
	"passerelle/cmd/hub/alerts"
	"passerelle/cmd/hub/authority"
	"passerelle/cmd/hub/registry"
)

const year = 365 * 24 * time.Hour

// inStep waits until each hub has all of every stream.
func (w *world) inStep(d *registry.Registry) {
	w.Helper()
	eventually(w.T, "the hubs are in step", func() bool {
		streams, err := d.Streams(w.Context())
		return err == nil && !slices.ContainsFunc(streams, func(s registry.Stream) bool {
			return s.Replicas != len(w.hubs) || s.Current != len(w.hubs)
		})
	})
}

// shown returns the end of the certificate that hub i serves, to a client whose clock says at.
func (w *world) shown(i int, at time.Time) (time.Time, error) {
	w.Helper()
	pool, err := w.bundle.Pool()
	if err != nil {
		w.Fatal(err)
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: waitFor}, "tcp", w.hubs[i], &tls.Config{RootCAs: pool, Time: func() time.Time { return at }})
	if err != nil {
		return time.Time{}, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].NotAfter, nil
}

// TestCertificates: three hubs get new certificates, one after the other, before theirs end. A box that is connected notices nothing, a box
// that was away comes back, and so does a hub that restarts. A hub whose certificate has ended is refused.
func TestCertificates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	stop := []func(){w.inside(0), w.inside(1), w.inside(2)}
	d := w.desk(0)
	eventually(t, "the hubs have chosen who writes", func() bool { return d.AddAssociation(t.Context(), "ana", "lilas", "") == nil })
	b, away := w.box(quick), w.box(quick)
	b.enrol(d, "lilas")
	away.enrol(d, "lilas")
	eventually(t, "the box is connected", func() bool { return b.Status().Connected })
	away.stop()
	var dials int
	b.locked(func() { dials = b.dials })
	ends := func() (ends []time.Time) {
		hubs, err := d.Hubs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hubs {
			ends = append(ends, h.Until)
		}
		return ends
	}
	eventually(t, "each hub has said how long its certificate holds", func() bool { return len(ends()) == 3 })
	first := slices.MaxFunc(ends(), time.Time.Compare) // the three were made within a moment of each other
	events := func() int {
		hubs, err := d.Hubs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(alerts.OfCertificates(hubs, w.clock.now()))
	}
	if n := events(); n != 0 {
		t.Errorf("%d alerts of new certificates", n)
	}
	w.clock.add(first.Sub(w.clock.now()) - 90*24*time.Hour)
	if n := events(); n != 3 {
		t.Errorf("%d alerts 90 days before the end", n)
	}
	w.typed(0, `hub-3\s+`+first.Format("2006-01"), "status", "--dir", w.dirs[0])

	made := t.TempDir()
	for i := range w.dirs {
		name := filepath.Join(made, "hub-"+string(rune('1'+i))+".pem")
		w.typed(0, `holds until 20`, "certificate", "make", w.offline(), "127.0.0.1", name)
		if err := os.WriteFile(filepath.Join(w.dirs[i], fileTLS), []byte("half of"), 0o600); err != nil {
			t.Fatal(err)
		}
		if end, err := w.shown(i, w.clock.now()); err != nil || end.After(first) {
			t.Errorf("with half a file hub %d shows a certificate until %s, %v", i+1, end, err)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.dirs[i], fileTLS), text, 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the hub shows it", func() bool {
			end, err := w.shown(i, w.clock.now())
			return err == nil && end.After(first)
		})
		w.inStep(d)
	}
	eventually(t, "each hub has said that it has another one", func() bool {
		return !slices.ContainsFunc(ends(), func(end time.Time) bool { return !end.After(first) })
	})
	w.typed(1, `exists already`, "certificate", "make", w.offline(), "127.0.0.1", filepath.Join(made, "hub-1.pem"))
	w.typed(2, `no such file`, "certificate", "make", made, "127.0.0.1", filepath.Join(made, "x"))

	w.clock.add(year) // the first certificates have ended
	b.report(protocol.Done, "fine")
	b.delivered()
	b.locked(func() {
		if b.dials != dials || !b.Status().Connected {
			t.Errorf("the box connected %d times instead of %d", b.dials, dials)
		}
	})
	away.start(quick)
	away.SetLine(fleet.Line{Name: "fibre", Mode: fleet.Connected})
	eventually(t, "the box that was away is back", func() bool { return away.Status().Connected })
	if _, err := w.shown(0, time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Errorf("to a box without a clock: %v", err)
	}
	d = w.desk(1)
	stop[0]()
	w.inside(0)
	w.inStep(d)

	// A certificate from another fleet, and one that has ended, are refused.
	strange := newWorld(t, 1)
	text, err := os.ReadFile(filepath.Join(strange.dirs[0], fileTLS))
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{}
	h.dir = t.TempDir()
	if h.ca, err = os.ReadFile(filepath.Join(w.dirs[0], fileCA)); err != nil {
		t.Fatal(err)
	}
	h.now = w.clock.now
	if err := os.WriteFile(filepath.Join(h.dir, fileTLS), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.renewOnce(t.Context(), nil, w.clock.now()); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("one that has ended: %v", err)
	}
	h.now = time.Now
	if _, err := h.renewOnce(t.Context(), nil, w.clock.now()); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("one of another fleet: %v", err)
	}
	strange.clock.add(time.Until(w.clock.now()))
	strange.inside(0)
	if _, err := strange.shown(0, strange.clock.now()); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a hub whose certificate has ended: %v", err)
	}
}

// TestStolenKeys: a hub was stolen with its folder. After the secret is replaced, nothing that the old one signed is let in. Boxes go on
// without a visit; codes must be made again.
func TestStolenKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	stop := w.inside(0)
	d := w.desk(0)
	w.association(d, "lilas", "nord")
	good, revoked, asks := w.box(quick), w.box(quick), w.box(quick)
	good.enrol(d, "lilas")
	revoked.enrol(d, "lilas")
	if err := d.Revoke(t.Context(), "ana", revoked.Status().Box); err != nil {
		t.Fatal(err)
	}
	code, err := d.MakeSticker(t.Context(), "ana", "lilas", w.clock.now().AddDate(0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	person, err := d.AddPerson(t.Context(), "ana", "Ana", "")
	if err != nil {
		t.Fatal(err)
	}
	name, before := good.Status().Box, good.membership().Token

	// What the thief has works until the secret is replaced.
	stolen, err := openFolder(w.dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	type user struct{ name, token, seed string }
	thief := func(make func(public string) (string, error), name string) user {
		t.Helper()
		pair, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		token, err := make(public)
		if err != nil {
			t.Fatal(err)
		}
		if name == "" {
			name = protocol.BoxName(public)
		}
		return user{name, token, string(seed)}
	}
	box := thief(func(public string) (string, error) { return stolen.keys.Box("lilas", public) }, "")
	users := []user{box}
	for _, a := range []authority.Account{authority.Hub, authority.Fleet, authority.System} {
		token, pair, err := stolen.keys.User(a, "thief", rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		seed, err := pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, user{"thief", token, string(seed)})
	}
	try := func(u user) error {
		t.Helper()
		pool, err := w.bundle.Pool()
		if err != nil {
			t.Fatal(err)
		}
		pair, err := nkeys.FromSeed([]byte(u.seed))
		if err != nil {
			t.Fatal(err)
		}
		c, err := nats.Connect("tls://"+w.hubs[0], nats.TLSHandshakeFirst(), nats.NoReconnect(), nats.Timeout(waitFor), nats.CustomInboxPrefix(protocol.Inbox(u.name)),
			nats.Secure(&tls.Config{RootCAs: pool}), nats.UserJWT(func() (string, error) { return u.token, nil }, pair.Sign))
		if err == nil {
			c.Close()
		}
		return err
	}
	for _, u := range users {
		if err := try(u); err != nil {
			t.Errorf("before: %v", err)
		}
	}

	next := filepath.Join(t.TempDir(), "keys.json")
	file := filepath.Join(w.dirs[0], fileKeys)
	other := newWorld(t, 1)
	w.typed(1, `another fleet`, "keys", "replace", "--as", "ana", other.offline(), file, next)
	w.typed(2, `no such file`, "keys", "replace", "--as", "ana", w.dirs[0], file, next)
	w.typed(0, `Stop all hubs`, "keys", "replace", "--as", "ana", w.offline(), file, next)
	w.typed(1, `exists already`, "keys", "replace", "--as", "ana", w.offline(), file, next)
	stop()
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
	w.inside(0)
	d = w.desk(0)

	for _, u := range users {
		if err := try(u); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("what the stolen secret signed: %v", err)
		}
	}
	eventually(t, "the box is connected, with another token", func() bool {
		s := good.Status()
		return s.Connected && s.Region == "nord" && good.membership().Token != before
	})
	if s := good.Status(); s.Box != name || s.Association != "lilas" || s.Stage != fleet.Member {
		t.Errorf("the box is %+v", s)
	}
	good.report(protocol.Done, "fine")
	good.delivered()
	eventually(t, "a revoked box is refused", func() bool { return revoked.Status().Revoked && !revoked.Status().Connected })

	// A card from before may still ask, and so may a token for asking that the thief signed. Neither may do anything else.
	token, pair, err := stolen.keys.User(authority.Enrol, protocol.Asker, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []user{{"", w.bundle.Token, w.bundle.Seed}, {"", token, string(seed)}} {
		c := w.connect(protocol.Asker, u.token, u.seed)
		w.mayNot(c, "$JS.API.STREAM.NAMES", "$SYS.REQ.SERVER.PING", "up.lilas.aaaaaaaaaa.done", "audit", "_INBOX.enrol.x")
		if !refuses(c, func() error { _, err := c.SubscribeSync(protocol.SubjectAsk); return err }) {
			t.Error("it may hear what others ask")
		}
	}
	ask := func(a protocol.Ask) (answer protocol.Answer) {
		t.Helper()
		c := w.connect(protocol.Asker, token, string(seed))
		question, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Request(protocol.SubjectAsk, question, waitFor)
		if err == nil {
			err = json.Unmarshal(m.Data, &answer)
		}
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	public := func(seed string) string {
		pair, err := nkeys.FromSeed([]byte(seed))
		if err != nil {
			t.Fatal(err)
		}
		key, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	for what, a := range map[string]struct {
		key  string
		want protocol.Enrolment
	}{
		"a box of the thief's": {public(box.seed), protocol.Refused},
		"a revoked box":        {public(revoked.membership().Seed), protocol.Refused},
		"a member":             {public(good.membership().Seed), protocol.Member},
		"no key":               {"x", protocol.Unknown},
	} {
		if got := ask(protocol.Ask{Key: a.key}); got.State != a.want || (got.Token != "") != (a.want == protocol.Member) {
			t.Errorf("%s asks for another token: %s", what, got.State)
		}
	}
	if got := ask(protocol.Ask{Code: strings.ReplaceAll(code, "-", ""), Key: public(box.seed)}); got.State != protocol.Unknown {
		t.Errorf("a sticker from before: %s", got.State)
	}
	if _, ok, err := d.Person(t.Context(), person); ok || err != nil {
		t.Errorf("a person's code from before works: %v", err)
	}
	asks.enrol(d, "lilas")
	w.typed(0, `(?m)ana\s+replace keys\s+O`, "audit", "--dir", w.dirs[0])
	if lines, err := d.Audit(t.Context(), 100); err != nil || len(slices.DeleteFunc(lines, func(l registry.Line) bool { return l.Did != "replace keys" })) != 1 {
		t.Errorf("the audit has it another number of times than once: %v", err)
	}
}
