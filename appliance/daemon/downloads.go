package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/fetch"
	"passerelle/appliance/state"
	"passerelle/captive/places/directory"
	"passerelle/captive/voice/agenda"
	"passerelle/netctl/uplink"
)

// downloadsFile is the file in the state folder that remembers downloads.
const downloadsFile = "fetch.json"

// importer imports a downloaded file into a share's folder.
type importer struct {
	share string // by its name
	// accept imports a file into the folder, and returns a text that says what it imported. from is the server's name.
	accept func(ctx context.Context, folder, from string, file io.Reader) (result string, err error)
	have   func(folder string) bool // whether what accept imported last is still there
}

// importers are the importers of downloaded files, by the section of the configuration that has their address.
var importers = map[string]importer{
	"places": {share: "places", accept: importPlaces, have: havePlaces},
	"agenda": {share: "voice", accept: importAgenda, have: haveAgenda},
}

// Names of the list of places and of the calendar that the box downloads.
const (
	ownList     = "national"
	ownCalendar = "downloaded"
)

func importPlaces(ctx context.Context, folder, from string, file io.Reader) (string, error) {
	i := directory.Importer{Dir: folder, Now: time.Now}
	report, err := i.Read(ctx, file, -1, from, ownList)
	if errors.Is(err, directory.ErrFewer) {
		err = fmt.Errorf("%w; if that is right: passerelle places remove %s, then passerelle places fetch", err, ownList)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d places", report.Places), nil
}

func havePlaces(folder string) bool {
	d, _ := directory.Open(folder) // a broken list is downloaded again
	defer d.Close()
	return slices.ContainsFunc(d.Lists(), func(l directory.List) bool { return l.Name == ownList })
}

func importAgenda(_ context.Context, folder, _ string, file io.Reader) (string, error) {
	report, err := agenda.Store{Dir: folder}.Import(file, ownCalendar, "")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d events", report.Events), nil
}

func haveAgenda(folder string) bool {
	all, _ := agenda.Store{Dir: folder}.Calendars() // a broken one is downloaded again
	return slices.ContainsFunc(all, func(c agenda.Calendar) bool { return c.Name == ownCalendar && c.Events > 0 })
}

// newFetcher returns the box's own downloads.
func (d *Daemon) newFetcher() *fetch.Fetcher {
	return fetch.New(fetch.Options{
		Log: d.log, Path: filepath.Join(d.state, downloadsFile), Jobs: d.jobs, Dial: uplink.DialDevice,
		Situation: func() fetch.Situation { return situation(d.box.Status(), d.box.Config()) },
	})
}

// jobs returns the files to download, as configured.
func (d *Daemon) jobs() (all []fetch.Job) {
	c := d.box.Config()
	for _, x := range []struct{ name, url string }{{"places", c.Places.URL}, {"agenda", c.Agenda.URL}} {
		i, ok := importers[x.name]
		if x.url == "" || !ok {
			continue
		}
		folder, from := Content(d.state, i.share), fetch.Host(x.url)
		all = append(all, fetch.Job{
			Name: x.name, URL: x.url, Every: fetch.Week, Have: func() bool { return i.have(folder) },
			Accept: func(ctx context.Context, file io.Reader) (string, error) {
				result, err := i.accept(ctx, folder, from, file)
				if err != nil {
					return "", err
				}
				return result, d.portal.Refresh(i.share)
			},
		})
	}
	if j, ok := d.releases.job(); ok {
		all = append(all, j)
	}
	return all
}

// situation returns the conditions of downloads: they use the line that residents use, and only while the box shares.
func situation(s state.Status, c *config.Config) fetch.Situation {
	out := fetch.Situation{Now: s.Clock.Now, Trusted: s.Clock.Trusted, Why: fmt.Sprintf("nothing is shared now (%s: %s)", s.State, s.Why)}
	if s.State != state.Sharing {
		return out
	}
	for i, d := range s.Donations {
		if d.Chosen && d.Ifname != "" {
			out.Line = lineFor(d, c, i)
		}
	}
	return out
}

// lineFor returns the line of the donation d, which has index i in the status.
func lineFor(d state.Donation, c *config.Config, i int) *fetch.Line {
	line := &fetch.Line{Donation: d.Name, Interface: d.Ifname, Allowance: fetch.Unlimited, Period: d.PeriodStart}
	if d.Cap != 0 {
		line.Allowance = d.OwnUse
	}
	if i < len(c.Donations) && c.Donations[i].Name == d.Name { // else the configuration has just changed
		line.Rate = uint64(c.Donations[i].Download)
	}
	for _, text := range d.Servers {
		if a, err := netip.ParseAddr(text); err == nil {
			line.Servers = append(line.Servers, a)
		}
	}
	return line
}
