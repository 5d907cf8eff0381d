package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// alone gives the programs of a script their own folders instead of the machine's, and a read-only /sys, as in a container, so that
// nothing waits for udev.
const alone = `
mkdir -p /run/etc /run/lock
cp -a /etc/passwd /etc/group /etc/nsswitch.conf /etc/ld.so.cache /run/etc
echo 6f5a9c0e3a5f4c129c773d1f0e6b9a01 >/run/etc/machine-id
mount --bind /run/etc /etc
mount -t tmpfs -o mode=755 tmpfs /var/lib
mount -o remount,bind,ro /sys
`

// dhclient uses one client identifier for the machine, on any interface.
const dhclient = alone + `
cat > /run/script <<'END'
#!/bin/sh
case $reason in
PREINIT) ip link set "$interface" up ;;
BOUND | RENEW | REBIND | REBOOT)
	ip address replace "$new_ip_address/$new_subnet_mask" dev "$interface"
	ip route replace default via "$new_routers" ;;
EXPIRE | FAIL | STOP | RELEASE) ip address flush dev "$interface" ;;
esac
END
chmod +x /run/script
echo 'send dhcp-client-identifier "laptop";' >/run/dhclient.conf
exec dhclient -4 -d -v -cf /run/dhclient.conf -sf /run/script -lf /run/leases -pf /run/dhclient.pid wlan0`

// clients are common DHCP clients, as scripts that get a lease for wlan0 and hold it.
var clients = map[string]string{
	// It checks for address conflicts, and defends its address (RFC 5227).
	"dhcpcd": alone + `
mkdir -p /var/lib/dhcpcd /run/dhcpcd
echo > /etc/dhcpcd.conf
exec dhcpcd --nobackground --debug --ipv4only --script /bin/true wlan0`,

	"dhclient": dhclient,

	"systemd-networkd": alone + `
mkdir -p /run/systemd/network /run/systemd/netif/leases /run/systemd/netif/links /run/systemd/netif/lldp
chown -R systemd-network: /run/systemd/netif
cat > /run/systemd/network/wlan0.network <<'END'
[Match]
Name=wlan0
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPv4]
SendDecline=yes
END
SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console exec /lib/systemd/systemd-networkd`,

	"NetworkManager": alone + `
mkdir -p /run/dbus /run/NetworkManager/system-connections /etc/NetworkManager/conf.d /var/lib/NetworkManager
cat > /run/dbus.conf <<'END'
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow eavesdrop="true"/></policy>
</busconfig>
END
dbus-daemon --config-file=/run/dbus.conf --nofork --nopidfile &
until [ -S /run/dbus/system_bus_socket ]; do sleep 0.1; done
cat > /run/NetworkManager.conf <<'END'
[main]
plugins=keyfile
dhcp=internal
dns=none
auth-polkit=false
no-auto-default=*
[keyfile]
path=/run/NetworkManager/system-connections
END
cat > /run/NetworkManager/system-connections/hotspot.nmconnection <<'END'
[connection]
id=hotspot
uuid=6f5a9c0e-3a5f-4c12-9c77-3d1f0e6b9a01
type=ethernet
interface-name=wlan0
[ipv4]
method=auto
dad-timeout=1000
[ipv6]
method=disabled
END
chmod 600 /run/NetworkManager/system-connections/hotspot.nmconnection
exec NetworkManager --no-daemon --config=/run/NetworkManager.conf --log-level=DEBUG --log-domains=DHCP4,IP4,DEVICE`,
}

