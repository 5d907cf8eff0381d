package admin

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"passerelle/captive/web/webtest"
)

// paris is the zone of the fictional centre.
var paris = time.FixedZone("CET", 3600)

// noon is the tests' now: Saturday 21 November 2026, 15:10.
var noon = time.Date(2026, 11, 21, 15, 10, 0, 0, paris)

// token is that of the fibre's link in most tests.
const token = "k3vqzj5xw7oadcl2ygt4me6rnb"

// fakeBox is an appliance with donations that nobody uses, and the store of their links.
type fakeBox struct {
	mu        sync.Mutex
	donations map[string]Donation
	tokens    map[[sha256.Size]byte]string
	presses   []string // by whom, and what
	err       error    // what SetDonationPaused and Set say
}

// newFakeBox has one donation, in the middle of its month.
func newFakeBox() *fakeBox {
	b := &fakeBox{donations: make(map[string]Donation), tokens: map[[sha256.Size]byte]string{hash(token): "Fibre du centre"}}
	d := Donation{
		Name: "Fibre du centre", State: Shared,
		Cap: 200_000_000_000, Left: 112_400_000_000, Reserve: 2_000_000_000, Granted: 240_000_000, Used: 83_700_000_000,
		PerDay: 11_200_000_000, Period: "month",
		Began: time.Date(2026, 11, 1, 0, 0, 0, 0, paris), Resets: time.Date(2026, 12, 1, 0, 0, 0, 0, paris),
	}
	for i, tenths := range []uint64{0, 41, 38, 52, 47, 66, 12, 0, 49, 55, 0, 61, 93, 22, 0, 58, 64, 39, 72, 57, 11} {
		d.Days = append(d.Days, Day{Date: d.Began.AddDate(0, 0, i), Bytes: tenths * 100_000_000})
	}
	b.donations[d.Name] = d
	return b
}

// change changes the one donation.
func (b *fakeBox) change(f func(*Donation)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.donations["Fibre du centre"]
	f(&d)
	b.donations["Fibre du centre"] = d
}

// lenders is the fake's side of Lenders, whose method has the name of one of Tokens'.
type lenders struct{ *fakeBox }

func (b lenders) Donation(name string) (Donation, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d, ok := b.donations[name]
	return d, ok
}

func (b lenders) SetDonationPaused(_ context.Context, name, by string, paused bool) error {
	b.mu.Lock()
	if b.err != nil {
		defer b.mu.Unlock()
		return b.err
	}
	what, state := " resumes ", Shared
	if paused {
		what, state = " pauses ", Paused
	}
	b.presses = append(b.presses, by+what+name)
	b.mu.Unlock()
	b.change(func(d *Donation) { d.State = state })
	return nil
}

func (b *fakeBox) Set(donation string, hash [sha256.Size]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	for h, name := range b.tokens {
		if name == donation {
			delete(b.tokens, h)
		}
	}
	b.tokens[hash] = donation
	return nil
}

func (b *fakeBox) Donation(hash [sha256.Size]byte) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name, ok := b.tokens[hash]
	return name, ok
}

func site() Site {
	return Site{
		Centre: "Centre social des Lilas", Address: netip.MustParseAddr("10.80.0.1"), Hostname: "partage.internal",
		Language: "fr", Languages: []string{"fr", "en"}, Location: paris,
	}
}

// newServer returns a server for b at noon, which logs to out.
func newServer(b *fakeBox, out io.Writer) *Server {
	return New(Parts{
		Site: site, Lenders: lenders{b}, Tokens: b, Now: func() time.Time { return noon },
		Log: slog.New(slog.NewTextHandler(out, nil)),
	})
}

// ask sends one request to the box: see [webtest.Ask].
func ask(t testing.TB, s http.Handler, line string, headers ...string) *http.Response {
	t.Helper()
	return webtest.Ask(t, s, "https://partage.internal", "10.80.0.23:40000", line, headers...)
}

// body reads a response's body.
func body(t testing.TB, res *http.Response) string {
	t.Helper()
	return webtest.Body(t, res)
}
