package health

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
)

// served serves pages and returns their address.
func served(t *testing.T, pages http.HandlerFunc) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(pages)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func TestCheck(t *testing.T) {
	t.Parallel()
	well := served(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			t.Errorf("asked for %s", r.URL)
		}
	})
	ill := served(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mute, err := net.Listen("tcp4", "127.0.0.1:0") // the kernel accepts connections, but nothing answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	hung := netip.MustParseAddrPort(mute.Addr().String())
	const idle = pageTimeout + time.Second
	for _, c := range []struct {
		what           string
		looked, served time.Duration
		state          state.State
		pages          netip.AddrPort
		want           string // in the error; "": none
	}{
		{"all is well", time.Second, idle, state.Sharing, well, ""},
		{"closed", time.Second, idle, state.Closed, well, ""},
		{"a round that took its time", loopTimeout, idle, state.Sharing, well, ""},
		{"a loop that stands", loopTimeout + time.Second, 0, state.Sharing, well, "has not run for 21s"},
		{"a loop that stands at a fault", loopTimeout + time.Second, idle, state.Fault, well, "has not run"},
		{"a loop that never went", loopTimeout + time.Second, idle, state.Starting, well, "has not run"},
		{"no pages yet", time.Second, idle, state.Starting, ill, ""},
		{"no pages at a fault", time.Second, idle, state.Fault, ill, ""},
		{"pages that refuse", time.Second, idle, state.Sharing, ill, "503"},
		{"pages that hang", time.Second, idle, state.Sharing, hung, "deadline exceeded"},
		{"pages that hang while it is closed", time.Second, idle, state.Closed, hung, "deadline exceeded"},
		{"pages that residents queue for, and have", time.Second, pageTimeout / 2, state.Sharing, hung, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			err := Check(c.looked, c.served, c.state, c.pages)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
