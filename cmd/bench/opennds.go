package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

// openNDS is the peer's daemon, as Debian's package installs it.
const openNDS = "opennds"

// peer is openNDS on the box of its own scene, with the package's page on which one click admits. It differs from our box, beside what
// the rows name, in these points:
//
//   - Sessions have no limit.
//   - Its check of the clients, by default every 15 s, is postponed: it would take CPU time from the others' turns.
//   - Its page needs two clicks, the second of which admits. Only that one counts as the press, on a connection that is open
//     already, like ours. Its answers close their connections, so it has no row with keep-alive.
//   - 9.10.0 moves iptables's own chains of the filter table to another priority, and iptables refuses to work with such
//     chains from 1.8.8 on (https://github.com/openNDS/openNDS/issues/429). That step is left out: its rules are in the same
//     chains at iptables's priority.
type peer struct {
	*netlab.Scene
	name string // with the version

	daemon *netlab.Proc
	ndsctl sync.Mutex // one at a time: ndsctl refuses to run in parallel
}

// peerConfig is the package's configuration where it differs from the daemon's default, and what the scenes need: admission by
// command, and no check of the clients (nor a timeout for lack of traffic, in minutes) while others are measured.
const peerConfig = `gatewayinterface wlan0
login_option_enabled 1
allow_preemptive_authentication 1
sessiontimeout 0
checkinterval 86400
preauthidletimeout 100000
authidletimeout 100000
FirewallRuleSet authenticated-users {
}
FirewallRuleSet preauthenticated-users {
}
FirewallRuleSet users-to-router {
    FirewallRule allow udp port 53
    FirewallRule allow tcp port 53
    FirewallRule allow udp port 67
    FirewallRule allow tcp port 22
    FirewallRule allow tcp port 80
    FirewallRule allow tcp port 443
}
`

// peerNft is found before nft, and leaves out the step that peer's comment describes.
const peerNft = `#!/bin/sh
case "$*" in
*'chain ip filter INPUT'* | *'chain ip filter FORWARD'*) exit 0 ;;
esac
PATH=${PATH#*:}
exec nft "$@"
`

// peerStart starts the daemon in the box's mount namespace: it writes to /etc and /tmp, and reads the leases there.
const peerStart = `mount --bind /run/opennds.conf /etc/opennds/opennds.conf
mount --rbind /etc /etc
mount -o remount,bind,ro /etc
mount -t tmpfs tmpfs /tmp
cp /run/dhcp.leases /tmp
PATH=/run/opennds:$PATH
exec ` + openNDS + ` -f`

// peerTimeout bounds its start and every answer: it handles one request at a time.
const peerTimeout = time.Minute

// findPeer looks for openNDS, and logs if it is left out.
func (b *bench) findPeer() {
	version, err := exec.Command(openNDS, "-v").Output()
	fields := strings.Fields(string(version))
	if len(fields) == 0 { // -v also exits with 1
		b.logf("openNDS is left out (%v): Debian's package opennds brings it", err)
		return
	}
	b.peer = "openNDS " + fields[len(fields)-1]
}

// startPeer starts openNDS in a scene and admits that many clients: strangers with the first addresses, and the first resident last.
// The other residents have the addresses after it. It returns nil if openNDS is not installed or does not start; openNDS is then left
// out from there on. That says nothing about the box, and the figures of the others are kept.
func (b *bench) startPeer(ctx context.Context, scene sceneFunc, sessions int) (*peer, error) {
	if b.peer == "" {
		return nil, nil
	}
	s, err := plainScene(ctx, scene)
	if err != nil {
		return nil, err
	}
	p := &peer{Scene: s, name: b.peer}
	if err := p.prepare(ctx, max(sessions-1, 0)); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	err = p.start(ctx)
	if err == nil {
		err = p.admit(ctx, sessions)
	}
	if err != nil {
		b.logf("openNDS is left out: %v", err)
		b.peer = ""
		return nil, errors.Join(ctx.Err(), p.Close())
	}
	return p, nil
}

// prepare writes the files and makes all clients known to the box: openNDS admits clients with a lease and a neighbour entry.
func (p *peer) prepare(ctx context.Context, strangers int) error {
	var leases, neighbors strings.Builder
	know := func(addr netip.Addr, mac netctl.MAC) {
		fmt.Fprintf(&leases, "1 %s %s * *\n", mac, addr)
		fmt.Fprintf(&neighbors, "neighbour replace %s lladdr %s dev %s nud permanent\n", addr, mac, netlab.HotspotInterface)
	}
	for k := range strangers {
		know(addressOf(k), netctl.MAC(strangersMAC(k)))
	}
	for k, r := range p.Residents {
		addr := addressOf(strangers + k)
		if err := errors.Join(r.RemoveAddresses(netlab.HotspotInterface), setStaticAddress(r, addr)); err != nil {
			return err
		}
		know(addr, netctl.MAC(r.MAC))
	}
	if err := os.Mkdir(p.Box.Path("/run/opennds"), 0o755); err != nil {
		return err
	}
	for path, text := range map[string]string{
		"/run/opennds.conf": peerConfig,
		"/run/opennds/nft":  peerNft,
		"/run/dhcp.leases":  leases.String(),
		"/run/neighbours":   neighbors.String(),
	} {
		if err := os.WriteFile(p.Box.Path(path), []byte(text), 0o755); err != nil {
			return err
		}
	}
	_, err := p.Box.Run(ctx, "ip", "-batch", "/run/neighbours")
	return err
}

