package guest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"passerelle/netctl/netlab"
	"passerelle/netctl/wpa"
)

// The addresses of a lender's phone: on its own network, and of its uplink.
var (
	phoneAddress = netip.MustParsePrefix("192.168.43.1/24")
	phoneFar     = netip.MustParsePrefix("203.0.113.201/30") // the internet's end
	phoneNear    = netip.MustParsePrefix("203.0.113.202/30")
)

// Phone is a lender's phone with Wi-Fi tethering: a host with a radio, hostapd and dnsmasq, connected to the internet.
// Its methods are for one goroutine at a time. Switch it off before its world is closed.
type Phone struct {
	*netlab.Host
	procs   []*netlab.Proc // empty when it is off
	control *wpa.Conn
}

// AddPhone adds a phone that is off. An internet has at most one phone.
func AddPhone(ctx context.Context, in *netlab.Internet, w *netlab.World) (*Phone, error) {
	h, err := addPhoneHost(in, w)
	if err != nil {
		return nil, err
	}
	return &Phone{Host: h}, errors.Join(TakeRadio(ctx, h, radioName), h.AddAddress(radioName, phoneAddress))
}

// addPhoneHost adds a phone's host with its uplink, and the route back to phoneAddress.
func addPhoneHost(in *netlab.Internet, w *netlab.World) (*netlab.Host, error) {
	h, err := w.AddHost("phone")
	if err != nil {
		return nil, err
	}
	_, err = w.Connect(netlab.End{Host: h, Interface: "rmnet0"}, netlab.End{Host: in.Host, Interface: "phone"})
	if err != nil {
		return nil, err
	}
	return h, errors.Join(
		in.AddAddress("phone", phoneFar),
		in.AddRoute(phoneAddress.Masked(), phoneNear.Addr()),
		h.AddAddress("rmnet0", phoneNear),
		h.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), phoneFar.Addr()),
		h.Sysctl("net/ipv4/ip_forward", "1"),
	)
}

// On starts tethering as this network. It first stops an earlier one.
func (p *Phone) On(ctx context.Context, n Network) error {
	if err := p.on(ctx, n); err != nil {
		return fmt.Errorf("switch on %s as %q (%s): %w", p.Name(), n.SSID, n.Security, errors.Join(err, p.Off()))
	}
	return nil
}

func (p *Phone) on(ctx context.Context, n Network) error {
	if err := p.Off(); err != nil {
		return err
	}
	conf := p.Path("/hostapd.conf")
	if err := os.WriteFile(conf, []byte(n.hostapd()), 0o600); err != nil {
		return err
	}
	hostapd, err := p.Start("hostapd", conf)
	if err != nil {
		return err
	}
	p.procs = append(p.procs, hostapd)
	if p.control, err = listen(ctx, p.Host, hostapd); err != nil {
		return err
	}
	if err := p.waitEnabled(ctx); err != nil {
		return fmt.Errorf("%w: %s", err, hostapd.Output())
	}
	dnsmasq, err := p.Start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
		"--server="+netlab.DNSAddr.String(), "--interface="+radioName, "--bind-interfaces", "--pid-file=", "--user=root",
		"--dhcp-range=192.168.43.50,192.168.43.150,10m", "--dhcp-leasefile=/run/leases", "--dhcp-authoritative", "--no-ping")
	if err != nil {
		return err
	}
	p.procs = append(p.procs, dnsmasq)
	return nil
}

// waitEnabled waits until the phone sends beacons. The event may have been missed, so it polls.
func (p *Phone) waitEnabled(ctx context.Context) error {
	for {
		status, err := p.control.Request(ctx, "STATUS")
		if err != nil {
			return err
		}
		if strings.Contains(status, "state=ENABLED\n") {
			return nil
		}
		if err := pause(ctx, pollInterval); err != nil {
			return fmt.Errorf("it sends no beacons: %w: %s", err, status)
		}
	}
}

// Move changes the channel within the band, with an announcement, and waits until the phone is on the new channel.
func (p *Phone) Move(ctx context.Context, channel int) error {
	const beacons = 5 // beacons that announce the change
	_, err := p.control.Request(ctx, fmt.Sprintf("CHAN_SWITCH %d %d", beacons, frequency(channel)))
	if err == nil {
		_, err = await(ctx, p.control, wpa.APSwitched)
	}
	return err
}

// Off stops tethering. Stations are disassociated.
func (p *Phone) Off() error {
	var err error
	if p.control != nil {
		err = p.control.Close()
		p.control = nil
	}
	for _, proc := range p.procs {
		proc.Stop() // an error is expected, as it ends by a signal
	}
	p.procs = nil
	return errors.Join(err, p.SetUp(radioName, false))
}
