// Package supervise keeps the box's child processes (dnsmasq, hostapd, wpa_supplicant) as a declared list says: it writes
// their files, starts them, starts them again with a growing delay when they end, tells them to read a changed file or
// restarts them, and stops them by TERM, then KILL. It owns the processes, their pid files, and the files that the list
// names. It must not know what a child is for: neither what its configuration says nor whether the network works.
//
// The list is level-triggered: the caller hands [Supervisor.Set] the whole of it again and again, and an unchanged list
// costs a few reads and no more. Files are compared with the disk, so one that somebody else changed is put right.
//
// Children must stay in the foreground and write no pid file themselves. They die with the daemon: each is started from
// one thread that lives as long as Run does, with SIGKILL as its parent-death signal. The kernel forgets that signal when
// a process changes its user (commit_creds in kernel/cred.c), as dnsmasq does, so a child may all the same outlive a
// daemon that was killed: Run finds it by its pid file and ends it before it starts anything.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	firstDelay = 100 * time.Millisecond // before the first restart of a child that ended by itself; then it doubles
	lastDelay  = 30 * time.Second       // and grows no further
	steady     = 10 * time.Second       // a child that ran this long is trusted again: the delay starts anew
	settle     = time.Second            // before this age a child may not have its SIGHUP handler yet, and would die of it
	stopLimit  = 5 * time.Second        // between TERM and KILL, unless Options say otherwise
)

// ErrStopped is returned by Set once Run has been told to end.
var ErrStopped = errors.New("the supervisor has stopped")

// Child is a process that shall run.
type Child struct {
	Name  string   // unique; also the name of its pid file: letters, digits, '-' and '_'
	Argv  []string // the program (looked up in PATH unless it has a slash) and its arguments; a change restarts the child
	Files []File   // written before the child starts, removed once it is no longer wanted
}

// File is a file that a child reads. No two children share one. Its mode is 0600.
type File struct {
	Path string // absolute; missing folders are made with mode 0700
	Data []byte
	// Owner is the name of the user who owns the file, and with it the folder that it lies in; "" for who runs the
	// supervisor.
	Owner  string
	Reload bool // the child reads it again on SIGHUP
	Later  bool // a change waits until the child starts again for another reason; of any other file it restarts it
	Keep   bool // the child writes it: it is made empty if it is missing, else its content stays, also without the child
}

// Options are what a Supervisor needs from outside.
type Options struct {
	// Dir holds the pid files, NAME.pid. It belongs to this package alone: whatever process such a file truly names is
	// ended when Run starts. The caller sees to it that only one daemon at a time uses it.
	Dir string
	Log *slog.Logger // starts and ends at level info, what children say at debug
	// Scrub is given every line that a child writes and returns what may be kept of it, "" for nothing. It must let no
	// address or name of a resident through, and be safe for concurrent use. Nil drops every line; see WithoutAddresses.
	Scrub func(line string) string
	// Wake is called, from any goroutine, whenever a child's status has changed: it started, ended, or has run for 10 s
	// after failures. Nil for none.
	Wake func()
	// StopLimit is how long a child has between TERM and KILL; 0 means 5 s.
	StopLimit time.Duration
}

// ChildStatus is how a child is now.
type ChildStatus struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid"`                 // 0 if it isn't running
	Since    time.Time `json:"since,omitzero"`      // when it started; zero if it isn't running
	Starts   int       `json:"starts"`              // how often it was started
	Failures int       `json:"failures"`            // ends in a row that nobody asked for; 0 once it has run for 10 s
	LastExit string    `json:"last_exit,omitempty"` // how it ended last, or why it couldn't start; "" if it never did
	LastLine string    `json:"last_line,omitempty"` // the last that it wrote before that, of those that complain if any does; scrubbed
	Lines    []string  `json:"lines,omitempty"`     // the last of what it wrote, scrubbed, oldest first
}

// Supervisor keeps children. Make one with New; its methods are safe for concurrent use.
type Supervisor struct {
	opt    Options
	spawn  func(argv []string, line func(string)) (process, error) // replaced by tests
	starts chan startRequest                                       // served by Run's thread

	mu       sync.Mutex // guards what follows, and the children's files
	children map[string]*child
	adopt    func(*child) // starts a goroutine that keeps the child; nil until Run
	stopped  bool
}

