package arp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"

	"passerelle/netctl"
)

var (
	box    = netip.MustParseAddr("10.80.0.1")
	boxMAC = netctl.MAC{2, 0, 0, 1, 0, 0}
	asked  = netip.MustParseAddr("10.80.1.77")
	device = netctl.MAC{2, 0, 0, 0, 0, 7}
)

// Packets of RFC 826, field by field: types and lengths of addresses, operation, sender, target.
const (
	aQuestion = "0001" + "0800" + "0604" + "0001" + "020000010000" + "0a500001" + "000000000000" + "0a50014d"
	anAnswer  = "0001" + "0800" + "0604" + "0002" + "020000000007" + "0a50014d" + "020000010000" + "0a500001"
)

func TestQuestion(t *testing.T) {
	t.Parallel()
	if got := hex.EncodeToString(question(boxMAC, box, asked)); got != aQuestion {
		t.Errorf("the question is %s, want %s", got, aQuestion)
	}
}

// TestClaim checks that only a reply to the box by the device itself counts.
func TestClaim(t *testing.T) {
	t.Parallel()
	answer, err := hex.DecodeString(anAnswer)
	if err != nil {
		t.Fatal(err)
	}
	if addr, mac, ok := claim(answer, device, box); !ok || addr != asked || mac != device {
		t.Errorf("an answer is read as %v, %v, %v", addr, mac, ok)
	}
	if _, _, ok := claim(append(bytes.Clone(answer), make([]byte, 18)...), device, box); !ok { // Ethernet's minimum length
		t.Error("a padded answer is none")
	}
	for n := range answer {
		if _, _, ok := claim(answer[:n], device, box); ok {
			t.Errorf("%d bytes are an answer", n)
		}
	}
	for i := range 8 {
		other := bytes.Clone(answer)
		other[i] ^= 1
		if _, _, ok := claim(other, device, box); ok {
			t.Errorf("with another byte %d it is an answer", i)
		}
	}
	if _, _, ok := claim(answer, netctl.MAC{2, 0, 0, 0, 0, 8}, box); ok {
		t.Error("a device answers for another")
	}
	if _, _, ok := claim(answer, device, asked.Next()); ok {
		t.Error("an answer to somebody else counts")
	}
}

func FuzzClaim(f *testing.F) {
	for _, text := range []string{aQuestion, anAnswer, ""} {
		b, err := hex.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, device[:])
	}
	f.Fuzz(func(t *testing.T, b, from []byte) {
		if len(from) < 6 {
			return
		}
		sender := netctl.MAC(from[:6])
		addr, mac, ok := claim(b, sender, box)
		if ok && (mac != sender || !addr.Is4() || len(b) < size) {
			t.Errorf("%x of %v is an answer for %v by %v", b, sender, addr, mac)
		}
	})
}
