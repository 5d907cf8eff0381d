package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	fleetcommand "passerelle/appliance/fleet/command"
	"passerelle/appliance/fleet/updates"
	"passerelle/appliance/state"
	"passerelle/cmd/internal/box"
	"passerelle/netctl/netlab"
)

func (d *demo) story() story {
	return story{
		{"Three hubs of three associations start", d.startHubs},
		{"Two centres' boxes share a line, and ask for their membership with a sticker's code", together(inTurn(d.enrolBoxes, d.sign), d.makeStickers)},
		{fmt.Sprintf("%d more boxes enrol. A limit is lowered for one association, lessons are handed out, a release goes to one box of a hundred",
			len(d.crowd.boxes)),
			together(d.enrolCrowd, d.handOut)},
		{"An association moves to another region. Releases are forged. The release goes out to one box of ten, and to all",
			together(inTurn(d.moveOne, d.forge), d.raise)},
		{"Nothing happens at the hubs", d.rest},
		{"A release that does not work goes to one box of a hundred", d.takeBadRelease},
		{"A box is stolen, and revoked", d.steal},
		{"The day's reports arrive; a box starts the bad release", together(d.reportDay, d.startBadRelease)},
		{"A hub is killed, and the fleet goes on; the hub comes back", d.loseHub},
		{"The fleet pauses a box, and who stands there wins. The box that started the bad release goes back", together(d.pause, d.goBack)},
		{"All hubs are killed; residents notice nothing", d.loseAll},
		{"All hubs come back, and all boxes at once. Of all reports none is lost", d.storm},
	}
}

func (d *demo) startHubs(ctx context.Context) ([]string, error) {
	start := time.Now()
	if err := d.hubs.Start(0, 1, 2); err != nil {
		return nil, err
	}
	if err := d.hubs.open(ctx); err != nil {
		return nil, errors.Join(err, errors.New(d.hubs.Procs[0].Output()))
	}
	if _, err := d.hubs.inStep(ctx); err != nil {
		return nil, err
	}
	up := time.Since(start)
	if err := errors.Join(d.hubs.association(ctx, "lilas", "nord"), d.hubs.association(ctx, "roses", "nord")); err != nil {
		return nil, err
	}
	var err error
	d.code, err = d.hubs.Desk.AddPerson(ctx, "Ana", "Ana", "")
	return []string{fmt.Sprintf("they have found each other, and each stream is on all three, after %s", seconds(up))}, err
}

