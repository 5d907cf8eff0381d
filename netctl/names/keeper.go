package names

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// When the box's own name servers are asked. Nothing of that leaves the box.
const (
	period      = 2 * time.Second
	limit       = time.Second
	wrongBefore = 3  // wrong answers in a row, before a server has failed: it may be reading its files just now
	muteBefore  = 30 // questions in a row without an answer: one that is flooded answers some
)

// Server is a name server of the box's own.
type Server struct {
	Child string // the child process that it is
	Addr  netip.AddrPort
}

// Keeper finds out whether the box's own name servers do their work: each is asked for a name that only its files tell it.
// One that has not read them refuses that, although it runs.
type Keeper struct {
	Servers []Server
	Name    string // that they all know, without asking anybody
	// Fail is told of a server that does not do its work, and why; again and again while that lasts.
	Fail func(child, why string)

	ask func(ctx context.Context, to netip.AddrPort, name string) (Answer, error) // replaced by tests
}

// String names the task in the daemon's log.
func (k *Keeper) String() string { return "own name servers" }

// Run asks until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	if k.ask == nil {
		k.ask = askOwn
	}
	wrong, mute := make([]int, len(k.Servers)), make([]int, len(k.Servers))
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		for i, s := range k.Servers {
			a, err := k.ask(ctx, s.Addr, k.Name)
			switch {
			case errors.Is(err, unix.EADDRNOTAVAIL): // the hotspot is not there: nobody can ask
				wrong[i], mute[i] = 0, 0
				continue
			case err != nil:
				mute[i]++
			case a.Code != dnsmessage.RCodeSuccess && a.Code != dnsmessage.RCodeNameError:
				wrong[i]++
			default:
				wrong[i], mute[i] = 0, 0
				continue
			}
			why := ""
			if wrong[i] >= wrongBefore {
				why = "answers " + strings.ToUpper(strings.TrimPrefix(a.Code.String(), "RCode")) + " for a name that its files tell it"
			} else if mute[i] >= muteBefore {
				why = "does not answer"
			}
			if why != "" && ctx.Err() == nil {
				k.Fail(s.Child, why)
				wrong[i], mute[i] = 0, 0
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// askOwn asks from the server's own address, so that nothing leaves a box that does not have it.
func askOwn(ctx context.Context, to netip.AddrPort, name string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	from := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(), 0))}
	conn, err := from.DialContext(ctx, "udp4", to.String())
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	a, _, err := Ask(ctx, conn, name)
	return a, err
}
