package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// service is a public service in the walled garden.
const service = "service.example"

func (s *environment) plugPhone(ctx context.Context) (string, error) {
	before, err := s.daemon.Status(ctx)
	if err != nil {
		return "", err
	}
	start := time.Now()
	if err := s.Lenders[card].Plug(); err != nil {
		return "", err
	}
	if _, err := s.reach(ctx, state.Sharing); err != nil {
		return "", err
	}
	seen := fmt.Sprintf("sharing again after %s, over her phone", formatDuration(time.Since(start)))
	flows, err := s.waitForTraffic(ctx)
	if err != nil {
		return seen, err
	}
	if err := s.Lenders[fibre].LAN.Restore(); err != nil {
		return seen, err
	}
	err = s.until(ctx, func() error {
		status, err := s.daemon.Status(ctx)
		if err == nil && !status.Donations[fibre].Works {
			err = errors.New(status.Donations[fibre].Why)
		}
		return err
	})
	if err != nil {
		return seen, err
	}
	after, err := s.sameSessions(ctx, before)
	if err != nil {
		return seen, err
	}
	seen = lines(seen, after, flows)
	if err := s.inUse(ctx, card); err != nil {
		return seen, err
	}
	return lines(seen, "the fibre's cable is plugged in again; the card has priority 1 and stays in use"), nil
}

// inUse checks that a donation is in use.
func (s *environment) inUse(ctx context.Context, donation int) error {
	status, err := s.daemon.Status(ctx)
	if err == nil && !status.Donations[donation].Chosen {
		err = fmt.Errorf("%q is not in use; the box is %s: %s", status.Donations[donation].Name, status.State, status.Why)
	}
	return err
}

