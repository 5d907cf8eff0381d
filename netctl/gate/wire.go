package gate

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// wire is a netlink socket of one family, for the messages that no library builds: ipsets with classes, HTB, and the
// firewall's generation. Conns are safe for concurrent use; the kernel answers each request before it reads the next.
type wire struct{ *netlink.Conn }

func dial(family int) (wire, error) {
	c, err := netlink.Dial(family, nil)
	if err != nil {
		return wire{}, fmt.Errorf("open netlink socket of family %d: %w", family, err)
	}
	// A dump of a thousand classes must fit.
	if err := c.SetReadBuffer(1 << 20); err != nil {
		return wire{}, errors.Join(fmt.Errorf("size netlink socket of family %d: %w", family, err), c.Close())
	}
	return wire{c}, nil
}

// do sends one request and waits for its acknowledgement.
func (w wire) do(kind netlink.HeaderType, flags netlink.HeaderFlags, body []byte) error {
	_, err := w.Execute(netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   body,
	})
	return err
}

// get sends one request and returns the bodies of its answers. A list that was changed while it was read is read again.
func (w wire) get(kind netlink.HeaderType, flags netlink.HeaderFlags, body []byte) (bodies [][]byte, err error) {
	for range 10 {
		replies, err := w.Execute(netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request | flags},
			Data:   body,
		})
		if err != nil {
			return nil, err
		}
		torn := false
		bodies = make([][]byte, len(replies))
		for i, r := range replies {
			bodies[i] = r.Data
			torn = torn || r.Header.Flags&netlink.DumpInterrupted != 0
		}
		if !torn {
			return bodies, nil
		}
	}
	return nil, errors.New("the kernel's list changes faster than it can be read")
}

// attributes encodes netlink attributes behind a fixed header.
func attributes(header []byte, fill func(*netlink.AttributeEncoder)) ([]byte, error) {
	e := netlink.NewAttributeEncoder()
	fill(e)
	b, err := e.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode netlink attributes: %w", err)
	}
	return append(header[:len(header):len(header)], b...), nil
}

// decode calls f for each attribute in b.
func decode(b []byte, f func(*netlink.AttributeDecoder)) error {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return fmt.Errorf("decode netlink attributes: %w", err)
	}
	for d.Next() {
		f(d)
	}
	return d.Err()
}

// netfilterHeader is struct nfgenmsg (include/uapi/linux/netfilter/nfnetlink.h).
func netfilterHeader(family byte) []byte { return []byte{family, 0, 0, 0} }

func isErrno(err error, codes ...unix.Errno) bool {
	for _, c := range codes {
		if errors.Is(err, c) {
			return true
		}
	}
	return false
}
