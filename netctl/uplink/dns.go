package uplink

import (
	"crypto/rand"
	"encoding/binary"
)

// The few pieces of a DNS message (RFC 1035, section 4.1) that a probe needs.
const (
	dnsHeader   = 12     // bytes
	dnsResponse = 0x8000 // flag QR
	dnsRecurse  = 0x0100 // flag RD
	dnsCode     = 0x000f // mask of RCODE
	dnsServFail = 2
	dnsSOA      = 6
	dnsInternet = 1
)

// rootQuery returns a question for the root's SOA, and its number.
func rootQuery() (question []byte, id uint16) {
	id = randomID()
	question = make([]byte, 0, dnsHeader+5)
	for _, word := range []uint16{id, dnsRecurse, 1, 0, 0, 0} {
		question = binary.BigEndian.AppendUint16(question, word)
	}
	question = append(question, 0) // the root's name
	question = binary.BigEndian.AppendUint16(question, dnsSOA)
	question = binary.BigEndian.AppendUint16(question, dnsInternet)
	return question, id
}

func randomID() uint16 {
	var random [2]byte
	rand.Read(random[:]) // never fails
	return binary.BigEndian.Uint16(random[:])
}

// parseReply says what a datagram tells; silent if it isn't the answer.
func parseReply(data []byte, id uint16) verdict {
	if len(data) < dnsHeader || binary.BigEndian.Uint16(data) != id {
		return silent
	}
	switch flags := binary.BigEndian.Uint16(data[2:]); {
	case flags&dnsResponse == 0:
		return silent
	case flags&dnsCode == dnsServFail:
		return stranded
	}
	return answered
}
