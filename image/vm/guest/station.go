package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"passerelle/netctl/netlab"
	"passerelle/netctl/wpa"
)

// ErrWrongKey says that a network's passphrase is wrong.
var ErrWrongKey = errors.New("the passphrase is wrong")

// Station is a resident's phone: a host with a radio and wpa_supplicant. Its methods are for one goroutine at a time.
// Leave before its world is closed.
type Station struct {
	*netlab.Resident
	supplicant *netlab.Proc // nil when it has joined nothing
	control    *wpa.Conn
}

// AddStation adds a phone that has joined no network.
func AddStation(ctx context.Context, w *netlab.World, name string, mac net.HardwareAddr) (*Station, error) {
	h, err := w.AddHost(name)
	if err != nil {
		return nil, err
	}
	if err := TakeRadio(ctx, h, radioName); err != nil {
		return nil, err
	}
	s := &Station{Resident: &netlab.Resident{Host: h}}
	return s, s.Resident.SetMAC(mac)
}

// Join joins a network and gets a lease. With OWE it joins again if there is no lease, until the context ends: an
// access point's first key exchange takes so long on an emulated machine that the kernel, after 200 ms
// (IEEE80211_ASSOC_TIMEOUT in net/mac80211/mlme.c), starts a second one, and the two ends may keep different keys.
func (s *Station) Join(ctx context.Context, n Network) (netlab.Lease, error) {
	for {
		if err := s.Associate(ctx, n); err != nil {
			return netlab.Lease{}, err
		}
		lease, err := s.AskLease(ctx)
		if err == nil || n.Security != OWE || ctx.Err() != nil {
			return lease, err
		}
	}
}

// Associate joins a network, without a lease. It retries until the context ends, except with a wrong passphrase, if the
// network's security detects that (ErrWrongKey).
func (s *Station) Associate(ctx context.Context, n Network) error {
	if err := s.associate(ctx, n); err != nil {
		return fmt.Errorf("join %s to %q (%s): %w", s.Name(), n.SSID, n.Security, errors.Join(err, s.Leave()))
	}
	return nil
}

func (s *Station) associate(ctx context.Context, n Network) (err error) {
	if err := s.Leave(); err != nil {
		return err
	}
	s.supplicant, err = s.Start("wpa_supplicant", "-Dnl80211", "-i"+radioName, "-C"+controlDir)
	if err != nil {
		return err
	}
	if s.control, err = listen(ctx, s.Host, s.supplicant); err != nil {
		return err
	}
	id, err := s.control.Request(ctx, "ADD_NETWORK")
	if err != nil {
		return err
	}
	id = strings.TrimSpace(id)
	commands := []string{"SET sae_pwe 2"}
	for _, setting := range n.supplicant() {
		commands = append(commands, fmt.Sprintf("SET_NETWORK %s %s %s", id, setting[0], setting[1]))
	}
	for _, command := range append(commands, "ENABLE_NETWORK "+id) {
		if _, err := s.control.Request(ctx, command); err != nil {
			return err
		}
	}
	for {
		event, err := await(ctx, s.control, wpa.Connected, wpa.TempDisabled)
		switch {
		case err != nil:
			return err
		case event.Kind == wpa.Connected:
			return nil
		case event.WrongKey:
			return ErrWrongKey
		}
	}
}

// Lost waits until the station is disconnected.
func (s *Station) Lost(ctx context.Context) error {
	_, err := await(ctx, s.control, wpa.Disconnected)
	return err
}

// Back waits until wpa_supplicant has reconnected by itself.
func (s *Station) Back(ctx context.Context) error {
	_, err := await(ctx, s.control, wpa.Connected)
	return err
}

// Elements returns the beacon elements of a network by channel and BSSID, in hexadecimal digits; "" if it is not
// received. The station scans for it, and stays connected.
func (s *Station) Elements(ctx context.Context, channel int, bssid net.HardwareAddr) (string, error) {
	if _, err := s.control.Request(ctx, fmt.Sprintf("SCAN freq=%d", frequency(channel))); err != nil {
		return "", errors.Join(err, pause(ctx, pollInterval)) // another scan is under way
	}
	if _, err := await(ctx, s.control, wpa.ScanResults, wpa.ScanFailed); err != nil {
		return "", err
	}
	reply, err := s.control.Request(ctx, "BSS "+bssid.String())
	_, elements, _ := strings.Cut(reply, "\nbeacon_ie=")
	elements, _, _ = strings.Cut(elements, "\n")
	return elements, err
}

// Leave leaves the network, if it has joined one.
func (s *Station) Leave() error {
	var err error
	if s.control != nil {
		err = s.control.Close()
		s.control = nil
	}
	if s.supplicant != nil {
		s.supplicant.Stop() // its exit status is that of a signal
		s.supplicant = nil
	}
	return errors.Join(err, s.Resident.Leave())
}

// SetMAC leaves the network and makes the phone a different device.
func (s *Station) SetMAC(mac net.HardwareAddr) error {
	return errors.Join(s.Leave(), s.Resident.SetMAC(mac))
}

// Ping fails without an echo reply within a whole number of seconds.
func (s *Station) Ping(ctx context.Context, addr string, within time.Duration) error {
	_, err := s.Run(ctx, "busybox", "ping", "-c", "1", "-W", fmt.Sprint(int(within.Seconds())), addr)
	return err
}
