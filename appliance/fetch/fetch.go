// Package fetch downloads the files that the box itself needs over a lent line: lists of places and agendas. It owns when a file is
// requested, how it is transferred, and what is known of earlier downloads, also after a power cut. It must not know what a file
// contains, nor how lines and caps are chosen: it is told which line to use and how much of it.
//
// # The lender's share
//
// A download is never larger than what the ledger keeps of a cap for the box's own traffic (1/128, at most 8 MB). Neither are all
// downloads of a period together. So the cap holds even if a download runs while the kernel gets the last tranche of the cap, or if the
// power fails before its bytes are stored. What a download may need is booked before its bytes cross the line (record.go). It uses only
// the line in use and that line's name servers, while the box shares, at a quarter of the rate that is lent (transfer.go).
//
// # When
//
// A file is requested once a week, a first time soon after its address was configured, and when somebody asks for it, at most every ten
// minutes. After a failure the delay grows from an hour to the week (schedule.go). If its importer refuses a file, the file has crossed
// the line, so it is requested again only after the week.
package fetch

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"passerelle/appliance/state"
)

// Week is how often a file is requested automatically.
const Week = 7 * 24 * time.Hour

// tick is the time between decisions.
const tick = 5 * time.Second

// Job is a file that the box keeps up to date.
type Job struct {
	Name  string // unique, e.g. "places"
	URL   string // http or https
	Every time.Duration
	// Accept imports the file. It is not used if Run is set. It reads to the end of the file, or to an error, and then returns a text
	// that says what was imported. After an error of the reader or of ctx it must change nothing.
	Accept func(ctx context.Context, file io.Reader) (result string, err error)
	// Have tells whether what was imported last is still there. If not, the file is requested even if it has not changed.
	Have func() bool
	// Run makes the download itself, perhaps of many files, with a client that is counted, paced and stopped as for one file. It
	// continues where an earlier run was stopped. result is a text that says what was done.
	Run func(ctx context.Context, client *http.Client) (result string, err error)
	// Situation is what Run depends on, instead of the Fetcher's Situation.
	Situation func() Situation
}

// now returns the job's present situation.
func (j Job) now(all func() Situation) Situation {
	if j.Situation != nil {
		return j.Situation()
	}
	return all()
}

// ErrNotConfigured says that there is no job of this name.
var ErrNotConfigured = errors.New("no address to download from is configured")

// Unlimited is the Allowance of a line without a cap.
const Unlimited = 1 << 60

// Line is the line in use.
type Line struct {
	Donation  string       // its name
	Interface string       // the kernel's name
	Servers   []netip.Addr // its name servers
	Allowance uint64       // bytes that downloads may use in this period of its cap, or Unlimited
	Period    time.Time    // start of this period
	Rate      uint64       // bit/s that are lent for downloads; 0: the full rate
	Purse     string       // downloads with the same purse share what may be used; "": lists and calendars
}

// Situation is what a decision depends on besides the jobs.
type Situation struct {
	Now     time.Time // the time of day
	Trusted bool      // Now is known to be correct
	Line    *Line     // nil: no line may be used
	Why     string    // why Line is nil
}

// Options are a Fetcher's dependencies.
type Options struct {
	Log       *slog.Logger
	Path      string // of the file that stores what is known of downloads
	Jobs      func() []Job
	Situation func() Situation
	// Dial returns a connected socket, of network "udp4" or "tcp4", that sends and receives only through the interface.
	Dial  func(ctx context.Context, network, device string, to netip.AddrPort) (net.Conn, error)
	Roots *x509.CertPool // certificate authorities; nil: the machine's
}

// Fetcher downloads files. Make one with New; its methods are safe for concurrent use.
type Fetcher struct {
	opt     Options
	presses chan Job

	mu      sync.Mutex // guards the following fields
	memory  memory
	running map[string]*transfer // the running download, by its job's name; nil until it has begun
	ready   map[string]time.Time // by job, since when its file may be requested, by the time of day; none: it may not be now
	luck    map[string]float64   // by job, 0 to 1: how late within the spread it is requested
	waits   map[string]string    // why a job that is due is not run now
}

// New returns a Fetcher that has read what earlier ones stored.
func New(opt Options) *Fetcher {
	return &Fetcher{
		opt: opt, presses: make(chan Job, 1), memory: load(opt.Path, opt.Log),
		running: map[string]*transfer{}, ready: map[string]time.Time{}, luck: map[string]float64{}, waits: map[string]string{},
	}
}

// Run downloads until ctx ends. It is called once.
func (f *Fetcher) Run(ctx context.Context) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case j := <-f.presses:
			f.download(ctx, j)
		case <-t.C:
			for _, j := range f.opt.Jobs() {
				if f.due(j) {
					f.download(ctx, j)
				}
			}
		}
	}
}