// child is a Child and how it fares. Its fields are guarded by Supervisor.mu, except poke.
type child struct {
	name    string
	wanted  bool
	want    *program // what the last list said whose files could all be written; nil if there was none yet
	restart bool     // what runs is out of date
	fail    string   // why what runs is to be ended as a failure; "": it is not
	reload  bool     // what runs has to read its files again
	poke    chan struct{}

	status ChildStatus
	lines  ring
	said   string // the last line of what runs; what is no complaint does not replace one
}

// program is what is remembered of a Child: the disk remembers its files' content.
type program struct {
	argv  []string
	paths []string // of what goes with it
}

type startRequest struct {
	c     *child
	argv  []string
	reply chan<- startReply
}

type startReply struct {
	p   process
	err error
}

// New returns a supervisor without children. Nothing is started before Run.
func New(opt Options) *Supervisor {
	if opt.Scrub == nil {
		opt.Scrub = func(string) string { return "" }
	}
	if opt.Wake == nil {
		opt.Wake = func() {}
	}
	if opt.StopLimit == 0 {
		opt.StopLimit = stopLimit
	}
	return &Supervisor{
		opt:      opt,
		spawn:    spawn,
		starts:   make(chan startRequest),
		children: make(map[string]*child),
	}
}

// String names the task in the daemon's log.
func (s *Supervisor) String() string { return "child processes" }

// Set makes children the whole list of what shall run. It writes their files at once; processes follow shortly after.
//
// A malformed list is refused whole. A file that can't be written is an error with its path: that child stays as it was,
// the others follow the list. Handing the list in again tries again.
func (s *Supervisor) Set(children []Child) error {
	if err := validate(children); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return ErrStopped
	}
	var errs []error
	wanted := make(map[string]bool, len(children))
	for _, want := range children {
		wanted[want.Name] = true
		c := s.children[want.Name]
		if c == nil {
			c = &child{name: want.Name, poke: make(chan struct{}, 1)}
			s.children[c.name] = c
			if s.adopt != nil {
				s.adopt(c)
			}
		}
		c.wanted = true
		if err := c.give(want); err != nil {
			errs = append(errs, err)
		}
	}
	for name, c := range s.children {
		if !wanted[name] && c.wanted {
			c.wanted = false
			c.wake()
		}
	}
	return errors.Join(errs...)
}

// Fail ends a running child that does not do its work, for the reason why: an end that nobody asked for. It is started
// again with a delay that grows, as one that ended by itself.
func (s *Supervisor) Fail(name, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.children[name]; c != nil && c.status.PID != 0 && c.fail == "" {
		c.fail, c.status.LastLine = why, c.said // what it says when it is told to end explains nothing
		c.wake()
	}
}

// Status returns how every child is that is wanted or still running, sorted by name.
func (s *Supervisor) Status() []ChildStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]ChildStatus, 0, len(s.children))
	for _, c := range s.children {
		st := c.status
		st.Name = c.name
		st.Lines = c.lines.list()
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b ChildStatus) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Run ends what a crashed predecessor left, keeps the children until ctx ends, then stops them all, and removes their
// files. It may be called once. The children live in the network namespace of the thread that calls it.
func (s *Supervisor) Run(ctx context.Context) error {
	// The kernel sends the parent-death signal when the thread that forked ends, not the process: this goroutine keeps its
	// thread until every child is gone, and is the only one to fork.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if err := ownFolder(s.opt.Dir, os.Geteuid()); err != nil {
		return fmt.Errorf("create the folder of pid files: %w", err)
	}
	if err := endLeftovers(s.opt.Dir, s.opt.StopLimit, s.opt.Log); err != nil {
		return err
	}
	var keepers errgroup.Group
	s.mu.Lock()
	s.adopt = func(c *child) { keepers.Go(func() error { return s.keep(ctx, c) }) }
	for _, c := range s.children {
		s.adopt(c)
	}
	s.mu.Unlock()

	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		s.mu.Lock()
		s.stopped = true // no child is adopted from here on
		s.mu.Unlock()
		ended <- keepers.Wait()
	}()
	for {
		select {
		case r := <-s.starts:
			p, err := s.spawn(r.argv, func(line string) { s.heard(r.c, line) })
			r.reply <- startReply{p, err}
		case err := <-ended:
			return err
		}
	}
}

