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

// webBytes are read of an answer: of a portal's, the head alone may have 1 kB.
const webBytes = 4 << 10

// Page is a page of plain http that tells whether a sign-in page stands before the web.
type Page struct {
	Host string // a name
	Path string
	Text string // what the page says, but for space around it; "": nothing, with status 204
}

// Pages are the well-known ones that a Prober asks for, each only if those before it haven't shown the web. They were
// made for just this question, say a few bytes to everybody, and are kept up for every Firefox (its setting
// network.connectivity-service.IPv4.url) and every GNOME desktop (uri in NetworkManager.conf(5), section connectivity):
// two, because no line may be called shut for what became of one server, while the other answers.
var Pages = []Page{
	{Host: "detectportal.firefox.com", Path: "/success.txt?ipv4", Text: "success"},
	{Host: "nmcheck.gnome.org", Path: "/check_network_status.txt", Text: "NetworkManager is online"},
}

// sight is what the web looks like through an uplink, the best of several last.
type sight int

const (
	unseen sight = iota // no answer that tells anything
	portal              // another page came instead of the right one
	open                // a page was what it should be
)

// load asks an address for a page, through the device and nothing else, and tells whether a connection got through.
func (p *Prober) load(ctx context.Context, device string, addr netip.Addr, page Page) (seen sight, tcp bool, used names.Traffic) {
	conn, err := p.opt.Dial(ctx, "tcp4", device, netip.AddrPortFrom(addr, 80))
	if err != nil {
		return unseen, false, names.Traffic{Sent: unanswered}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	seen = page.judge(conn)
	return seen, true, spentOn(conn)
}

// reach tells whether a connection gets through.
func (p *Prober) reach(ctx context.Context, device string, to netip.AddrPort) (tcp bool, used names.Traffic) {
	conn, err := p.opt.Dial(ctx, "tcp4", device, to)
	if err != nil {
		return false, names.Traffic{Sent: unanswered}
	}
	defer conn.Close()
	return true, spentOn(conn)
}

// judge asks for the page and says what the answer means.
func (page Page) judge(conn io.ReadWriter) sight {
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
			return unseen // cut short
		}
		return portal // a part of another page is enough
	case code == http.StatusOK, code/100 == 3, code == http.StatusNetworkAuthenticationRequired: // RFC 6585, section 6
		return portal
	}
	return unseen // a server in trouble, or a filter that forbids the page
}

// segment is the length of an empty TCP segment with the option of timestamps, IPv4 header included, in bytes. A connection
// that nobody answers takes three of 60 in the time that is waited for it, by the kernel's count (tcp(7), tcp_syn_retries).
const (
	segment    = 20 + 20 + 12
	unanswered = 3 * 60
)

// spentOn returns what a TCP connection has taken so far, in bytes, headers included, and the two segments each way that
// close it.
func spentOn(conn net.Conn) (t names.Traffic) {
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
