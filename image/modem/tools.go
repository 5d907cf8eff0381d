package modem

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// values returns the values of a key in a tool's output, where they are written as "key: 'value'" or "key: value".
func values(text, key string) (all []string) {
	for _, found := range regexp.MustCompile(`(?m)^\s*`+regexp.QuoteMeta(key)+`:[ \t]*'?([^'\r\n]*?)'?\s*$`).FindAllStringSubmatch(text, -1) {
		all = append(all, found[1])
	}
	return all
}

// value returns the first value of a key, "" if there is none.
func value(text, key string) string {
	if all := values(text, key); len(all) > 0 {
		return all[0]
	}
	return ""
}

// addresses parses addresses from a tool's output.
func addresses(texts []string) (all []netip.Addr, err error) {
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// qmi is a modem with Qualcomm's protocol, used through qmicli.
type qmi struct {
	run    func(ctx context.Context, args ...string) (string, error)
	down   func(ctx context.Context) error // sets the interface down
	client string                          // number of the client that has the connection
	handle string                          // of the connection
}

var qmiPIN = regexp.MustCompile(`PIN1 state: '([^']*)'\s+PIN1 retries: '(\d+)'`)

func (q *qmi) sim(ctx context.Context) (s sim, err error) {
	text, err := q.run(ctx, "--uim-get-card-status")
	if err != nil {
		return s, err
	}
	found := qmiPIN.FindStringSubmatch(text)
	if found == nil {
		return s, errors.New("the modem finds no SIM")
	}
	if s.tries, err = strconv.Atoi(found[2]); err != nil {
		return s, err
	}
	switch found[1] {
	case "enabled-not-verified":
		s.asks = true
	case "blocked", "permanently-blocked":
		s.blocked = true
	}
	return s, nil
}

func (q *qmi) verify(ctx context.Context, pin string) error {
	_, err := q.run(ctx, "--uim-verify-pin=PIN1,"+pin)
	return err
}

// connect has modem and kernel use IP packets without Ethernet, which every modem of today can, and starts a connection of
// IPv4, whose client it keeps.
func (q *qmi) connect(ctx context.Context, apn string) (a Address, err error) {
	if err := q.down(ctx); err != nil { // the kernel changes the format only then
		return a, err
	}
	for _, args := range []string{"--set-expected-data-format=raw-ip", "--wda-set-data-format=link-layer-protocol=raw-ip"} {
		if _, err := q.run(ctx, args); err != nil {
			return a, err
		}
	}
	text, err := q.run(ctx, "--wds-start-network=apn="+apn+",ip-type=4", "--client-no-release-cid")
	q.client, q.handle = value(text, "CID"), value(text, "Packet data handle") // a failed command may have allocated them, too
	if err != nil {
		return a, err
	}
	if q.client == "" || q.handle == "" {
		return a, fmt.Errorf("qmicli says neither client nor handle: %q", text)
	}
	if text, err = q.ask(ctx, "--wds-get-current-settings"); err != nil {
		return a, err
	}
	return qmiAddress(text)
}

func qmiAddress(text string) (a Address, err error) {
	all, err := addresses([]string{value(text, "IPv4 address"), value(text, "IPv4 subnet mask"), value(text, "IPv4 gateway address")})
	if err != nil {
		return a, fmt.Errorf("what the network assigned: %w", err)
	}
	bits := 0
	for _, b := range all[1].AsSlice() {
		for ; b&0x80 != 0; b <<= 1 {
			bits++
		}
	}
	a.Address, a.Gateway, a.MTU = netip.PrefixFrom(all[0], bits), all[2], value(text, "MTU")
	a.DNS, err = addresses(append(values(text, "IPv4 primary DNS"), values(text, "IPv4 secondary DNS")...))
	return a, err
}

// ask sends a request as the client that has the connection.
func (q *qmi) ask(ctx context.Context, what string) (string, error) {
	return q.run(ctx, what, "--client-cid="+q.client, "--client-no-release-cid")
}

func (q *qmi) up(ctx context.Context) (bool, error) {
	text, err := q.ask(ctx, "--wds-get-packet-service-status")
	return value(text, "Connection status") == "connected", err
}

// disconnect also releases the client: a modem has only a few.
func (q *qmi) disconnect(ctx context.Context) (err error) {
	switch {
	case q.client == "":
		return nil
	case q.handle == "":
		_, err = q.run(ctx, "--wds-noop", "--client-cid="+q.client)
	default:
		_, err = q.run(ctx, "--wds-stop-network="+q.handle, "--client-cid="+q.client)
	}
	q.client, q.handle = "", ""
	return err
}

// mbim is a modem with the protocol of the USB Implementers Forum, used through mbimcli. A connection lives as long as the device
// stays open. So each command leaves the device open, and the next one continues with its transaction number.
type mbim struct {
	run  func(ctx context.Context, args ...string) (string, error)
	next string // number of the next transaction; "": the device is not open
}

func (m *mbim) ask(ctx context.Context, what string) (string, error) {
	args := []string{what, "--no-close"}
	if m.next != "" {
		args = append(args, "--no-open="+m.next)
	}
	text, err := m.run(ctx, args...)
	m.next = value(text, "TRID")
	return text, err
}

func (m *mbim) sim(ctx context.Context) (s sim, err error) {
	text, err := m.ask(ctx, "--query-pin-state")
	if err != nil {
		return s, err
	}
	switch state, kind := value(text, "PIN state"), value(text, "PIN type"); {
	case state == "unlocked":
	case state == "locked" && kind == "pin1":
		s.asks = true
		s.tries, err = strconv.Atoi(value(text, "Remaining attempts"))
	case state == "locked" && kind == "puk1":
		s.blocked = true
	default:
		err = fmt.Errorf("the modem asks for something else than the SIM's PIN: %q", text)
	}
	return s, err
}

func (m *mbim) verify(ctx context.Context, pin string) error {
	_, err := m.ask(ctx, "--enter-pin="+pin)
	return err
}

func (m *mbim) connect(ctx context.Context, apn string) (a Address, err error) {
	if _, err := m.ask(ctx, "--attach-packet-service"); err != nil {
		return a, err
	}
	text, err := m.ask(ctx, "--connect=apn="+apn+",ip-type=ipv4")
	if err != nil {
		return a, err
	}
	return mbimAddress(text)
}

func mbimAddress(text string) (a Address, err error) {
	text, _, _ = strings.Cut(text, "IPv6 configuration available")
	if a.Address, err = netip.ParsePrefix(value(text, "IP [0]")); err != nil {
		return a, fmt.Errorf("what the network assigned: %w", err)
	}
	if gateway := value(text, "Gateway"); gateway != "" {
		if a.Gateway, err = netip.ParseAddr(gateway); err != nil {
			return a, fmt.Errorf("what the network assigned: %w", err)
		}
	}
	a.MTU = value(text, "MTU")
	a.DNS, err = addresses(append(values(text, "DNS [0]"), values(text, "DNS [1]")...))
	return a, err
}

func (m *mbim) up(ctx context.Context) (bool, error) {
	text, err := m.ask(ctx, "--query-connection-state")
	return value(text, "Activation state") == "activated", err
}

// disconnect closes the device, which ends its connection.
func (m *mbim) disconnect(ctx context.Context) error {
	args := []string{"--disconnect"}
	if m.next != "" {
		args = append(args, "--no-open="+m.next)
	}
	m.next = ""
	_, err := m.run(ctx, args...)
	return err
}