// spend uses up the card's cap.
func (s *environment) spend(ctx context.Context) (string, error) {
	before, err := s.daemon.Status(ctx)
	if err != nil {
		return "", err
	}
	bulk := netlab.Bulk{From: s.bruno.Host, To: s.Internet.Host, Addr: netlab.WebAddr, Reverse: true}
	brunos, err := bulk.Start(ctx)
	if err != nil {
		return "", err
	}
	defer brunos.Stop() // the change of uplink broke it
	var status state.Status
	start := time.Now()
	err = s.until(ctx, func() (err error) {
		if status, err = s.daemon.Status(ctx); err != nil {
			return err
		}
		s.showCap(status.Donations[card], s.rate(s.aminas()), s.rate(flow{"Bruno", brunos}))
		if !status.Donations[fibre].Chosen {
			return fmt.Errorf("no failover to the fibre: the box is %s: %s", status.State, status.Why)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	spent := formatDuration(time.Since(start))
	flows, err := s.waitForTraffic(ctx)
	if err != nil {
		return "", err
	}
	// The kernel's interface counters are independent of the box's ledger.
	rx, tx, err := s.Box.Counters(s.Lenders[card].Interface)
	if err != nil {
		return "", err
	}
	d, carried := status.Donations[card], rx+tx
	if general := d.Cap - d.Reserve; carried > general {
		return "", fmt.Errorf("the card's interface carried %d bytes, more than the %d before its reserve", carried, general)
	}
	seen := fmt.Sprintf("spent after %s: its interface carried %s, which is %s less the reserve and the margin",
		spent, megabytes(carried), s.conf.Donations[card].Cap)
	after, err := s.sameSessions(ctx, before)
	if err != nil {
		return seen, err
	}
	return lines(seen, "failover to the fibre: "+after, flows), nil
}

// showCap draws a donation's balance, and other bars below it.
func (s *environment) showCap(d state.Donation, others ...bar) {
	left, granted := d.Split()
	words, whole := "MB:", bar{label: "card", says: megabytes(d.Cap)}
	for _, x := range []struct {
		name, glyph, colour string
		bytes               uint64
	}{
		{"used", solid, "36", d.Used}, {"granted", "▓", "33", granted},
		{"left", "▒", "32", left}, {"reserve", "▚", "35", d.Reserve},
		{"margin", blank, dim, d.Cap - min(d.Cap, d.Used+granted+left+d.Reserve)},
	} {
		words += fmt.Sprintf("  %s %.1f %s", s.screen.paint(x.colour, x.glyph), float64(x.bytes)/1e6, x.name)
		whole.parts = append(whole.parts, part{float64(x.bytes) / float64(d.Cap), x.glyph, x.colour})
	}
	s.screen.draw(words, time.Second, append([]bar{whole}, others...)...)
}

// pauseLoan opens the link of the fibre's lender as she does, and presses the button on her page.
func (s *environment) pauseLoan(ctx context.Context) (string, error) {
	said, err := s.daemon.Do(ctx, "lender", s.conf.Donations[fibre].Name)
	if err != nil {
		return "", err
	}
	s.link, _, _ = strings.Cut(said, "\n")
	joining, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	if _, err := s.elise.Join(joining); err != nil {
		return "", err
	}
	if err := s.trustBox(ctx); err != nil {
		return "", err
	}
	page, err := s.lenders(ctx, http.MethodGet, s.link, http.StatusOK)
	if err != nil {
		return "", err
	}
	seen := lines("passerelle lender prints this link, and its QR code:  "+s.link,
		fmt.Sprintf("page over https with the box's own certificate: “%s”", title(page)))
	if _, err := s.lenders(ctx, http.MethodPost, s.link+"/pause", http.StatusSeeOther); err != nil {
		return seen, err
	}
	status, err := s.reach(ctx, state.Exhausted)
	if err != nil {
		return seen, err
	}
	return lines(seen, "she presses pause; only the card's reserve is left",
		fmt.Sprintf("%s: %s", status.State, status.Why)), nil
}

// lenders requests a lender's page as her phone does, which already trusts the box's certificate.
func (s *environment) lenders(ctx context.Context, method, page string, want int) (body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, briefly)
	defer cancel()
	client := s.elise.HTTPClient()
	defer client.CloseIdleConnections()
	client.Transport.(*http.Transport).TLSClientConfig = s.trust
	q, err := http.NewRequestWithContext(ctx, method, page, nil)
	if err != nil {
		return "", err
	}
	q.Header.Set("Accept-Language", "en")
	reply, err := client.Do(q)
	if err != nil {
		return "", fmt.Errorf("the lender's page: %w", err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != want {
		err = fmt.Errorf("the lender's page answers %d, not %d: “%s”", reply.StatusCode, want, title(string(text)))
	}
	return string(text), err
}

// trustBox stores the box's certificate, as a browser does when its user accepts it.
func (s *environment) trustBox(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, briefly)
	defer cancel()
	conn, err := s.elise.Dial(ctx, "tcp", net.JoinHostPort(s.conf.Box.Hostname, "443"))
	if err != nil {
		return err
	}
	secure := tls.Client(conn, &tls.Config{ServerName: s.conf.Box.Hostname, InsecureSkipVerify: true})
	defer secure.Close()
	if err := secure.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("read the box's certificate: %w", err)
	}
	s.trust = &tls.Config{RootCAs: x509.NewCertPool()}
	s.trust.RootCAs.AddCert(secure.ConnectionState().PeerCertificates[0])
	return nil
}

// needService requests a public service while only a reserve is left.
func (s *environment) needService(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	if _, err := s.david.Join(ctx); err != nil {
		return "", err
	}
	closed := func(p person) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			how, err := knock(ctx, p, "tcp", netlab.WebAddr.String()+":443", false)
			return fmt.Sprintf("another site, for %s: %s", p.name, how), err
		}
	}
	seen, err := parallel(ctx, s.serves(s.david), s.serves(s.amina), closed(s.david), closed(s.amina))
	if err != nil {
		return seen, err
	}
	status, err := s.daemon.Status(ctx)
	if err != nil {
		return seen, err
	}
	d := status.Donations[card]
	if !d.Essential {
		return seen, fmt.Errorf("the card does not serve essential services; the box is %s: %s", status.State, status.Why)
	}
	s.showCap(d)
	return lines(seen, fmt.Sprintf("%s of the reserve are left for essential services", megabytes(d.Reserve))), nil
}

// serves checks that the public service answers a person.
func (s *environment) serves(p person) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		start := time.Now()
		err := s.until(ctx, func() error { // DNS has only just switched to the card's uplink
			reply, err := s.get(ctx, p.Host, "http://"+service+":443/")
			if err == nil && reply.Status != http.StatusOK {
				err = fmt.Errorf("%s gets %d from %s", p.name, reply.Status, service)
			}
			return err
		})
		return fmt.Sprintf("%s answers %s on port 443, after %s", service, p.name, formatDuration(time.Since(start))), err
	}
}

// resumeLoan presses the button on the fibre's lender's page again.
func (s *environment) resumeLoan(ctx context.Context) (string, error) {
	before, err := s.daemon.Status(ctx)
	if err != nil {
		return "", err
	}
	if _, err := s.lenders(ctx, http.MethodPost, s.link+"/resume", http.StatusSeeOther); err != nil {
		return "", err
	}
	if _, err := s.reach(ctx, state.Sharing); err != nil {
		return "", err
	}
	flows, err := s.waitForTraffic(ctx)
	if err != nil {
		return "", err
	}
	if err := s.inUse(ctx, fibre); err != nil {
		return "", err
	}
	after, err := s.sameSessions(ctx, before)
	if err != nil {
		return "", err
	}
	return lines("sharing: "+after, flows), nil
}
