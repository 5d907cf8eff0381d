package main

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// Types of records that dnsmessage does not define (RFC 4034).
const (
	typeDS     dnsmessage.Type = 43
	typeRRSIG  dnsmessage.Type = 46
	typeNSEC   dnsmessage.Type = 47
	typeDNSKEY dnsmessage.Type = 48
)

// signed answers for signed.example like a signed zone: each set of records has a signature, and absence is proved, if requested (the DO
// bit, RFC 3225). The signatures are dummies, which nothing in the test verifies.
func signed(otherwise func([]byte) []byte) func([]byte) []byte {
	name := dnsmessage.MustNewName("signed.example.")
	return func(packet []byte) []byte {
		var query dnsmessage.Message
		if query.Unpack(packet) != nil || len(query.Questions) != 1 || query.Questions[0].Name != name {
			return otherwise(packet)
		}
		do := false
		reply := dnsmessage.Message{Header: query.Header, Questions: query.Questions}
		reply.Response, reply.RecursionAvailable, reply.AuthenticData = true, true, true
		for _, r := range query.Additionals {
			if r.Header.Type == dnsmessage.TypeOPT {
				do = r.Header.DNSSECAllowed()
				reply.Additionals = []dnsmessage.Resource{r}
			}
		}
		record := func(body dnsmessage.ResourceBody) dnsmessage.Resource {
			return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60}, Body: body}
		}
		raw := func(kind dnsmessage.Type, bytes int) dnsmessage.ResourceBody {
			return &dnsmessage.UnknownResource{Type: kind, Data: make([]byte, bytes)}
		}
		set := func(body dnsmessage.ResourceBody) (all []dnsmessage.Resource) {
			if all = append(all, record(body)); do {
				all = append(all, record(raw(typeRRSIG, 18+len(name.String())+1+64))) // RFC 4034, section 3.1; RFC 6605
			}
			return all
		}
		switch query.Questions[0].Type {
		case dnsmessage.TypeA:
			reply.Answers = set(&dnsmessage.AResource{A: netlab.NewsAddr.As4()})
		case dnsmessage.TypeAAAA:
			reply.Answers = set(&dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("2001:db8::80").As16()})
		case dnsmessage.TypeTXT:
			reply.Answers = set(&dnsmessage.TXTResource{TXT: []string{"a text"}})
		case dnsmessage.TypeHTTPS:
			reply.Answers = set(&dnsmessage.HTTPSResource{SVCBResource: dnsmessage.SVCBResource{
				Priority: 1, Target: dnsmessage.MustNewName("."),
				Params: []dnsmessage.SVCParam{{Key: dnsmessage.SVCParamALPN, Value: []byte("\x02h2")}},
			}})
		case typeDS:
			reply.Answers = set(raw(typeDS, 36))
		case typeDNSKEY:
			reply.Answers = set(raw(typeDNSKEY, 68))
		default:
			reply.Authorities = set(&dnsmessage.SOAResource{NS: name, MBox: name, MinTTL: 60})
			if do {
				reply.Authorities = append(reply.Authorities, set(raw(typeNSEC, len(name.String())+1+8))...)
			}
		}
		b, err := reply.Pack()
		if err != nil {
			return nil
		}
		return b
	}
}

// asks queries the box for signed.example from a resident, and returns the reply. A validating resolver sets DO and CD.
func (b *box) asks(r *netlab.Resident, kind dnsmessage.Type, validates bool) (reply dnsmessage.Message) {
	b.t.Helper()
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(kind), RecursionDesired: true, CheckingDisabled: validates},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("signed.example."), Type: kind, Class: dnsmessage.ClassINET}},
	}
	if validates {
		var h dnsmessage.ResourceHeader
		b.must(h.SetEDNS0(1232, dnsmessage.RCodeSuccess, true))
		q.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	}
	packet, err := q.Pack()
	b.must(err)
	wait(b.t, fmt.Sprintf("an answer to a question of type %v", kind), func() error {
		conn, err := r.Dial(b.t.Context(), "udp", netip.AddrPortFrom(netip.MustParsePrefix(boxPrefix).Addr(), 53).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(brief))
		if _, err := conn.Write(packet); err != nil {
			return err
		}
		answer := make([]byte, 4096)
		n, err := conn.Read(answer)
		if err != nil {
			return err
		}
		return reply.Unpack(answer[:n])
	})
	return reply
}

