package netlab_test

import (
	"encoding/binary"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/netctl/netlab"
)

func question(t *testing.T, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	return ok((&dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}).Pack())(t)
}

// records returns the answers in a reply, nil if there is no reply.
func records(t *testing.T, reply []byte) []dnsmessage.Resource {
	t.Helper()
	if reply == nil {
		return nil
	}
	var m dnsmessage.Message
	must(t, m.Unpack(reply))
	return append([]dnsmessage.Resource{}, m.Answers...)
}

// zones adds a zone with long answers and a zone that does not answer.
func zones(names *netlab.Names) {
	names.Handle("long.example", func(q dnsmessage.Question) []dnsmessage.ResourceBody {
		return []dnsmessage.ResourceBody{&dnsmessage.TXTResource{TXT: []string{strings.Repeat("x", 250), q.Name.String()}}}
	})
	names.Handle("silent.example", func(dnsmessage.Question) []dnsmessage.ResourceBody { return nil })
}

// TestZones checks that the handler of a zone answers for every name below it, and for no other name.
func TestZones(t *testing.T) {
	names := netlab.NewNames()
	zones(names)
	names.Set("*.example", netlab.WebAddr)
	for name, want := range map[string]int{
		"Long.example.": 1, "a.b.long.example.": 1, "longer.example.": 1, "silent.example.": -1, "a.silent.example.": -1,
	} {
		got := -1
		if all := records(t, names.Reply(question(t, name, dnsmessage.TypeA))); all != nil {
			got = len(all)
			if txt := all[0].Header.Type == dnsmessage.TypeTXT; txt != strings.HasSuffix(strings.ToLower(name), "long.example.") {
				t.Errorf("%s has a record of type %v", name, all[0].Header.Type)
			}
		}
		if got != want {
			t.Errorf("%s: %d records, want %d (-1: silence)", name, got, want)
		}
	}
}

// TestNamesOverTCP checks that the name server answers several queries on one TCP connection, at each of its addresses.
func TestNamesOverTCP(t *testing.T) {
	t.Parallel()
	for _, direct := range []bool{true, false} {
		s := scene(t, netlab.Options{Direct: direct})
		zones(s.Internet.Names)
		conn := ok(s.Box.Dial(t.Context(), "tcp4", netip.AddrPortFrom(s.Lenders[0].Gateway, 53).String()))(t)
		defer conn.Close()
		must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		for range 3 {
			q := question(t, "a.long.example.", dnsmessage.TypeTXT)
			ok(conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)))(t)
			var length [2]byte
			ok(io.ReadFull(conn, length[:]))(t)
			reply := make([]byte, binary.BigEndian.Uint16(length[:]))
			ok(io.ReadFull(conn, reply))(t)
			if all := records(t, reply); len(all) != 1 || len(reply) < 250 {
				t.Errorf("direct %t: the answer has %d records in %d bytes", direct, len(all), len(reply))
			}
		}
	}
}
