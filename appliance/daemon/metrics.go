package daemon

import (
	"net"
	"net/http"
	"net/netip"
	"slices"

	"passerelle/appliance/metrics"
	"passerelle/appliance/state"
	"passerelle/captive/web"
)

const metricsPath = "/metrics"

// withMetrics adds the metrics to the pages. They are served only on the networks of the connections, to addresses that the
// configuration allows; for others the path does not exist. A change of the configuration takes effect at once.
func (d *Daemon) withMetrics(pages http.Handler) http.Handler {
	all := metrics.Handler(metrics.Source{Release: d.release, Status: d.metricsStatus, Disk: d.metricsDisk, Log: d.log})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != metricsPath || r.Method != http.MethodGet || !d.mayReadMetrics(r) {
			pages.ServeHTTP(w, r)
			return
		}
		web.Yield(r)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		all.ServeHTTP(w, r)
	})
}

// mayReadMetrics tells whether a request comes over a line, from an allowed address, to the box's address on that line.
func (d *Daemon) mayReadMetrics(r *http.Request) bool {
	c := d.box.Config()
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok || !c.Metrics.Enabled {
		return false
	}
	to, err := netip.ParseAddrPort(local.String())
	from, fromErr := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || fromErr != nil || c.Hotspot.Address.Contains(to.Addr().Unmap()) ||
		!web.IsOwnHost(r, "443", to.Addr().Unmap().String(), c.Box.Hostname) {
		return false
	}
	return slices.ContainsFunc(c.Metrics.Allow, func(p netip.Prefix) bool { return p.Contains(from.Addr().Unmap()) })
}

// metricsStatus returns the status, with the parts that the loop does not know.
func (d *Daemon) metricsStatus() state.Status {
	s := d.status()
	s.Downloads, s.Slots = d.fetcher.Status(), d.card.status()
	return s
}

func (d *Daemon) metricsDisk() metrics.Disk {
	disk := d.disk()
	return metrics.Disk{Free: disk.Free, Size: disk.Total}
}
