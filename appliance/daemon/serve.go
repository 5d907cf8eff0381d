package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/appliance/plan"
	"passerelle/captive/admin"
	"passerelle/captive/web"
)

// certificateFile is the file of the certificate and its key in the state folder.
const certificateFile = "https.pem"

// serveSecure serves the lenders' and technicians' pages over HTTPS, and the technicians' pages also on the lines' networks.
func (d *Daemon) serveSecure(ctx context.Context, tokens accountStore, wired *wiredSide) error {
	l, err := d.listen(ctx, plan.PortSecure)
	if err != nil {
		return fmt.Errorf("serve lenders' pages: %w", err)
	}
	pages := admin.New(admin.Parts{
		Box: d.box, Loans: loans{d.box, d}, Tokens: tokens, Logins: d.logins, Configuration: configuration{d.updater}, Journal: d.journal,
		Access: d.access, Fingerprint: d.fingerprint,
		Day: d.day, Refusals: d.refusals.All, Months: d.months.All, Disk: d.disk, Lists: newLists(Content(d.state, "places")).get,
		Machine: d.machine, Content: d.content(), Doctor: d, Offers: d.offers, Backups: technicianBackups{d}, Updates: d.releases, Fleet: technicianFleet{d},
		Nearby: nearby{d.machine.reader.Interfaces, openHearer, d.box.Config}, Known: tokens.Known,
		SetupDir: d.setupDir(), Now: time.Now, Log: d.log,
	})
	protect := func(l net.Listener) net.Listener { return tls.NewListener(web.Limit(l, d.slots), d.certificate.TLS()) }
	server := web.NewServer(d.withMetrics(pages), d.log)
	var tasks errgroup.Group
	tasks.Go(func() error { return wired.serve(ctx, server, protect) })
	err = serve(ctx, server, protect(l))
	return errors.Join(err, tasks.Wait())
}

// newCertificate returns the box's certificate. It needs d.box.
func (d *Daemon) newCertificate() *web.Certificate {
	return &web.Certificate{Path: filepath.Join(d.state, certificateFile), Site: d.certificateNames, Now: time.Now, Log: d.log}
}

// fingerprint returns the fingerprint of the box's certificate, "" if there is none.
func (d *Daemon) fingerprint() string {
	f, err := d.certificate.Fingerprint()
	if err != nil {
		d.log.Error("the box's certificate", "error", err)
	}
	return f
}

// access returns from where technicians may use their pages.
func (d *Daemon) access() config.Access { return d.box.Config().Admin.Access }

// certificateNames returns the names in the box's certificate.
func (d *Daemon) certificateNames() (hostname string, address netip.Addr) {
	s := d.box.Site()
	return s.Hostname, s.Address
}

// servePages serves the residents' pages.
func (d *Daemon) servePages(ctx context.Context) error {
	l, err := d.listen(ctx, plan.PortPortal)
	if err != nil {
		return fmt.Errorf("serve residents' pages: %w", err)
	}
	return serve(ctx, d.portal.HTTPServer(), web.Limit(l, d.slots))
}

// listen listens on the box's address. The address need not exist yet (IP_FREEBIND), and the listener outlives the interface.
func (d *Daemon) listen(ctx context.Context, port uint16) (net.Listener, error) {
	free := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		ctlErr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) })
		return errors.Join(ctlErr, err)
	}}
	return free.Listen(ctx, "tcp4", netip.AddrPortFrom(d.config.Hotspot.Address.Addr(), port).String())
}

// serve serves until ctx ends, then waits up to a second for running requests.
func serve(ctx context.Context, s *http.Server, l net.Listener) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := s.Shutdown(grace); err != nil {
			stopped <- s.Close()
			return
		}
		stopped <- nil
	})
	err := s.Serve(l)
	if stop() { // Serve returned before ctx ended
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return <-stopped
}
