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

// How the box's own name servers are queried. These queries do not leave the box.
const (
	interval      = 10 * time.Second // while all work; the supervisor notices a server that exits
	retryInterval = 2 * time.Second  // while one does not work
	timeout       = time.Second
	maxWrong      = 3  // wrong answers until a server has failed: it may be reloading its files
	maxSilent     = 30 // unanswered queries until a server has failed: an overloaded server answers some
)

// Server is one of the box's own name servers.
type Server struct {
	Child string // its child process
	Addr  netip.AddrPort
}

// Monitor checks whether the box's own name servers work. It queries each for a name that only its files define: a running
// server that has not read its files refuses the query.
type Monitor struct {
	Servers []Server
	Name    string // a name in the files of all servers
	// Fail is called for a server that does not work, and repeatedly as long as it does not work.
	Fail func(child, why string)

	ask func(ctx context.Context, to netip.AddrPort, name string) (Answer, error) // replaced by tests
}

// Run checks until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	if m.ask == nil {
		m.ask = AskOwn
	}
	wrong, silent := make([]int, len(m.Servers)), make([]int, len(m.Servers))
	for {
		next, soon := time.After(interval), time.After(retryInterval)
		for i, s := range m.Servers {
			a, err := m.ask(ctx, s.Addr, m.Name)
			switch {
			case errors.Is(err, unix.EADDRNOTAVAIL): // the hotspot is missing: no resident can query it
				wrong[i], silent[i] = 0, 0
				continue
			case err != nil:
				next = soon
				silent[i]++
			case a.Code != dnsmessage.RCodeSuccess && a.Code != dnsmessage.RCodeNameError:
				next = soon
				wrong[i]++
			default:
				wrong[i], silent[i] = 0, 0
				continue
			}
			why := ""
			if wrong[i] >= maxWrong {
				why = "answers " + strings.ToUpper(strings.TrimPrefix(a.Code.String(), "RCode")) + " for a name that its files tell it"
			} else if silent[i] >= maxSilent {
				why = "does not answer"
			}
			if why != "" && ctx.Err() == nil {
				m.Fail(s.Child, why)
				wrong[i], silent[i] = 0, 0
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		}
	}
}

// AskOwn queries one of the box's own name servers, from the server's own address, so that no packet leaves a box without that
// address. It waits a second at most.
func AskOwn(ctx context.Context, to netip.AddrPort, name string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
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