func (d *demo) enrolBoxes(ctx context.Context) ([]string, error) {
	boxes, g := make([]*realBox, 2), new(errgroup.Group)
	for i := range boxes {
		g.Go(func() (err error) {
			boxes[i], err = d.startBox(ctx, i)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	d.lilas, d.roses = boxes[0], boxes[1]
	if err := errors.Join(d.lilas.Join(ctx, d.lilas.Residents...), d.lilas.Admit(ctx, d.lilas.Residents...)); err != nil {
		return nil, err
	}
	seen := []string{"both share; a resident is online at the first"}
	for i, b := range boxes {
		name, words, err := d.hubs.Join(ctx, b.Daemon, b.association)
		if err != nil {
			return seen, err
		}
		b.name = name
		if _, err := until(ctx, "the dashboard shows the box's words", func() error {
			page, err := d.page(ctx, 0, http.MethodGet, "/box/"+b.name, nil)
			for _, word := range words {
				if err == nil && !strings.Contains(page, word) {
					err = fmt.Errorf("the page of box %s has no word %q", b.name, word)
				}
			}
			return err
		}); err != nil {
			return seen, err
		}
		if err := d.press(ctx, b.name, "confirm", url.Values{"words": {strings.Join(words, " ")}}); err != nil {
			return seen, err
		}
		seen = append(seen, fmt.Sprintf("box %d is %s of %s: it shows “%s”, so does the dashboard, and Ana confirms", i+1, b.name, b.association, strings.Join(words, " ")))
	}
	return seen, nil
}

func (d *demo) makeStickers(ctx context.Context) (_ []string, err error) {
	start := time.Now()
	d.codes, err = d.crowd.stickers(ctx)
	return []string{fmt.Sprintf("%d stickers' codes made for the other boxes in %s", len(d.codes), seconds(time.Since(start)))}, err
}

func (d *demo) enrolCrowd(ctx context.Context) ([]string, error) {
	took, err := d.crowd.enrol(ctx, d.codes)
	if err != nil {
		return nil, err
	}
	seen := []string{d.figure(fmt.Sprintf("to enrol %d boxes, words compared", len(d.codes)), took.Seconds(), 30, "s")}
	page, err := d.page(ctx, 0, http.MethodGet, "/", nil)
	if err == nil && !strings.Contains(page, "lilas") {
		err = errors.New("the dashboard does not show the association lilas")
	}
	return append(seen, "the dashboard shows both associations"), err
}

func (d *demo) rest(ctx context.Context) ([]string, error) {
	const settle, span = 8 * time.Second, 5 * time.Second
	if _, err := d.hubs.inStep(ctx); err != nil {
		return nil, err
	}
	if err := sleep(ctx, settle); err != nil { // the hubs still write data of the step before
		return nil, err
	}
	before, err := d.hubs.processor()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := sleep(ctx, span); err != nil {
		return nil, err
	}
	after, err := d.hubs.processor()
	took := time.Since(start)
	if err != nil {
		return nil, err
	}
	_, memory, err := d.hubs.usage(0, 1, 2)
	if err != nil {
		return nil, err
	}
	d.idle = slices.Max(memory)
	return []string{
		d.figure("hubs idle, all three, of a core", 100*(after-before).Seconds()/took.Seconds(), 5, "%"),
		d.figure("memory of the largest hub, idle", float64(d.idle)/1e6, 150, "MB") + "; all: " + megabytes(memory),
	}, nil
}

func (d *demo) moveOne(ctx context.Context) ([]string, error) {
	if err := d.hubs.association(ctx, "lilas", "est"); err != nil {
		return nil, err
	}
	ours := func(b *simulated) bool { return b.Status().Association == "lilas" }
	took, err := d.crowd.all(ctx, "every box of lilas knows its region", func(b *simulated) bool { return !ours(b) || inRegion("est")(b) })
	if err != nil {
		return nil, err
	}
	if n := d.crowd.count(func(b *simulated) bool { return !ours(b) && !inRegion("nord")(b) }); n > 0 {
		return nil, fmt.Errorf("%d boxes of roses have another region, which was for lilas", n)
	}
	return []string{fmt.Sprintf("another region for lilas: its %d boxes know after %s, and none of the %d of roses has changed",
		d.crowd.count(ours), seconds(took), len(d.crowd.boxes)-d.crowd.count(ours))}, nil
}

// lowered waits until the box of lilas has the limit that its association has signed, and until the box of roses has asked the hubs since
// begun, when they had it.
func (d *demo) lowered(ctx context.Context, begun time.Time) ([]string, error) {
	if _, err := d.lilas.status(ctx, "the box of lilas has the limit", func(s state.Status) bool {
		return s.Layers != nil && slices.ContainsFunc(s.Layers.Set, func(k state.LayerKey) bool {
			return k.Key == "limits.data" && k.By == "association lilas"
		})
	}); err != nil {
		return nil, err
	}
	took := time.Since(begun)
	s, err := d.roses.status(ctx, "the box of roses has asked too", func(s state.Status) bool { return s.Fleet.Contact.After(begun) })
	if err != nil {
		return nil, err
	}
	if s.Layers != nil && len(s.Layers.Set) > 0 || s.Fleet.Files != "" {
		return nil, fmt.Errorf("the box of roses has %+v, %q", s.Layers, s.Fleet.Files)
	}
	said, err := d.lilas.Do(ctx, "fleet", "layers")
	return []string{
		fmt.Sprintf("100 MB a day, signed by lilas: the box of lilas has verified it after %s, the box of roses asked and has nothing", seconds(took)),
		"passerelle fleet layers: " + strings.Join(strings.Fields(said), " "),
	}, err
}

// The pack that is handed out: its title, and about its size in bytes.
const (
	packTitle = "Le vélo"
	packSize  = 200_000
)

// sign has people sign what is handed out next: a pack, a fragment and a release.
func (d *demo) sign(context.Context) (_ []string, err error) {
	err = d.signed.pack("velo", packTitle, packSize)
	if err == nil {
		err = d.signed.fragment("[limits]\ndata = \"100MB\"\n")
	}
	if err != nil {
		return nil, err
	}
	d.good, err = d.release(goodVersion, d.roses.name)
	return nil, err
}

func (d *demo) handOut(ctx context.Context) ([]string, error) {
	for _, b := range []*realBox{d.lilas, d.roses} {
		if _, err := b.status(ctx, "the box is a connected member", func(s state.Status) bool { return s.Fleet.Connected && s.Fleet.Region == "nord" }); err != nil {
			return nil, err
		}
	}
	seen := []string{"the two boxes are members as soon as Ana has confirmed them"}
	if err := d.roses.Join(ctx, d.roses.Residents...); err != nil {
		return seen, err
	}
	begun := time.Now()
	if err := d.begin(ctx, d.good); err != nil {
		return seen, err
	}
	stands := func(b *realBox, what, as string) (f state.FleetFile, err error) {
		_, err = b.status(ctx, what, func(s state.Status) bool {
			if len(s.Fleet.Handouts) != 1 {
				return false
			}
			f = s.Fleet.Handouts[0]
			return f.Name == "velo" && f.State == as
		})
		return f, err
	}
	said, err := d.lowered(ctx, begun)
	seen = append(seen, said...)
	if err != nil {
		return seen, err
	}
	f, err := stands(d.roses, "the box without residents online has the pack", "here")
	if err != nil {
		return seen, err
	}
	seen = append(seen, fmt.Sprintf("%d kB in chunks of 64 kB: the box without residents online has verified and imported it after %s", f.Size/1000, seconds(time.Since(begun))))
	if _, err := until(ctx, "somebody there opens it", func() error { // the box may restart meanwhile, to start the release
		page, err := d.roses.Residents[0].Get(ctx, box.Portal+"/packs/velo")
		if err == nil && !strings.Contains(page.Body, packTitle) {
			err = fmt.Errorf("%d: %.60q", page.Status, page.Body)
		}
		return err
	}); err != nil {
		return seen, err
	}
	if f, err = stands(d.lilas, "the box with a resident waits", "waits"); err == nil && f.Why != string(updates.Residents) {
		err = fmt.Errorf("it waits for %q", f.Why)
	}
	if err != nil {
		return seen, err
	}
	seen = append(seen, "somebody there opens it; the other box has a resident online, and waits until nobody is")
	said, err = d.takeRelease(ctx, begun)
	return append(seen, said...), err
}

func (d *demo) loseHub(ctx context.Context) (seen []string, err error) {
	if d.moved, err = d.crowd.move(ctx, "sud"); err != nil {
		return nil, err
	}
	seen = append(seen, d.figure(fmt.Sprintf("a change to all, less up to %s of chance", pace.Spread), max(0, d.moved-pace.Spread).Seconds(), 3, "s"))
	if err := d.hubs.kill(1); err != nil {
		return seen, err
	}
	start := time.Now()
	if _, err := d.allConnected(ctx); err != nil {
		return seen, err
	}
	took := time.Since(start)
	if err := d.hubs.elected(ctx, 1); err != nil {
		return seen, err
	}
	seen = append(seen, fmt.Sprintf("hub 2 is killed: all boxes are at the two others after %s, which have chosen who writes after %s", seconds(took), seconds(time.Since(start))))
	if took, err = d.crowd.move(ctx, "ouest"); err != nil {
		return seen, err
	}
	seen = append(seen, d.figure("the same with a dead hub, beside that with all, chance included", took.Seconds()/d.moved.Seconds(), 2, "times")+": "+seconds(took))
	if err := d.hubs.Start(1); err != nil {
		return seen, err
	}
	if took, err = d.hubs.inStep(ctx); err != nil {
		return seen, err
	}
	return append(seen, fmt.Sprintf("hub 2 is back, and has all that it missed after %s", seconds(took))), nil
}

// allConnected waits until all boxes are connected at the same time.
func (d *demo) allConnected(ctx context.Context) (time.Duration, error) {
	return until(ctx, "all boxes are connected", func() error {
		if n := d.crowd.count(connected); n < len(d.crowd.boxes) {
			return fmt.Errorf("%d of %d are", n, len(d.crowd.boxes))
		}
		return nil
	})
}

func (d *demo) reportDay(ctx context.Context) ([]string, error) {
	before, err := d.hubs.processor()
	if err != nil {
		return nil, err
	}
	d.crowd.report(day(1))
	took, err := d.crowd.all(ctx, "every box has read its report back", (*simulated).delivered)
	if err != nil {
		return nil, err
	}
	after, err := d.hubs.processor()
	if err != nil {
		return nil, err
	}
	d.delivered = append(d.delivered, 1)
	each := float64(after-before) / float64(time.Millisecond) / float64(len(d.crowd.boxes))
	return []string{
		fmt.Sprintf("%d boxes have sent theirs and read it back after %s", len(d.crowd.boxes), seconds(took)),
		d.figure("hubs' processor a report, with both of its rounds", each, 2, "ms"),
	}, nil
}

func (d *demo) pause(ctx context.Context) ([]string, error) {
	b := d.lilas
	command := func(a fleetcommand.Action) error {
		return d.press(ctx, b.name, "command", url.Values{"do": {string(a)}})
	}
	in := func(want state.State) func(state.Status) bool {
		return func(s state.Status) bool { return s.State == want }
	}
	start := time.Now()
	if err := command(fleetcommand.Pause); err != nil {
		return nil, err
	}
	s, err := b.status(ctx, "the box is paused", in(state.Paused))
	if err == nil && s.PausedBy != state.FleetPrefix+"Ana" {
		err = fmt.Errorf("the box is paused by %q", s.PausedBy)
	}
	if err != nil {
		return nil, err
	}
	seen := []string{fmt.Sprintf("Ana pauses it on the dashboard: it is paused after %s, and says by whom", seconds(time.Since(start)))}
	if _, err := b.Do(ctx, "resume"); err != nil {
		return seen, err
	}
	if _, err := b.status(ctx, "the box shares", in(state.Sharing)); err != nil {
		return seen, err
	}
	seen = append(seen, "staff resume it at the box: it shares")
	if _, err := b.Do(ctx, "pause"); err != nil {
		return seen, err
	}
	if err := command(fleetcommand.Resume); err != nil {
		return seen, err
	}
	s, err = b.status(ctx, "the fleet's resume yields", func(s state.Status) bool {
		return slices.ContainsFunc(s.Commands, func(c state.FleetCommand) bool { return c.Verdict == string(fleetcommand.Yields) })
	})
	if err == nil && s.State != state.Paused {
		err = fmt.Errorf("after the fleet's resume of a pause of somebody here the box is %s", s.State)
	}
	if err != nil {
		return seen, err
	}
	seen = append(seen, "staff pause it, and Ana's resume yields: it stays paused")
	if _, err := b.Do(ctx, "resume"); err != nil {
		return seen, err
	}
	_, err = b.status(ctx, "the box shares", in(state.Sharing))
	return seen, err
}

func (d *demo) steal(ctx context.Context) ([]string, error) {
	stolen := d.crowd.boxes[0]
	if _, err := d.allConnected(ctx); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := d.press(ctx, stolen.Status().Box, "revoke", nil); err != nil {
		return nil, err
	}
	cut, err := until(ctx, "the stolen box is cut off", func() error {
		if stolen.Status().Connected {
			return errors.New("it is connected")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if _, err := until(ctx, "the stolen box is refused", func() error {
		if s := stolen.Status(); !s.Revoked || s.Connected {
			return fmt.Errorf("%+v", s)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	seen := []string{fmt.Sprintf("Ana revokes it on the dashboard: it is cut off %s after the answer, and refused when it tries again (%s)", seconds(cut), seconds(time.Since(start)))}
	d.crowd.boxes = d.crowd.boxes[1:]
	if n := d.crowd.count(connected); n != len(d.crowd.boxes) {
		return seen, fmt.Errorf("of %d others %d are connected", len(d.crowd.boxes), n)
	}
	return append(seen, fmt.Sprintf("the %d others are connected", len(d.crowd.boxes))), nil
}

// pages records what a resident gets who opens a page again and again.
type pages struct {
	stop    context.CancelFunc
	done    sync.WaitGroup
	took    []time.Duration
	failure error // the first one
	failed  int
}

func (d *demo) browse(ctx context.Context) *pages {
	ctx, stop := context.WithCancel(ctx)
	p := &pages{stop: stop}
	r := d.lilas.Residents[0]
	p.done.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			start := time.Now()
			one, cancel := context.WithTimeout(ctx, 5*time.Second)
			reply, err := r.Get(one, "http://www.example/")
			cancel()
			switch {
			case ctx.Err() != nil:
				return
			case err == nil && reply.Body != netlab.InternetPage:
				err = fmt.Errorf("%d: %.60q", reply.Status, reply.Body)
				fallthrough
			case err != nil:
				if p.failed++; p.failure == nil {
					p.failure = err
				}
			default:
				p.took = append(p.took, time.Since(start))
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return p
}

// end stops the resident, and returns the median of the times and how many pages came. It is an error if a page did not come.
func (p *pages) end() (middle time.Duration, n int, err error) {
	p.stop()
	p.done.Wait()
	if p.failed > 0 || len(p.took) == 0 {
		return 0, len(p.took), fmt.Errorf("%d of %d pages did not come: %w", p.failed, p.failed+len(p.took), p.failure)
	}
	slices.Sort(p.took)
	return p.took[len(p.took)/2], len(p.took), nil
}

// outage is for how long all hubs are away.
const outage = 2 * time.Second

func (d *demo) loseAll(ctx context.Context) ([]string, error) {
	p := d.browse(ctx)
	if err := sleep(ctx, time.Second); err != nil {
		p.end()
		return nil, err
	}
	before, n, err := p.end()
	if err != nil {
		return nil, err
	}
	seen := []string{fmt.Sprintf("with hubs: a resident opens %d pages, half of them within %d ms", n, before.Milliseconds())}
	d.crowd.report(day(2)) // some of these are in flight when the hubs are killed
	if err := d.hubs.kill(0, 1, 2); err != nil {
		return seen, err
	}
	p = d.browse(ctx)
	away := func() error {
		for _, b := range []*realBox{d.lilas, d.roses} {
			if _, err := b.status(ctx, "the box misses its hub", func(s state.Status) bool { return !s.Fleet.Connected && s.State == state.Sharing }); err != nil {
				return err
			}
		}
		if _, err := d.crowd.all(ctx, "every box misses its hub", func(b *simulated) bool { return !connected(b) }); err != nil {
			return err
		}
		if err := errors.Join(d.roses.Join(ctx, d.roses.Residents...), d.roses.Admit(ctx, d.roses.Residents...)); err != nil {
			return err
		}
		reply, err := d.roses.Residents[0].Get(ctx, "http://www.example/")
		if err == nil && reply.Body != netlab.InternetPage {
			err = fmt.Errorf("somebody who joins now gets %d: %.60q", reply.Status, reply.Body)
		}
		return errors.Join(err, sleep(ctx, outage))
	}()
	during, n, err := p.end()
	if err := errors.Join(away, err); err != nil {
		return seen, err
	}
	return append(seen,
		fmt.Sprintf("without hubs: %d pages, none failed, half of them within %d ms", n, during.Milliseconds()),
		"at the other box somebody joins, presses the button and is online; both boxes go on sharing"), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (d *demo) storm(ctx context.Context) ([]string, error) {
	start := time.Now()
	if err := d.hubs.Start(0, 1, 2); err != nil {
		return nil, err
	}
	if _, err := d.allConnected(ctx); err != nil {
		return nil, err
	}
	back := time.Since(start)
	memory, err := d.hubs.largest()
	if err != nil {
		return nil, err
	}
	if _, err := d.crowd.all(ctx, "every box has read its report back", (*simulated).delivered); err != nil {
		return nil, err
	}
	shown := time.Since(start)
	after, err := d.hubs.largest()
	if err != nil {
		return nil, err
	}
	memory = max(memory, after)
	d.delivered = append(d.delivered, 2)
	seen := []string{
		d.figure(fmt.Sprintf("all %d boxes back, less up to %s of their own wait", len(d.crowd.boxes), away), max(0, back-away).Seconds(), 5, "s") + ": " + seconds(back) + " after the hubs were started",
		fmt.Sprintf("what they reported meanwhile is shown after %s", seconds(shown)),
		d.figure("memory of the largest hub then, beside idle", float64(memory)/float64(d.idle), 2, "times") + ": " + megabytes([]int{memory}),
	}
	lost, err := d.lost(ctx)
	seen = append(seen, lost...)
	if err != nil {
		return seen, err
	}
	if _, err := d.hubs.inStep(ctx); err != nil {
		return seen, err
	}
	for _, b := range []*realBox{d.lilas, d.roses} {
		if _, err := b.status(ctx, "the box is back", func(s state.Status) bool { return s.Fleet.Connected }); err != nil {
			return seen, err
		}
	}
	return append(seen, fmt.Sprintf("the two boxes are back too, %s after the hubs were started, by their own slower pace", seconds(time.Since(start)))), nil
}

// lost checks that the hubs show all reports. A missing one is an error.
func (d *demo) lost(ctx context.Context) ([]string, error) {
	missing := 0
	for _, n := range d.delivered {
		name, body := day(n)
		lost, err := d.hubs.shown(ctx, d.crowd, name, body)
		if err != nil {
			return nil, err
		}
		missing += lost
	}
	if missing > 0 {
		return nil, fmt.Errorf("of %d reports %d are lost", len(d.delivered)*len(d.crowd.boxes), missing)
	}
	return []string{d.figure(fmt.Sprintf("reports lost of %d, through four kills of hubs", len(d.delivered)*len(d.crowd.boxes)), 0, 0, "")}, nil
}