// TestSignedNames: a validating resolver gets the records as they were signed, with the proof of absence, before a session, during one,
// and during a pause. Other resolvers also get IPv6 addresses. Names that would bypass the box do not exist. Where every name resolves
// to the box, there are no records of other types.
func TestSignedNames(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	answer := signed(b.scene.Internet.Names.Reply)
	b.answersItself(b.scene.Lenders[0]).to(answer)
	r := b.scene.Residents[0]
	const absent = dnsmessage.TypeMX
	kinds := []dnsmessage.Type{
		dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeTXT, dnsmessage.TypeHTTPS, typeDS, typeDNSKEY, absent,
	}
	asSigned := func(when string) {
		t.Helper()
		for _, kind := range kinds {
			got := b.asks(r, kind, true)
			var want dnsmessage.Message
			question, err := (&dnsmessage.Message{Header: dnsmessage.Header{RecursionDesired: true}, Questions: got.Questions, Additionals: got.Additionals}).Pack()
			b.must(err)
			b.must(want.Unpack(answer(question)))
			if got.RCode != dnsmessage.RCodeSuccess || got.Truncated || !got.CheckingDisabled || got.AuthenticData {
				t.Errorf("%s, type %v: %+v", when, kind, got.Header)
			}
			for section, d := range map[string]string{
				"answer": cmp.Diff(want.Answers, got.Answers), "authority": cmp.Diff(want.Authorities, got.Authorities),
			} {
				if d != "" {
					t.Errorf("%s, type %v, the %s (-sent +got):\n%s", when, kind, section, d)
				}
			}
			if len(got.Answers)+len(got.Authorities) < 2 {
				t.Errorf("%s, type %v: no signature", when, kind)
			}
		}
		if got := b.asks(r, dnsmessage.TypeAAAA, false); len(got.Answers) != 1 || got.Answers[0].Header.Type != dnsmessage.TypeAAAA {
			t.Errorf("%s, without DO: %v", when, got.GoString())
		}
	}
	b.join(r)
	asSigned("before a session")
	b.admit(r)
	asSigned("in a session")
	for addr, passes := range map[string]bool{
		"192.168.1.1": false, "127.0.0.1": false, "::1": false, "fd00::1": false, "fe80::1": false,
		"::ffff:192.168.1.1": false, "::ffff:127.0.0.1": false, "::ffff:198.51.100.80": true, "2001:db8::80": true,
	} {
		a := netip.MustParseAddr(addr)
		name, kind := fmt.Sprintf("a%x.example", a.AsSlice()), dnsmessage.TypeAAAA
		if a.Is4() {
			kind = dnsmessage.TypeA
		}
		b.scene.Internet.Names.Set(name, a)
		if got, err := r.Query(t.Context(), netip.MustParsePrefix(boxPrefix).Addr(), name, kind); err != nil ||
			(got.RCode == dnsmessage.RCodeNameError) == passes || (len(got.Addrs) == 1) != passes {
			t.Errorf("%s: %+v, %v", addr, got, err)
		}
	}
	b.mustDo("pause")
	asSigned("in a pause")

	b.configure(settings{more: `hours = "Jan 01 00:00-00:01"`})
	b.signal(syscall.SIGHUP)
	b.mustDo("resume")
	b.waitState(state.Closed)
	for _, kind := range kinds {
		got := b.asks(r, kind, true)
		if want := kind == dnsmessage.TypeA; got.RCode != dnsmessage.RCodeSuccess || (len(got.Answers) > 0) != want {
			t.Errorf("closed, type %v: %v", kind, got.GoString())
		}
	}
}
