package hostile

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/netctl/netlab"
)

// TunnelTCP fetches as many bytes as possible from a host through a name server over TCP, as TXT records of new names below a
// zone, until ctx ends. It reconnects when a connection is refused or breaks. It returns the number of bytes of the answers.
func TunnelTCP(ctx context.Context, h *netlab.Host, server netip.AddrPort, zone string) (got int) {
	for k := 0; ctx.Err() == nil; k++ {
		conn, err := h.Dial(ctx, "tcp4", server.String())
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		for ; ctx.Err() == nil; k++ {
			conn.SetDeadline(time.Now().Add(2 * time.Second))
			answer, err := QueryTCP(conn, fmt.Sprintf("n%d-%s.%s", k, h.Name(), zone), dnsmessage.TypeTXT)
			got += len(answer)
			if err != nil {
				break
			}
		}
		stop()
		conn.Close()
	}
	return got
}

// QueryTCP queries a name server over a connection (RFC 1035, 4.2.2). It returns the whole answer, or with an error as much of
// it as was received.
func QueryTCP(conn net.Conn, name string, kind dnsmessage.Type) ([]byte, error) {
	q := Query(1, name, kind)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	n, err := io.ReadFull(conn, answer)
	return answer[:n], err
}

// FloodDNS queries a name server from a host over UDP until ctx ends: for rate new names a second below a zone, without waiting
// for answers.
func FloodDNS(ctx context.Context, h *netlab.Host, server netip.AddrPort, rate int, kind dnsmessage.Type, zone string) error {
	conn, err := h.Dial(ctx, "udp4", server.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for k := 0; ; k++ {
		// Errors are ignored: a flood continues in any case.
		conn.Write(Query(uint16(k), fmt.Sprintf("n%d-%s.%s", k, h.Name(), zone), kind))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