// keep runs one child until it is no longer wanted or ctx ends.
func (s *Supervisor) keep(ctx context.Context, c *child) error {
	var delay time.Duration
	for {
		want, err := s.next(ctx, c)
		switch {
		case errors.Is(err, errGone):
			return nil
		case err != nil:
			return err
		case want == nil: // its files can't be written yet
			c.wait(ctx, nil)
			continue
		}
		started := time.Now()
		asked, how := s.attend(ctx, c, want)
		if asked {
			delay = 0
			continue
		}
		if time.Since(started) >= steady {
			delay = 0
		}
		delay = min(max(2*delay, firstDelay), lastDelay)
		s.opt.Log.Warn("child failed", "child", c.name, "how", how, "again_in", delay)
		timer := time.NewTimer(delay)
		if c.wait(ctx, timer.C) {
			delay = 0 // something changed: it deserves a new chance
		}
		timer.Stop()
	}
}

// errGone says that a child has been forgotten.
var errGone = errors.New("no longer wanted")

// next returns what to run now, nil if there is nothing yet. A child that is no longer wanted it forgets, with its files.
func (s *Supervisor) next(ctx context.Context, c *child) (*program, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.wanted && ctx.Err() == nil {
		c.restart, c.reload, c.fail = false, false, ""
		select {
		case <-c.poke: // about what is now done
		default:
		}
		return c.want, nil
	}
	delete(s.children, c.name)
	if c.want == nil {
		return nil, errGone
	}
	if err := removeAll(c.want.paths); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		s.opt.Log.Warn("a stopped child's files stay behind", "child", c.name, "err", err)
	}
	return nil, errGone
}

// attend runs the child once and returns how it ended, and whether it was asked to.
func (s *Supervisor) attend(ctx context.Context, c *child, want *program) (asked bool, how string) {
	reply := make(chan startReply, 1)
	s.starts <- startRequest{c, want.argv, reply}
	r := <-reply
	if r.err != nil {
		how = fmt.Sprintf("start %s: %v", want.argv[0], r.err)
		s.ended(c, how, false)
		return false, how
	}
	p, started := r.p, time.Now()
	pidFile := filepath.Join(s.opt.Dir, c.name+".pid")
	if err := writePIDFile(pidFile, p.PID()); err != nil {
		// It runs all the same: only a crash of this daemon would need the file.
		s.opt.Log.Warn("a child has no pid file", "child", c.name, "err", err)
	}
	s.started(c, p.PID(), started)
	trusted := time.NewTimer(steady)
	defer trusted.Stop()
	var hangup <-chan time.Time
	why := "" // it was ended as a failure
	for {
		select {
		case <-p.Exited():
		case <-trusted.C:
			s.trust(c)
			continue
		case <-ctx.Done():
			asked = true
			s.end(p)
		case <-hangup:
			hangup = nil
			p.Signal(hup)
			continue
		case <-c.poke:
			switch s.todo(c) {
			case doStop:
				asked = true
				s.end(p)
			case doFail:
				why = s.failure(c)
				s.end(p)
			case doReload:
				if hangup == nil {
					hangup = time.After(max(0, settle-time.Since(started)))
				}
				continue
			default:
				continue
			}
		}
		break
	}
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.opt.Log.Warn("a child's pid file stays behind", "child", c.name, "err", err)
	}
	how = p.How()
	if why != "" {
		how = "ended because it " + why
	}
	s.ended(c, how, asked)
	return asked, how
}

// end stops the process and its group: TERM, then KILL.
func (s *Supervisor) end(p process) {
	p.SignalGroup(term)
	timer := time.NewTimer(s.opt.StopLimit)
	defer timer.Stop()
	select {
	case <-p.Exited():
	case <-timer.C:
		p.SignalGroup(kill)
		<-p.Exited()
	}
}

type action int

const (
	doNothing action = iota
	doReload
	doStop // to be started again if still wanted
	doFail // likewise, but as if it had ended by itself
)

