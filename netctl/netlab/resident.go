package netlab

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// residentInterface is the name of a resident's Wi-Fi interface on the resident's host.
const residentInterface = "wlan0"

// Resident is a resident's device at the hotspot, with udhcpc as its DHCP client. Join, Leave and SetMAC are for one goroutine at
// a time.
type Resident struct {
	*Host
	MAC   net.HardwareAddr
	Radio *Cable // its link to the access point; Cut moves it out of range
	lease leaseState

	client *Proc         // nil if not joined
	ended  chan struct{} // closed after the client's last event was handled
}

// Lease is a DHCP lease.
type Lease struct {
	Address netip.Prefix
	Router  netip.Addr // invalid if the lease has none
	DNS     []netip.Addr
	Server  netip.Addr
	Time    time.Duration
	Portal  string // option 114 of RFC 8910, "" if it was not sent
}

// leaseState is the current lease, which the client's events change.
type leaseState struct {
	mu  sync.Mutex
	now Lease
}

func (k *leaseState) set(l Lease) { k.mu.Lock(); defer k.mu.Unlock(); k.now = l }
func (k *leaseState) get() Lease  { k.mu.Lock(); defer k.mu.Unlock(); return k.now }

// Lease returns the resident's current lease, as last renewed. Without a lease it returns the zero Lease.
func (r *Resident) Lease() Lease { return r.lease.get() }

// eventScript reports udhcpc's events. udhcpc calls it with the event as its argument and the lease in its environment. It
// writes both to descriptor 5, as lines that end with an empty line. (udhcpc itself uses 3 and 4.)
const eventScript = `#!/bin/sh
{ echo "event=$1"; env; echo; } >&5
`

// Join brings the interface up, gets a lease with udhcpc and configures the resident with it: address, default route,
// resolvers. The client renews the lease until Leave.
func (r *Resident) Join(ctx context.Context) (Lease, error) {
	if err := errors.Join(r.Leave(), r.SetUp(residentInterface, true)); err != nil {
		return Lease{}, fmt.Errorf("join %s to the hotspot: %w", r.name, err)
	}
	return r.AskLease(ctx)
}

// AskLease does the same on an interface that is already up and has no lease, such as a Wi-Fi interface that has just associated.
func (r *Resident) AskLease(ctx context.Context) (Lease, error) {
	lease, err := r.askLease(ctx)
	if err != nil {
		return Lease{}, fmt.Errorf("get a lease for %s: %w", r.name, err)
	}
	return lease, nil
}

func (r *Resident) askLease(ctx context.Context) (Lease, error) {
	script := filepath.Join(r.dir, "udhcpc.script")
	if err := os.WriteFile(script, []byte(eventScript), 0o755); err != nil {
		return Lease{}, err
	}
	events, report, err := os.Pipe()
	if err != nil {
		return Lease{}, err
	}
	// Four tries, a second apart, then exit. Option 114 is requested, too.
	cmd := exec.Command("busybox", "udhcpc", "-f", "-n", "-t", "4", "-T", "1", "-O", "114",
		"-i", residentInterface, "-s", script)
	cmd.ExtraFiles = []*os.File{nil, nil, report} // descriptors 3, 4, 5
	r.client, err = r.StartCmd(cmd)
	report.Close()
	if err != nil {
		events.Close()
		return Lease{}, err
	}
	bound := make(chan error, 1)
	ended := make(chan struct{})
	r.ended = ended
	go func() {
		defer close(ended)
		defer events.Close()
		r.handleEvents(events, bound)
	}()
	if err := r.world.addCleanup(func() error { <-ended; return nil }); err != nil {
		return Lease{}, err
	}
	select {
	case err = <-bound:
	case <-ended:
		r.client.Stop()
		err = fmt.Errorf("udhcpc got no lease: %s", strings.TrimSpace(r.client.Output()))
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		r.Leave()
		return Lease{}, err
	}
	return r.Lease(), nil
}

// handleEvents applies the client's events until its end. It sends to bound the result of applying the first lease.
func (r *Resident) handleEvents(events *os.File, bound chan<- error) {
	fields := make(map[string]string)
	lines := bufio.NewScanner(events)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok {
			fields[key] = value
			continue
		}
		if lines.Text() != "" {
			continue
		}
		switch fields["event"] {
		case "bound", "renew":
			err := r.applyLease(fields)
			select {
			case bound <- err:
			default: // a renewal
			}
		case "deconfig":
			r.lease.set(Lease{})
			r.RemoveAddresses(residentInterface) // fails only while the interface or the world is being removed
		}
		clear(fields)
	}
}

// applyLease configures the resident with a lease.
func (r *Resident) applyLease(fields map[string]string) error {
	lease, err := parseLease(fields)
	if err != nil {
		return err
	}
	if lease.Address != r.Lease().Address {
		if err := r.RemoveAddresses(residentInterface); err != nil {
			return err
		}
		if err := r.AddAddress(residentInterface, lease.Address); err != nil {
			return err
		}
	}
	if lease.Router.IsValid() {
		if err := r.AddRoute(defaultNet, lease.Router); err != nil {
			return err
		}
	}
	if err := r.SetResolvers(lease.DNS...); err != nil {
		return err
	}
	r.lease.set(lease)
	return nil
}

// parseLease reads the variables that udhcpc gives its script.
func parseLease(fields map[string]string) (Lease, error) {
	address, err := netip.ParsePrefix(fields["ip"] + "/" + fields["mask"])
	if err != nil {
		return Lease{}, fmt.Errorf("read lease: %w", err)
	}
	seconds, err := strconv.ParseUint(fields["lease"], 10, 32)
	if err != nil {
		return Lease{}, fmt.Errorf("read lease time: %w", err)
	}
	lease := Lease{Address: address, Time: time.Duration(seconds) * time.Second, Portal: fields["opt114"]}
	if text, err := hex.DecodeString(lease.Portal); err == nil { // udhcpc gives options that it has no name for in hexadecimal
		lease.Portal = string(text)
	}
	addrs := make(map[string][]netip.Addr)
	for _, key := range []string{"router", "dns", "serverid"} {
		for _, word := range strings.Fields(fields[key]) {
			addr, err := netip.ParseAddr(word)
			if err != nil {
				return Lease{}, fmt.Errorf("read lease's %s: %w", key, err)
			}
			addrs[key] = append(addrs[key], addr)
		}
	}
	lease.DNS = addrs["dns"]
	if len(addrs["router"]) > 0 {
		lease.Router = addrs["router"][0]
	}
	if len(addrs["serverid"]) > 0 {
		lease.Server = addrs["serverid"][0]
	}
	return lease, nil
}

// Leave leaves the network as devices do, without a DHCPRELEASE. The interface is down afterwards.
func (r *Resident) Leave() error {
	if r.client != nil {
		if err := r.client.Stop(); err != nil {
			return err
		}
		<-r.ended
		r.client = nil
	}
	r.lease.set(Lease{})
	if err := r.SetUp(residentInterface, false); err != nil {
		return err
	}
	return r.RemoveAddresses(residentInterface)
}

// SetMAC leaves the network and makes the resident a different device.
func (r *Resident) SetMAC(mac net.HardwareAddr) error {
	if err := r.Leave(); err != nil {
		return err
	}
	if err := r.Host.SetMAC(residentInterface, mac); err != nil {
		return err
	}
	r.MAC = mac
	return nil
}
