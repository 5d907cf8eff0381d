package netlab_test

import (
	"net/netip"
	"testing"

	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

func TestCable(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "busybox")
	w := labtest.World(t, "cable")
	a, err := w.AddHost("a")
	must(t, err)
	b, err := w.AddHost("b")
	must(t, err)
	_, err = w.Connect(netlab.End{Host: a, Interface: "eth0"}, netlab.End{Host: b, Interface: "eth0"})
	must(t, err)
	must(t, a.AddAddress("eth0", netip.MustParsePrefix("192.0.2.1/24")))
	must(t, b.AddAddress("eth0", netip.MustParsePrefix("192.0.2.2/24")))
	out, err := a.Run(t.Context(), "busybox", "ping", "-c1", "-W2", "192.0.2.2")
	must(t, err)
	t.Log(out)
	out, err = a.Run(t.Context(), "sh", "-c", "ls /sys/class/net; cat /etc/resolv.conf; ls /run; pwd; readlink /proc/self/ns/*")
	t.Log(out, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