// start starts the daemon and waits for its first check of itself: until then it refuses clients.
func (p *peer) start(ctx context.Context) error {
	cmd := exec.Command("sh", "-ec", peerStart)
	cmd.Dir = "/" // the bench's own folder may be below /tmp
	running, err := p.Box.StartCmd(cmd)
	if err != nil {
		return err
	}
	p.daemon = running
	heartbeat := fmt.Sprintf("/proc/%d/root/tmp/ndscids/heartbeat", running.Pid())
	for limit := time.Now().Add(peerTimeout); ; {
		if _, err := os.Stat(heartbeat); err == nil {
			return nil
		}
		select {
		case <-running.Exited():
			return fmt.Errorf("it has ended:\n%s", running.Output())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(limit) {
			return fmt.Errorf("it does not run after %v:\n%s", peerTimeout, running.Output())
		}
	}
}

// control admits a client ("auth") or ends its session ("deauth"), and returns what ndsctl printed.
func (p *peer) control(command string, client netip.Addr) (string, error) {
	p.ndsctl.Lock()
	defer p.ndsctl.Unlock()
	var out bytes.Buffer
	cmd := exec.Command("ndsctl", command, client.String())
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &out, &out
	running, err := p.Box.StartCmd(cmd)
	if err == nil {
		err = running.Wait()
	}
	return out.String(), err
}

// admit admits that many clients, from the first address on.
func (p *peer) admit(ctx context.Context, clients int) error {
	for k := range clients {
		text, err := p.control("auth", addressOf(k))
		if err := errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("admit %s: %w: %s\n%s", addressOf(k), err, text, p.daemon.Output())
		}
	}
	return nil
}

// peerRunners returns boxes with openNDS whose resident is the last of one session and of many, none if openNDS is left out. Many
// means few here, since each admission takes about half a second.
func (b *bench) peerRunners(ctx context.Context, scene sceneFunc) (all []runner, err error) {
	for _, sessions := range []int{1, orQuick(b, 50, 5)} {
		p, err := b.startPeer(ctx, scene, sessions)
		if p == nil {
			return all, err
		}
		name := fmt.Sprintf("%s, %d sessions", p.name, sessions)
		if sessions == 1 {
			name = p.name + ", 1 session"
		}
		all = append(all, runner{name: name, resident: p.Residents[0], internet: p.Internet, close: p.Close, optional: true})
	}
	return all, nil
}

// portalOf returns where openNDS redirects a resident's probe: the address of its first page, and the path, which differs by resident.
func portalOf(r *netlab.Resident) (address, path string, err error) {
	err = r.Do(func() error {
		conn, err := connect(webAddress)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(peerTimeout)); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, getProbe+requestHeaders+"Connection: close\r\n\r\n"); err != nil {
			return err
		}
		reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		reply.Body.Close()
		if reply.StatusCode != http.StatusTemporaryRedirect {
			return fmt.Errorf("the answer is %s, want a redirect", reply.Status)
		}
		portal, err := url.Parse(reply.Header.Get("Location"))
		if err == nil {
			address, path = portal.Host, portal.RequestURI()
		}
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("find openNDS's first page for %s: %w", r.Name(), err)
	}
	return address, path, nil
}

// redirect returns the load with the probe that pages sends.
func (p *peer) redirect() (load, error) {
	return load{address: webAddress, request: getProbe + requestHeaders, status: "HTTP/1.1 307", wait: peerTimeout}, nil
}

// firstPage returns the load of its first page.
func (p *peer) firstPage() (load, error) {
	l := load{status: "HTTP/1.1 200", wait: peerTimeout}
	for _, r := range p.Residents {
		address, path, err := portalOf(r)
		if err != nil {
			return load{}, err
		}
		l.address = address
		l.each = append(l.each, "GET "+path+" HTTP/1.1\r\nHost: "+address+"\r\n"+requestHeaders)
	}
	return l, nil
}

// prepareClient creates a client of a resident without a session, before the click that admits it.
func (p *peer) prepareClient(r *netlab.Resident) (c client, err error) {
	k := 0
	for p.Residents[k] != r {
		k++
	}
	p.control("deauth", addressOf(k)) // it fails without a session; with a session the probe would not be redirected
	address, path, err := portalOf(r)
	if err != nil {
		return c, err
	}
	c.press = "GET " + path + "&landing=yes HTTP/1.1\r\nHost: " + address + "\r\n" + requestHeaders + "Connection: close\r\n\r\n"
	c.status = "HTTP/1.1 200"
	return c, r.Do(func() error {
		if c.page, err = newSocket(); err != nil {
			return err
		}
		if c.button, err = connect(address); err != nil {
			return err
		}
		return c.button.SetDeadline(time.Now().Add(peerTimeout))
	})
}
