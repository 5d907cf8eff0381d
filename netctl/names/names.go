// Package names queries name servers and monitors the box's own. It owns queries for an IPv4 address, their answers and their
// traffic. It must not know uplinks, residents or which server to query.
package names

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Answer is a name server's answer.
type Answer struct {
	Code dnsmessage.RCode
	Addr netip.Addr // the first IPv4 address, also after a CNAME; not valid if there is none
}

// Traffic is a number of bytes, IP headers included.
type Traffic struct{ Sent, Received uint64 }

// Add adds more to it.
func (t *Traffic) Add(more Traffic) {
	t.Sent += more.Sent
	t.Received += more.Received
}

// headers is the size of a datagram's headers: IPv4 without options, UDP.
const headers = 20 + 8

// Ask queries a name's IPv4 address over a connected datagram socket, and reads datagrams until one is the answer or ctx ends.
// It returns the traffic even with an error.
func Ask(ctx context.Context, conn net.Conn, name string) (a Answer, used Traffic, err error) {
	question, id, err := Question(name)
	if err != nil {
		return a, used, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(question); err != nil {
		return a, used, fmt.Errorf("ask for %s: %w", name, err)
	}
	used.Sent = uint64(len(question) + headers)
	buffer := make([]byte, 1500)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return a, used, fmt.Errorf("wait for the answer to %s: %w", name, err)
		}
		used.Received += uint64(n + headers)
		if a, ok := Read(buffer[:n], id); ok {
			return a, used, nil
		}
	}
}

// Question returns a DNS query of type A for a name, and the query's ID.
func Question(name string) (question []byte, id uint16, err error) {
	var random [2]byte
	rand.Read(random[:]) // never fails
	id = binary.BigEndian.Uint16(random[:])
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := b.StartQuestions(); err != nil {
		return nil, 0, err
	}
	qname, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, 0, fmt.Errorf("ask for %q: %w", name, err)
	}
	if err := b.Question(dnsmessage.Question{
		Name: qname, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
	}); err != nil {
		return nil, 0, fmt.Errorf("ask for %q: %w", name, err)
	}
	question, err = b.Finish()
	return question, id, err
}

// Read parses a datagram. ok is false if the datagram has another ID, or is not a DNS response.
func Read(data []byte, id uint16) (a Answer, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(data)
	if err != nil || !h.Response || h.ID != id {
		return a, false
	}
	a.Code = h.RCode
	if p.SkipAllQuestions() != nil {
		return a, true
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return a, true
		}
		if h.Type == dnsmessage.TypeA {
			if r, err := p.AResource(); err == nil {
				a.Addr = netip.AddrFrom4(r.A)
			}
			return a, true
		}
		if p.SkipAnswer() != nil {
			return a, true
		}
	}
}

// Label returns a random label of ten letters, so that no cache has an answer for it.
func Label() string {
	b := make([]byte, 10)
	rand.Read(b) // never fails
	for i := range b {
		b[i] = 'a' + b[i]%26
	}
	return string(b)
}
