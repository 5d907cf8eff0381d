package demo

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"syscall"
	"time"

	"passerelle/netctl/netlab"
)

// briefly bounds the wait for one page.
const briefly = 5 * time.Second

// everywhere is the default route's prefix.
var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

func single(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

// get fetches a page.
func (s *environment) get(ctx context.Context, h *netlab.Host, url string) (netlab.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, briefly)
	defer cancel()
	return h.Get(ctx, url)
}

// admit presses the button for a person.
func (s *environment) admit(ctx context.Context, p person) error {
	ctx, cancel := context.WithTimeout(ctx, briefly)
	defer cancel()
	reply, err := p.Post(ctx, s.portal()+"/session", strings.NewReader(""))
	if err == nil && reply.Status != http.StatusSeeOther {
		err = fmt.Errorf("the button's answer is %d with the page “%s”", reply.Status, title(reply.Body))
	}
	return err
}

// online checks that the internet answers a person.
func (s *environment) online(ctx context.Context, p person) error {
	reply, err := s.get(ctx, p.Host, internetPage)
	if err == nil && reply.Body != netlab.InternetPage {
		err = fmt.Errorf("%s is online, but gets %d: %.60q", p.name, reply.Status, reply.Body)
	}
	return err
}

// weighed is a page as sent over the network.
type weighed struct {
	title  string
	weight int // bytes, HTTP headers included
	took   time.Duration
}

// weigh fetches the first page compressed, as a phone does.
func weigh(ctx context.Context, p person, box netip.Addr) (weighed, error) {
	ctx, cancel := context.WithTimeout(ctx, briefly)
	defer cancel()
	start := time.Now()
	conn, err := p.Dial(ctx, "tcp", netip.AddrPortFrom(box, 80).String())
	if err != nil {
		return weighed{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n"+
		"Accept-Language: en\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n", box)
	raw, err := io.ReadAll(conn)
	if err != nil {
		return weighed{}, fmt.Errorf("read the first page: %w", err)
	}
	w := weighed{weight: len(raw), took: time.Since(start)}
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
	if err != nil {
		return weighed{}, fmt.Errorf("read the first page: %w", err)
	}
	defer response.Body.Close()
	body := io.Reader(response.Body)
	if response.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			return weighed{}, fmt.Errorf("unpack the first page: %w", err)
		}
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return weighed{}, fmt.Errorf("unpack the first page: %w", err)
	}
	w.title = title(string(text))
	return w, nil
}

var titleTag = regexp.MustCompile(`<title>(.*?)</title>`)

// title returns a page's title.
func title(page string) string {
	if m := titleTag.FindStringSubmatch(page); m != nil {
		return html.UnescapeString(m[1])
	}
	return "(without a title)"
}

// knock tries a connection that must fail, and returns how it failed. A timeout is accepted only if silence is true.
func knock(ctx context.Context, p person, network, address string, silence bool) (how string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	start := time.Now()
	conn, err := p.Dial(ctx, network, address)
	if err == nil && network == "udp" {
		defer conn.Close()
		if _, err = conn.Write([]byte("knock")); err == nil {
			deadline, _ := ctx.Deadline()
			conn.SetReadDeadline(deadline)
			_, err = conn.Read(make([]byte, 16))
		}
	}
	var timeout net.Error
	switch after := formatDuration(time.Since(start)); {
	case err == nil:
		return "", fmt.Errorf("%s reached %s %s, which must be blocked", p.name, network, address)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused after " + after, nil
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EACCES):
		return "unreachable after " + after, nil
	case errors.As(err, &timeout) && timeout.Timeout():
		if silence {
			return "no answer within " + after, nil
		}
		return "", fmt.Errorf("%s %s timed out after %s instead of being refused", network, address, after)
	}
	return "", err
}
