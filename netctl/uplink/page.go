package uplink

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/netctl/names"
)

// webBytes is how many bytes of an answer are read: a portal's header alone may have 1 kB.
const webBytes = 4 << 10

// Page is a page over plain HTTP for the detection of captive portals.
type Page struct {
	Host string // a name
	Path string
	Text string // the body without surrounding space; "": none, with status 204
}

// Pages are the well-known pages that a Prober requests, each only if those before it did not answer correctly. They exist for
// this purpose, have a few bytes, and are maintained for every Firefox (its setting network.connectivity-service.IPv4.url) and
// every GNOME desktop (uri in NetworkManager.conf(5), section connectivity). There are two, so that an outage of one server
// does not disable a line.
var Pages = []Page{
	{Host: "detectportal.firefox.com", Path: "/success.txt?ipv4", Text: "success"},
	{Host: "nmcheck.gnome.org", Path: "/check_network_status.txt", Text: "NetworkManager is online"},
}

// checkResult is the result of a connectivity check, from worst to best.
type checkResult int

const (
	unseen checkResult = iota // no conclusive answer
	portal                    // another page instead of the right one
	open                      // the right page
)

// load requests a page from an address through the device only, and tells whether a connection was established.
func (p *Prober) load(ctx context.Context, device string, addr netip.Addr, page Page) (seen checkResult, tcp bool, used names.Traffic) {
	conn, err := p.opt.Dial(ctx, "tcp4", device, netip.AddrPortFrom(addr, 80))
	if err != nil {
		return unseen, false, names.Traffic{Sent: unanswered}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	seen = page.judge(conn)
	return seen, true, tcpTraffic(conn)
}

// reach tells whether a connection is established.
func (p *Prober) reach(ctx context.Context, device string, to netip.AddrPort) (tcp bool, used names.Traffic) {
	conn, err := p.opt.Dial(ctx, "tcp4", device, to)
	if err != nil {
		return false, names.Traffic{Sent: unanswered}
	}
	defer conn.Close()
	return true, tcpTraffic(conn)
}

// judge requests the page and classifies the answer.
func (page Page) judge(conn io.ReadWriter) checkResult {
	request := "GET " + page.Path + " HTTP/1.1\r\nHost: " + page.Host +
		"\r\nUser-Agent: passerelle\r\nConnection: close\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return unseen
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, webBytes)), nil)
	if err != nil {
		return unseen
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusNoContent && page.Text == "":
		return open
	case code == http.StatusOK && page.Text != "":
		body, err := io.ReadAll(resp.Body)
		text := strings.TrimSpace(string(body))
		switch {
		case text == page.Text:
			return open
		case err != nil && strings.HasPrefix(page.Text, text):
			return unseen // truncated
		}
		return portal // even the start of another page is conclusive
	case code == http.StatusOK, code/100 == 3, code == http.StatusNetworkAuthenticationRequired: // RFC 6585, section 6
		return portal
	}
	return unseen // a server error, or a filter that blocks the page
}

// segment is the length of an empty TCP segment with timestamps, IPv4 header included, in bytes. A connection without an answer
// sends three of 60 bytes within the timeout (tcp(7), tcp_syn_retries).
const (
	segment    = 20 + 20 + 12
	unanswered = 3 * 60
)

// tcpTraffic returns the bytes of a TCP connection so far, headers included, plus the two segments each way that close it.
func tcpTraffic(conn net.Conn) (t names.Traffic) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return t
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return t
	}
	raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			t.Sent = info.Bytes_sent + uint64(info.Segs_out+2)*segment
			t.Received = info.Bytes_received + uint64(info.Segs_in+2)*segment
		}
	})
	return t
}
