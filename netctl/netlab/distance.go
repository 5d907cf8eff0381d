package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Distance delays the IPv4 packets that a host sends to a network, as if the host were further away. The packets leave through a TUN
// interface, wait in this process, and return through that interface to be forwarded. So it needs no netem, which small kernels lack.
// The kernel hands over packets without offload, of at most the interface's MTU.
type Distance struct {
	tun   *os.File
	delay atomic.Int64
	done  sync.WaitGroup
}

const (
	distanceTable    = 77
	distancePriority = 77
	distanceQueue    = 10000 // packets: what the senders' first bursts may fill before they are read
)

// delayed is a packet on its way.
type delayed struct {
	due    time.Time
	packet []byte
}

// AddDistance delays what the host itself sends to a network, by nothing at first. The interface gets the name. A host has one distance.
func (h *Host) AddDistance(name string, network netip.Prefix) (*Distance, error) {
	d, err := h.addDistance(name, network)
	if err != nil {
		return nil, fmt.Errorf("add a distance from %s to %s: %w", h.name, network, err)
	}
	return d, nil
}

func (h *Host) addDistance(name string, network netip.Prefix) (d *Distance, err error) {
	d = &Distance{}
	if err := h.Do(func() (err error) { d.tun, err = openTUN(name); return err }); err != nil {
		return nil, err
	}
	packets := make(chan delayed, distanceQueue)
	d.done.Go(func() { d.receive(packets) })
	d.done.Go(func() { d.deliver(packets) })
	if err := h.world.addCleanup(d.close); err != nil {
		return nil, err
	}
	link, err := h.link(name)
	if err != nil {
		return nil, err
	}
	// Packets with a sender of the host itself come in through the interface.
	err = errors.Join(
		h.Sysctl("net/ipv4/conf/"+name+"/accept_local", "1"),
		h.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0"),
		h.Sysctl("net/ipv4/conf/all/rp_filter", "0"),
		h.Sysctl("net/ipv4/ip_forward", "1"),
		h.ns.link.LinkSetTxQLen(link, distanceQueue),
		h.ns.link.LinkSetUp(link),
	)
	if err != nil {
		return nil, err
	}
	if err := h.ns.link.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(network.Masked()), Table: distanceTable}); err != nil {
		return nil, err
	}
	own := netlink.NewRule()
	own.Priority, own.Table, own.IifName = distancePriority, distanceTable, "lo" // what the host itself sends (ip-rule(8))
	return d, h.ns.link.RuleAdd(own)
}

// openTUN makes a TUN interface in the calling thread's namespace (Documentation/networking/tuntap.rst). It ends with the file.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make TUN interface %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Set changes the delay of the packets that are sent from now on. They do not overtake earlier ones.
func (d *Distance) Set(delay time.Duration) { d.delay.Store(int64(delay)) }

// close removes the interface. Packets on their way are lost.
func (d *Distance) close() error {
	err := d.tun.Close()
	d.done.Wait()
	return err
}

func (d *Distance) receive(packets chan<- delayed) {
	defer close(packets)
	buf := make([]byte, 64<<10)
	for {
		n, err := d.tun.Read(buf)
		if err != nil {
			return
		}
		p := delayed{time.Now().Add(time.Duration(d.delay.Load())), append([]byte(nil), buf[:n]...)}
		select {
		case packets <- p:
		default: // a full queue loses packets
		}
	}
}

func (d *Distance) deliver(packets <-chan delayed) {
	for p := range packets {
		time.Sleep(time.Until(p.due))
		if _, err := d.tun.Write(p.packet); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}