// due tells whether a job must be run now, and then marks it as running.
func (f *Fetcher) due(j Job) bool {
	s := j.now(f.opt.Situation)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.running) > 0 { // a requested download comes first
		return false
	}
	f.settle(s)
	r := f.memory.job(j)
	why := s.obstacle(f.memory.left(s.Line))
	if why != "" {
		delete(f.ready, j.Name)
	} else if f.ready[j.Name].IsZero() {
		f.ready[j.Name] = s.Now
	}
	f.waits[j.Name] = why
	if _, ok := f.luck[j.Name]; !ok {
		f.luck[j.Name] = rand.Float64()
	}
	if why != "" || s.Now.Before(r.at(j.Every, f.ready[j.Name], f.luck[j.Name])) {
		return false
	}
	f.running[j.Name] = nil
	return true
}

// Start downloads a job's file now. It returns once the download is accepted; the error says why it is not.
func (f *Fetcher) Start(name string) error {
	jobs := f.opt.Jobs()
	i := slices.IndexFunc(jobs, func(j Job) bool { return j.Name == name })
	if i < 0 {
		return fmt.Errorf("%w: set [%s] url", ErrNotConfigured, name)
	}
	s := jobs[i].now(f.opt.Situation)
	f.mu.Lock()
	defer f.mu.Unlock()
	for running := range f.running {
		return fmt.Errorf("the download of %s is running", running)
	}
	if why := s.obstacle(f.memory.left(s.Line)); why != "" {
		return errors.New(why)
	}
	f.settle(s)
	if wait := f.memory.job(jobs[i]).pressWait(s.Now); wait > 0 {
		return fmt.Errorf("its server was asked a short time ago: try again in %v", wait.Round(time.Second))
	}
	f.presses <- jobs[i] // there is room: nothing is running
	f.running[name] = nil
	return nil
}

// settle moves attempts that are in the future to now. f.mu is held.
func (f *Fetcher) settle(s Situation) {
	if s.Trusted && f.memory.settle(s.Now) {
		if err := f.memory.save(f.opt.Path); err != nil {
			f.opt.Log.Warn("a file waits longer than its interval", "error", err)
		}
	}
}

// Status returns the state of each job.
func (f *Fetcher) Status() []state.Download {
	jobs := f.opt.Jobs()
	now := f.opt.Situation().Now
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []state.Download{}
	for _, j := range jobs {
		r := f.memory.job(j)
		d := state.Download{
			Name: j.Name, From: Host(j.URL), Bytes: r.Bytes, Tried: r.Tried.In(now.Location()), Done: r.Done.In(now.Location()),
			Unchanged: r.Unchanged, Result: r.Result, Error: r.Error, Waits: f.waits[j.Name],
			Next: r.next(j.Every).In(now.Location()),
		}
		t, running := f.running[j.Name]
		if running {
			d.Running, d.Bytes, d.Error, d.Waits = true, 0, "", ""
		}
		if t != nil {
			d.Bytes, d.Size = t.used.Load(), t.size.Load()
		}
		all = append(all, d)
	}
	return all
}

// Host returns the host of a URL. It is the only part that is shown: the path of a private calendar works as its password.
func Host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// download runs a job that is marked as running, and stores how it ended.
func (f *Fetcher) download(ctx context.Context, j Job) {
	o := f.attempt(ctx, j)
	if ctx.Err() != nil { // the attempt is recorded: the next daemon tries again
		return
	}
	now := f.opt.Situation().Now
	f.mu.Lock()
	r := f.memory.job(j)
	r.end(o, now)
	f.memory.Jobs[j.Name] = r
	err := f.memory.save(f.opt.Path)
	delete(f.running, j.Name)
	delete(f.luck, j.Name)
	f.mu.Unlock()
	log := f.opt.Log.With("name", j.Name, "from", Host(j.URL), "bytes", r.Bytes)
	if err := cmp.Or(o.err, err); err != nil {
		log.Warn("download failed", "error", err)
	} else {
		log.Info("downloaded", "result", o.result, "unchanged", o.unchanged)
	}
}

// attempt records an attempt and makes it.
func (f *Fetcher) attempt(ctx context.Context, j Job) (o outcome) {
	s := j.now(f.opt.Situation)
	f.mu.Lock()
	left := f.memory.left(s.Line)
	if why := s.obstacle(left); why != "" { // since it became due
		f.mu.Unlock()
		o.err = errors.New(why)
		return o
	}
	r := f.memory.job(j)
	r.begin(s.Now)
	f.memory.Jobs[j.Name] = r
	book := f.memory.book(*s.Line)
	t := &transfer{
		job: j, line: *s.Line, budget: min(left, maxFile), dial: f.opt.Dial, roots: f.opt.Roots,
		situation: func() Situation { return j.now(f.opt.Situation) },
	}
	if j.Have == nil || j.Have() {
		t.validators = r.Validators
	}
	// book stores what this download has used or may need.
	t.book = func(bytes uint64) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		book(bytes)
		return f.memory.save(f.opt.Path)
	}
	f.running[j.Name] = t
	f.mu.Unlock()
	if err := t.book(least); err != nil {
		o.err = err
		return o
	}
	o = t.run(ctx)
	o.bytes = t.used.Load()
	if err := t.book(o.bytes); err != nil && o.err == nil {
		o.err = err
	}
	return o
}
