package gate_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab"
)

func TestThroughTheGate(t *testing.T) {
	t.Parallel()
	l := newLab(t, netlab.Options{Residents: 2})
	l.share(t)
	l.admit(t, 0)
	const elsewhere = "http://192.0.2.80:7000/"
	for _, c := range []struct {
		resident int
		url      string
		body     string
	}{
		{0, "http://192.0.2.80/", netlab.InternetPage},
		{0, "http://10.80.0.1/", boxPage},
		{1, "http://192.0.2.80/", boxPage},
		{1, "http://10.80.0.1/", boxPage},
	} {
		if body, err := l.get(t, l.Residents[c.resident].Host, c.url); err != nil || body != c.body {
			t.Errorf("resident %d, %s: %q, %v, want %q", c.resident, c.url, body, err, c.body)
		}
	}
	if body, err := l.get(t, l.Residents[1].Host, elsewhere); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("who is not admitted got %q, %v from %s, want a refusal", body, err, elsewhere)
	}
}
