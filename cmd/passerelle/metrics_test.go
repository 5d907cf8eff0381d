package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"passerelle/netctl/netlab"
)

// TestMetrics: Prometheus reads the metrics on a line's network, from an address that may. For other addresses, and on the hotspot, the
// metrics do not exist.
func TestMetrics(t *testing.T) {
	t.Parallel()
	for _, allowed := range []bool{true, false} {
		t.Run(fmt.Sprintf("allowed %t", allowed), func(t *testing.T) {
			t.Parallel()
			from := "192.168.1.0/24"
			if !allowed {
				from = "192.168.77.1"
			}
			b := newBox(t, settings{more: fmt.Sprintf("[metrics]\nenabled = true\nallow = [%q]\n", from)}, netlab.Options{})
			r, lender := b.scene.Residents[0], b.scene.Lenders[0]
			lease := b.newcomer(r)
			line := "https://" + lender.Box.Addr().String() + "/metrics"
			asked := func(h *netlab.Host, url string) (int, string) {
				t.Helper()
				status, body, _, err := b.secureFrom(h, b.request(http.MethodGet, url))
				if err != nil {
					t.Fatalf("%s from %s: %v", url, h.Name(), err)
				}
				return status, body
			}
			status, body := asked(lender.NAS, line)
			switch {
			case !allowed && (status != http.StatusNotFound || strings.Contains(body, "passerelle_")):
				t.Errorf("from elsewhere: %d\n%s", status, body)
			case allowed && (status != http.StatusOK || !strings.Contains(body, `passerelle_state{state="sharing"} 1`) ||
				!strings.Contains(body, `passerelle_donation_working{donation="`+lent+`"} 1`)):
				t.Errorf("%d\n%s", status, body)
			}
			for _, secret := range []string{lease.Address.Addr().String(), r.MAC.String(), r.Name(), "passerelle_sessions", "go_"} {
				if strings.Contains(body, secret) {
					t.Errorf("they tell %s:\n%s", secret, body)
				}
			}
			if status, body := asked(r.Host, "https://10.80.0.1/metrics"); status != http.StatusNotFound || strings.Contains(body, "passerelle_") {
				t.Errorf("on the hotspot: %d\n%s", status, body)
			}
			q := b.request(http.MethodGet, line)
			q.Host = "rebind.example"
			if status, body, _, err := b.secureFrom(lender.NAS, q); err != nil || status != http.StatusMisdirectedRequest {
				t.Errorf("under another name: %d, %v\n%s", status, err, body)
			}
			if reply, err := r.Get(t.Context(), portal+"/metrics"); err != nil || strings.Contains(string(reply.Body), "passerelle_") {
				t.Errorf("without TLS: %d %v", reply.Status, err)
			}
		})
	}
}
