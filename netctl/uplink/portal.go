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

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// When the web is asked whether a sign-in page stands before it (a hotel's, an operator's, another box's).
const (
	webPeriod    = time.Hour       // while it leads where it should: sign-ins expire
	portalPeriod = 2 * time.Minute // while a sign-in is asked for: somebody may have seen to it
	webLimit     = 4 * time.Second // for a page, its host's address included
	webBytes     = 4 << 10         // of an answer that are read: of a portal's, the head alone may have 1 kB
)

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

// sight is what the web looks like through an uplink.
type sight int

const (
	unseen sight = iota // no answer that tells anything: that is no portal yet
	open                // a page was what it should be
	portal              // other pages came instead of the right ones
)

// webDue returns when the web should be asked next; the zero time if it never was. Prober.mu is held.
func (u *probed) webDue() time.Time {
	switch {
	case u.webAsked.IsZero():
		return time.Time{}
	case u.portal:
		return u.webAsked.Add(portalPeriod)
	}
	return u.webAsked.Add(webPeriod)
}

// look asks for pages until one is what it should be.
func (p *Prober) look(ctx context.Context, device string, resolver netip.Addr) (seen sight, used traffic) {
	for _, page := range p.opt.Pages {
		s, t := p.fetch(ctx, device, resolver, page)
		used.add(t)
		if s == open {
			return open, used
		}
		seen = max(seen, s)
	}
	return seen, used
}

// fetch asks for one page, and for its host's address first, through the device and nothing else.
func (p *Prober) fetch(ctx context.Context, device string, resolver netip.Addr, page Page) (seen sight, used traffic) {
	ctx, cancel := context.WithTimeout(ctx, webLimit)
	defer cancel()
	question, id, err := addressQuery(page.Host)
	if err != nil {
		return unseen, used
	}
	var addr netip.Addr
	used = p.exchange(ctx, device, resolver, question, func(data []byte) bool {
		if parseReply(data, id) == silent {
			return false
		}
		addr = parseAddress(data)
		return true
	})
	if !addr.IsValid() {
		return unseen, used
	}
	conn, err := p.opt.Dial(ctx, "tcp4", device, netip.AddrPortFrom(addr, 80))
	if err != nil {
		used.sent += segment // at least: nobody answered
		return unseen, used
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	seen = page.judge(conn)
	used.add(spentOn(conn))
	return seen, used
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

// segment is the length of an empty TCP segment with the option of timestamps, IPv4 header included, in bytes.
const segment = 20 + 20 + 12

// spentOn returns what a TCP connection has taken so far, in bytes, headers included, and the two segments each way that
// close it.
func spentOn(conn net.Conn) (t traffic) {
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
			t.sent = info.Bytes_sent + uint64(info.Segs_out+2)*segment
			t.received = info.Bytes_received + uint64(info.Segs_in+2)*segment
		}
	})
	return t
}

// addressQuery returns a question for a host's IPv4 addresses, and its number.
func addressQuery(host string) (question []byte, id uint16, err error) {
	id = randomID()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := b.StartQuestions(); err != nil {
		return nil, 0, err
	}
	name, err := dnsmessage.NewName(host + ".")
	if err != nil {
		return nil, 0, err
	}
	if err := b.Question(dnsmessage.Question{
		Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
	}); err != nil {
		return nil, 0, err
	}
	question, err = b.Finish()
	return question, id, err
}

// parseAddress returns the first IPv4 address of an answer, not valid if there is none.
func parseAddress(data []byte) netip.Addr {
	var p dnsmessage.Parser
	if _, err := p.Start(data); err != nil || p.SkipAllQuestions() != nil {
		return netip.Addr{}
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return netip.Addr{}
		}
		if h.Type == dnsmessage.TypeA {
			if a, err := p.AResource(); err == nil {
				return netip.AddrFrom4(a.A)
			}
			return netip.Addr{}
		}
		if p.SkipAnswer() != nil {
			return netip.Addr{}
		}
	}
}
