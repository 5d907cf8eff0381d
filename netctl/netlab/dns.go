package netlab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	queryTries   = 3
	queryTimeout = time.Second // of one try
)

// Answer is a DNS server's answer.
type Answer struct {
	RCode dnsmessage.RCode
	Addrs []netip.Addr  // of the A and AAAA records
	TTL   time.Duration // the shortest TTL of these records
}

// Query sends a DNS query from the host, over UDP: TypeA or TypeAAAA (or any other type, to check the RCODE). A negative answer
// is an Answer, too. The error means that no answer came.
func (h *Host) Query(ctx context.Context, server netip.Addr, name string, kind dnsmessage.Type) (Answer, error) {
	answer, err := h.query(ctx, netip.AddrPortFrom(server, 53), name, kind)
	if err != nil {
		return Answer{}, fmt.Errorf("ask %s for %s %v from %s: %w", server, name, kind, h.name, err)
	}
	return answer, nil
}

func (h *Host) query(ctx context.Context, server netip.AddrPort, name string, kind dnsmessage.Type) (Answer, error) {
	qname, err := dnsmessage.NewName(absolute(name))
	if err != nil {
		return Answer{}, err
	}
	question := dnsmessage.Question{Name: qname, Type: kind, Class: dnsmessage.ClassINET}
	request := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{question},
	}
	packet, err := request.Pack()
	if err != nil {
		return Answer{}, err
	}
	conn, err := h.Dial(ctx, "udp", server.String())
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	buf := make([]byte, 4096)
	var last error
	for range queryTries {
		if _, err := conn.Write(packet); err != nil {
			return Answer{}, errors.Join(err, ctx.Err())
		}
		conn.SetReadDeadline(time.Now().Add(queryTimeout))
		for {
			n, err := conn.Read(buf)
			if err != nil {
				last = err
				break
			}
			var reply dnsmessage.Message
			if reply.Unpack(buf[:n]) == nil && reply.Response && reply.ID == request.ID {
				return readAnswer(reply), nil
			}
		}
		if ctx.Err() != nil {
			return Answer{}, ctx.Err()
		}
	}
	return Answer{}, last
}

func readAnswer(reply dnsmessage.Message) Answer {
	answer := Answer{RCode: reply.RCode}
	for _, record := range reply.Answers {
		switch body := record.Body.(type) {
		case *dnsmessage.AResource:
			answer.Addrs = append(answer.Addrs, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			answer.Addrs = append(answer.Addrs, netip.AddrFrom16(body.AAAA))
		default:
			continue
		}
		ttl := time.Duration(record.Header.TTL) * time.Second
		if len(answer.Addrs) == 1 || ttl < answer.TTL {
			answer.TTL = ttl
		}
	}
	return answer
}

// LookupHost returns a name's IPv4 addresses as the host's resolvers give them, or the literal address itself.
func (h *Host) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{addr}, nil
	}
	h.mu.Lock()
	resolvers := h.resolvers
	h.mu.Unlock()
	if len(resolvers) == 0 {
		return nil, fmt.Errorf("look up %s on %s: the host has no resolver", name, h.name)
	}
	var errs []error
	for _, resolver := range resolvers {
		answer, err := h.Query(ctx, resolver, name, dnsmessage.TypeA)
		switch {
		case err != nil:
			errs = append(errs, err)
		case len(answer.Addrs) == 0:
			errs = append(errs, fmt.Errorf("%s has no address for %s: %v", resolver, name, answer.RCode))
		default:
			return answer.Addrs, nil
		}
	}
	return nil, fmt.Errorf("look up %s on %s: %w", name, h.name, errors.Join(errs...))
}

func absolute(name string) string {
	if len(name) == 0 || name[len(name)-1] != '.' {
		return name + "."
	}
	return name
}