// todo returns what a running child needs after a change.
func (s *Supervisor) todo(c *child) action {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !c.wanted || c.restart:
		return doStop
	case c.fail != "":
		return doFail
	case c.reload:
		c.reload = false
		return doReload
	}
	return doNothing
}

// failure returns why the child is ended as a failure.
func (s *Supervisor) failure(c *child) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.fail
}

func (s *Supervisor) started(c *child, pid int, now time.Time) {
	s.mu.Lock()
	c.status.PID, c.status.Since = pid, now
	c.status.Starts++
	s.mu.Unlock()
	s.opt.Log.Info("child started", "child", c.name, "pid", pid)
	s.opt.Wake()
}

func (s *Supervisor) ended(c *child, how string, asked bool) {
	s.mu.Lock()
	c.status.PID, c.status.Since, c.status.LastExit = 0, time.Time{}, how
	if c.fail == "" {
		c.status.LastLine = c.said
	}
	c.said = ""
	if asked {
		c.status.Failures = 0
	} else {
		c.status.Failures++
	}
	s.mu.Unlock()
	s.opt.Wake()
}

// trust forgives a child that has run for long enough.
func (s *Supervisor) trust(c *child) {
	s.mu.Lock()
	failed := c.status.Failures > 0
	c.status.Failures = 0
	s.mu.Unlock()
	if failed {
		s.opt.Wake()
	}
}

// heard keeps what may be kept of a line that a child wrote.
func (s *Supervisor) heard(c *child, line string) {
	if line = s.opt.Scrub(line); line == "" {
		return
	}
	s.mu.Lock()
	c.lines.add(line)
	if complains(line) || !complains(c.said) {
		c.said = line
	}
	s.mu.Unlock()
	s.opt.Log.Debug("child says", "child", c.name, "line", line)
}

// give writes the child's files and notes what that asks of the running process. Supervisor.mu is held.
func (c *child) give(want Child) error {
	var errs []error
	p := &program{argv: slices.Clone(want.Argv)}
	for _, f := range want.Files {
		if !f.Keep {
			p.paths = append(p.paths, f.Path)
		}
		switch changed, err := f.write(); {
		case err != nil:
			errs = append(errs, fmt.Errorf("child %s: %w", c.name, err))
		case changed && f.Later:
		case changed && f.Reload:
			c.reload = true
		case changed:
			c.restart = true
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	fresh := c.want == nil
	if !fresh {
		gone := slices.DeleteFunc(slices.Clone(c.want.paths), func(path string) bool {
			return slices.Contains(p.paths, path)
		})
		if err := removeAll(gone); err != nil {
			return fmt.Errorf("child %s: %w", c.name, err)
		}
		c.restart = c.restart || len(gone) > 0 || !slices.Equal(c.want.argv, p.argv)
	}
	c.want = p
	if fresh || c.restart || c.reload {
		c.wake()
	}
	return nil
}

func (c *child) wake() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// wait returns when the child was poked (true), the timer has fired or ctx has ended.
func (c *child) wait(ctx context.Context, timer <-chan time.Time) (poked bool) {
	select {
	case <-c.poke:
		return true
	case <-timer:
	case <-ctx.Done():
	}
	return false
}

// validate refuses a list that can't be carried out.
func validate(children []Child) error {
	names, paths := make(map[string]bool), make(map[string]string)
	for _, c := range children {
		switch {
		case c.Name == "" || strings.Trim(c.Name, nameChars) != "":
			return fmt.Errorf("child %q: its name must be made of letters, digits, '-' and '_'", c.Name)
		case names[c.Name]:
			return fmt.Errorf("child %s: named twice", c.Name)
		case len(c.Argv) == 0 || c.Argv[0] == "":
			return fmt.Errorf("child %s: no program to run", c.Name)
		}
		names[c.Name] = true
		for _, f := range c.Files {
			switch other, twice := paths[f.Path]; {
			case !filepath.IsAbs(f.Path):
				return fmt.Errorf("child %s: file %q: not an absolute path", c.Name, f.Path)
			case twice:
				return fmt.Errorf("child %s: file %s: already a file of %s", c.Name, f.Path, other)
			}
			paths[f.Path] = c.Name
		}
	}
	return nil
}

const nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