// TestClients: real DHCP clients get a lease and hold it for half a minute, each with its own conflict detection. A client that uses the
// same identifier on two interfaces gets two addresses.
func TestClients(t *testing.T) {
	t.Parallel()
	const held = 30 * time.Second
	labtest.Root(t, "unshare", "dhcpcd", "dhclient", "dbus-daemon", "NetworkManager", "/lib/systemd/systemd-networkd")
	b := newBox(t, settings{}, netlab.Options{Residents: 3 + len(clients)})
	addresses := func(t *testing.T, r *netlab.Resident) string {
		t.Helper()
		out, err := r.Run(t.Context(), "ip", "-4", "-oneline", "address", "show", "dev", "wlan0")
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for line := range strings.Lines(out) {
			all = append(all, strings.Fields(line)[3])
		}
		return strings.Join(all, " ")
	}
	first := func(t *testing.T, r *netlab.Resident, said func() string) (addr string) {
		t.Helper()
		wait(t, "an address", func() error {
			if addr = addresses(t, r); addr == "" {
				return fmt.Errorf("the client says:\n%s", said())
			}
			return nil
		})
		return addr
	}
	hold := func(t *testing.T, r *netlab.Resident, said func() string) {
		t.Helper()
		addr := first(t, r, said)
		if p, err := netip.ParsePrefix(addr); err != nil || !hotspot.Contains(p.Addr()) || p.Bits() != hotspot.Bits() {
			t.Fatalf("the client's address is %q", addr)
		}
		if err := r.SetResolvers(hotspot.Addr()); err != nil {
			t.Fatal(err)
		}
		pages := 0
		for end := time.Now().Add(held); time.Now().Before(end); time.Sleep(netlab.Tick) {
			if now := addresses(t, r); now != addr {
				t.Fatalf("the client had %s and has %q; it says:\n%s", addr, now, said())
			}
			if reply, err := b.get(r, portal+"/"); err == nil && reply.Status == http.StatusOK {
				pages++
			}
		}
		if pages == 0 {
			t.Error("the client's device never had its page")
		}
	}
	start := func(t *testing.T, r *netlab.Resident, script string) *netlab.Proc {
		t.Helper()
		if err := r.SetUp(resident, true); err != nil {
			t.Fatal(err)
		}
		p, err := r.Start("unshare", "--mount", "--propagation", "private", "sh", "-ec", script)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Run("one identifier", func(t *testing.T) { // RFC 2132, section 9.14
		var had []string
		for _, r := range b.scene.Residents[1+len(clients):] {
			addr := first(t, r, start(t, r, dhclient).Output)
			if slices.Contains(had, addr) {
				t.Errorf("two interfaces have %s", addr)
			}
			had = append(had, addr)
		}
	})
	for k, name := range slices.Sorted(maps.Keys(clients)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := b.scene.Residents[k]
			p := start(t, r, clients[name])
			hold(t, r, p.Output)
			select {
			case <-p.Exited():
				t.Errorf("the client ended; it says:\n%s", p.Output())
			default:
			}
			if err := p.Kill(); err != nil { // some would release their lease and wait for the answer
				t.Error(err)
			}
		})
	}
	t.Run("udhcpc", func(t *testing.T) {
		t.Parallel()
		r := b.scene.Residents[len(clients)]
		if _, err := r.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		hold(t, r, func() string { return "" })
	})
}

// TestMetered: a real client learns that the network is metered, without requesting that option, and learns when it reconnects that it no
// longer is. (A renewed lease has the option as well, but NetworkManager 1.42 ignores it then.)
func TestMetered(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "unshare", "nsenter", "dbus-daemon", "NetworkManager", "nmcli")
	b := newBox(t, settings{}, netlab.Options{})
	r := b.scene.Residents[0]
	b.must(r.SetUp(resident, true))
	p, err := r.Start("unshare", "--mount", "--propagation", "private", "sh", "-ec", clients["NetworkManager"])
	b.must(err)
	defer func() { b.must(p.Kill()) }()
	nmcli := func(words ...string) (string, error) {
		in := []string{"nsenter", "--target", fmt.Sprint(p.Pid()), "--mount", "nmcli"}
		return r.Run(t.Context(), append(in, words...)...)
	}
	reconnect := func() {
		t.Helper()
		_, err := nmcli("connection", "up", "hotspot")
		b.must(err)
	}
	says := func(want string) {
		t.Helper()
		wait(t, "NetworkManager to say "+want, func() error {
			out, err := nmcli("--get-values", "GENERAL.STATE,GENERAL.METERED", "device", "show", "wlan0")
			if err == nil && out != "100 (connected)\n"+want+"\n" {
				err = fmt.Errorf("it says %q", out)
			}
			return err
		})
	}
	says("yes (guessed)")
	if out := b.mustDo("status"); !strings.Contains(out, `announced to devices as metered: "Fibre du centre" has a cap of 200GB`) {
		t.Errorf("status does not say so:\n%s", out)
	}
	b.mustDo("pause")
	b.waitState(state.Paused)
	reconnect()
	says("yes (guessed)")
	b.mustDo("resume")

	b.configure(settings{cap: "0"})
	b.signal(syscall.SIGHUP)
	b.waitStatus("a line without a cap", func(s state.Status) error {
		if s.Hotspot.Metered {
			return errors.New(s.Hotspot.MeteredWhy)
		}
		return nil
	})
	reconnect()
	says("no (guessed)")
}
