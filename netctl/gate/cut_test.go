package gate_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// TestWhoOnlyListensIsTold: a device in the middle of a download, which sends nothing by itself, learns that its session
// or the sharing ended, or the line changed; and so does the other side. Nobody else's connection suffers.
func TestWhoOnlyListensIsTold(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, l *lab){
		"session": func(t *testing.T, l *lab) { must(t, l.gate.End(address(0))) },
		"sharing": func(t *testing.T, l *lab) { l.apply(t, l.paused()) },
		"line": func(t *testing.T, l *lab) {
			// Nobody beyond the line says for the box that the connection is over.
			ok(l.Internet.Run(t.Context(), "iptables", "-A", "OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP"))(t)
			second := l.sharing(1)
			must(t, l.gate.Grant(t.Context(), netctl.Tranche{Chain: second.Cap, Bytes: netctl.Unlimited}))
			l.apply(t, second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, netlab.Options{Residents: 2, Uplinks: 2})
			l.config.Limits.Download = 100e6
			l.share(t)
			l.admit(t, 0)
			l.admit(t, 1)
			listening, other := l.connect(t, 0), l.connect(t, 1)
			if !listening.works() || !other.works() {
				t.Fatal("a connection through the gate does not work")
			}
			end(t, l)
			must(t, listening.client.SetReadDeadline(time.Now().Add(soon)))
			_, err := listening.client.Read(make([]byte, 1))
			if errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("the device heard: %v, want a reset", err)
			}
			if err := reset(t, listening.server); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
				t.Errorf("the server heard: %v, want a reset", err)
			}
			if name == "session" && !other.works() {
				t.Error("another's connection does not work any more")
			}
		})
	}
}
