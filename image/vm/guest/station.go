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
	supplicant *netlab.Proc // nil while it has joined no network
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

// Join joins a network and gets a lease. With OWE it joins again if it gets no lease, until the context ends. On an emulated machine
// an access point's first key exchange takes so long that the kernel starts a second one after 200 ms (IEEE80211_ASSOC_TIMEOUT in
// net/mac80211/mlme.c), and the two ends may keep different keys.
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

// Associate joins a network without getting a lease. It retries until the context ends. If the network's security detects a wrong
// passphrase, it returns ErrWrongKey at once.
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

// Back waits until wpa_supplicant has reconnected on its own.
func (s *Station) Back(ctx context.Context) error {
	_, err := await(ctx, s.control, wpa.Connected)
	return err
}

// Elements returns the beacon elements of the network with that channel and BSSID, in hexadecimal digits, or "" if it is not
// received. The station scans for the network, and stays connected.
func (s *Station) Elements(ctx context.Context, channel int, bssid net.HardwareAddr) (string, error) {
	if _, err := s.control.Request(ctx, fmt.Sprintf("SCAN freq=%d", frequency(channel))); err != nil {
		return "", errors.Join(err, pause(ctx, pollInterval)) // another scan is running
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
		s.supplicant.Stop() // an error is expected, as it ends by a signal
		s.supplicant = nil
	}
	return errors.Join(err, s.Resident.Leave())
}

// SetMAC leaves the network and makes the phone a different device.
func (s *Station) SetMAC(mac net.HardwareAddr) error {
	return errors.Join(s.Leave(), s.Resident.SetMAC(mac))
}

// Ping sends one echo request, and fails if no reply comes within the time, which is rounded down to seconds.
func (s *Station) Ping(ctx context.Context, addr string, within time.Duration) error {
	_, err := s.Run(ctx, "busybox", "ping", "-c", "1", "-W", fmt.Sprint(int(within.Seconds())), addr)
	return err
}
