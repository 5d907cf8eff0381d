// Package supervise runs the box's child processes (dnsmasq, hostapd, wpa_supplicant) from a declared list: it writes
// their files, starts them, restarts them with exponential backoff when they exit, reloads or restarts them after a
// change of their files, and stops them by TERM, then KILL. It owns the processes, their pid files, and the files that
// the list names. It must not know what a child is for: neither what its configuration means nor whether the network works.
//
// The list is level-triggered: the caller passes all of it to [Supervisor.Set] again and again, and an unchanged list
// costs a few reads. Files are compared with the disk, so external changes are undone.
//
// Children must stay in the foreground and write no pid file themselves. They die with the daemon: each is started from
// one thread that lives as long as Run does, with SIGKILL as its parent-death signal. A child with a user of its own has
// no such signal, so that DNS and DHCP go on when the daemon is killed: Run finds such a stale child by its pid file, or by
// its environment if the daemon was killed before it wrote the file, and stops it before it starts anything. If /proc hides
// the processes of other users, there is no pid file: then a service manager hides them (ProtectProc= of systemd.exec(5)),
// and it ends them with the daemon.
//
// A supervisor that is not root needs CAP_SETUID, CAP_SETGID, CAP_CHOWN and CAP_KILL for children with a user of their
// own, and every capability that it gives to a child.
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
	firstDelay  = 100 * time.Millisecond // before the first restart of a child that exited unexpectedly; then it doubles
	lastDelay   = 30 * time.Second       // up to this
	resetAfter  = 10 * time.Second       // after this uptime the delay starts over
	reloadGrace = time.Second            // younger children may not have their SIGHUP handler yet, and would die of it
	stopLimit   = 5 * time.Second        // between TERM and KILL, unless Options say otherwise
)

// ErrStopped is returned by Set once Run has been told to end.
var ErrStopped = errors.New("the supervisor has stopped")

// Child is a process that must run.
type Child struct {
	Name string   // unique; also the name of its pid file: letters, digits, '-' and '_'
	Argv []string // the program (looked up in PATH unless it has a slash) and its arguments; a change restarts the child
	// User is the name of the user who runs it and owns its files; "" for the user of the supervisor.
	User string
	// Capabilities are all the capabilities of the child (capabilities(7)), as numbers such as unix.CAP_NET_ADMIN. A child
	// that runs as root has root's.
	Capabilities []uintptr
	Files        []File // written before the child starts, removed once the child is no longer wanted
}

// File is a file that a child reads. No two children share one. Its mode is 0600, or 0640 if the child has a user of its
// own: its group is the supervisor's, which reads it to find changes. Its folder is the supervisor's: the child's user
// cannot put anything else in the file's place.
type File struct {
	Path        string // absolute; missing folders are made with mode 0700
	Text        string
	Reload      bool // a change sends the child SIGHUP
	OnNextStart bool // a change takes effect at the child's next start; any other change restarts the child
	Keep        bool // the child writes it: created empty if missing, otherwise its content stays, also without the child
}

// Options are a Supervisor's dependencies and settings.
type Options struct {
	// Dir holds the pid files, NAME.pid. It belongs to this package alone: any process that such a file truly names is
	// stopped when Run starts. The caller makes sure that only one daemon at a time uses it.
	Dir string
	Log *slog.Logger // starts and exits at level info, children's output at debug
	// Redact gets every line that a child writes and returns what may be kept of it, "" for nothing. It must remove
	// residents' addresses and names, and be safe for concurrent use. Nil drops every line; see WithoutAddresses.
	Redact func(line string) string
	// Wake is called, from any goroutine, when a child's status has changed: it started, exited, or has run for 10 s
	// after failures. Nil for none.
	Wake func()
	// StopLimit is the time between TERM and KILL; 0 means 5 s.
	StopLimit time.Duration
}

// ChildStatus is the current status of a child.
type ChildStatus struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid"`                 // 0 if it isn't running
	Since    time.Time `json:"since,omitzero"`      // when it started; zero if it isn't running
	Starts   int       `json:"starts"`              // number of starts
	Failures int       `json:"failures"`            // unexpected exits in a row; 0 once it has run for 10 s
	LastExit string    `json:"last_exit,omitempty"` // how it exited last, or why it couldn't start; "" if it never did
	LastLine string    `json:"last_line,omitempty"` // the last line before that exit, preferably one that looks like an error; redacted
	Lines    []string  `json:"lines,omitempty"`     // its last lines, redacted, oldest first
}

// Supervisor runs children. Make one with New; its methods are safe for concurrent use.
type Supervisor struct {
	opt    Options
	spawn  func(p *program, line func(string)) (process, error) // replaced by tests
	starts chan startRequest                                    // served by Run's thread

	mu            sync.Mutex // guards what follows, and the children's files
	children      map[string]*child
	startManaging func(*child) // starts a goroutine that manages the child; nil until Run
	stopped       bool
}

// child is a Child and its state. Its fields are guarded by Supervisor.mu, except wakeup.
type child struct {
	name    string
	wanted  bool
	want    *program // from the last list whose files could all be written; nil if there was none yet
	restart bool     // the running process is out of date
	fail    string   // why the running process must be stopped as a failure; "" if it need not
	reload  bool     // the running process must reread its files
	wakeup  chan struct{}

	status   ChildStatus
	lines    ring
	lastLine string // of the running process; a line that looks like an error is not replaced by one that does not
}

// program is a Child without the content of its files, which is on the disk.
type program struct {
	argv         []string
	user         string
	capabilities []uintptr
	paths        []string // of its files
}

func (p *program) sameProcess(q *program) bool {
	return slices.Equal(p.argv, q.argv) && p.user == q.user && slices.Equal(p.capabilities, q.capabilities)
}

type startRequest struct {
	c     *child
	p     *program
	reply chan<- startReply
}

type startReply struct {
	p   process
	err error
}

// New returns a supervisor without children. Nothing is started before Run.
func New(opt Options) *Supervisor {
	if opt.Redact == nil {
		opt.Redact = func(string) string { return "" }
	}
	if opt.Wake == nil {
		opt.Wake = func() {}
	}
	if opt.StopLimit == 0 {
		opt.StopLimit = stopLimit
	}
	return &Supervisor{
		opt:      opt,
		spawn:    func(p *program, line func(string)) (process, error) { return spawn(opt.Dir, p, line) },
		starts:   make(chan startRequest),
		children: make(map[string]*child),
	}
}

// String names the task in the daemon's log.
func (s *Supervisor) String() string { return "child processes" }

// Set makes children the complete list of processes that are to run. It writes their files at once; processes follow
// shortly after.
//
// A malformed list is refused as a whole. A file that can't be written is an error with its path: that child stays as
// it was, the others follow the list. Calling Set again with the list retries.
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
			c = &child{name: want.Name, wakeup: make(chan struct{}, 1)}
			s.children[c.name] = c
			if s.startManaging != nil {
				s.startManaging(c)
			}
		}
		c.wanted = true
		if err := c.update(want); err != nil {
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

// Fail stops a running child that does not do its work, and counts that as an unexpected exit for the reason why: the
// child is restarted with backoff.
func (s *Supervisor) Fail(name, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.children[name]; c != nil && c.status.PID != 0 && c.fail == "" {
		c.fail, c.status.LastLine = why, c.lastLine // its output on TERM explains nothing
		c.wake()
	}
}

// Status returns the status of every child that is wanted or still running, sorted by name.
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

// Run stops the children that a crashed predecessor left, manages its own until ctx ends, then stops them all and
// removes their files. It may be called once. The children live in the network namespace of the thread that calls it.
func (s *Supervisor) Run(ctx context.Context) error {
	// The kernel sends the parent-death signal when the thread that forked ends, not the process: this goroutine keeps
	// its thread until every child is gone, and is the only one to fork.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// A child must not inherit the supervisor's ambient capabilities, which it has as a service.
	restore, err := clearAmbient()
	if err != nil {
		return err
	}
	defer restore()

	if err := ensureFolder(s.opt.Dir); err != nil {
		return fmt.Errorf("create the pid file folder: %w", err)
	}
	if err := stopStale(s.opt.Dir, s.opt.StopLimit, s.opt.Log); err != nil {
		return err
	}
	if err := stopUnrecorded(s.opt.Dir, s.opt.StopLimit, s.opt.Log); err != nil {
		return err
	}
	var managers errgroup.Group
	s.mu.Lock()
	s.startManaging = func(c *child) { managers.Go(func() error { return s.manage(ctx, c) }) }
	for _, c := range s.children {
		s.startManaging(c)
	}
	s.mu.Unlock()

	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		s.mu.Lock()
		s.stopped = true // from here on no child is managed
		s.mu.Unlock()
		ended <- managers.Wait()
	}()
	for {
		select {
		case r := <-s.starts:
			p, err := s.spawn(r.p, func(line string) { s.handleLine(r.c, line) })
			r.reply <- startReply{p, err}
		case err := <-ended:
			return err
		}
	}
}

// manage runs one child until it is no longer wanted or ctx ends.
func (s *Supervisor) manage(ctx context.Context, c *child) error {
	var delay time.Duration
	for {
		want, wanted, err := s.nextProgram(ctx, c)
		switch {
		case !wanted:
			return err
		case want == nil: // its files can't be written yet
			c.wait(ctx, nil)
			continue
		}
		started := time.Now()
		asked, how := s.runOnce(ctx, c, want)
		if asked {
			delay = 0
			continue
		}
		if time.Since(started) >= resetAfter {
			delay = 0
		}
		delay = min(max(2*delay, firstDelay), lastDelay)
		s.opt.Log.Warn("child failed", "child", c.name, "how", how, "again_in", delay)
		timer := time.NewTimer(delay)
		if c.wait(ctx, timer.C) {
			delay = 0 // something changed: start over without delay
		}
		timer.Stop()
	}
}

// nextProgram returns what to run now, nil if there is nothing yet. A child that is no longer wanted is removed, with its
// files.
func (s *Supervisor) nextProgram(ctx context.Context, c *child) (want *program, wanted bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.wanted && ctx.Err() == nil {
		c.restart, c.reload, c.fail = false, false, ""
		select {
		case <-c.wakeup: // for a change that is handled here
		default:
		}
		return c.want, true, nil
	}
	delete(s.children, c.name)
	if c.want == nil {
		return nil, false, nil
	}
	if err := removeAll(c.want.paths); err != nil {
		if ctx.Err() != nil {
			return nil, false, err
		}
		s.opt.Log.Warn("files of a stopped child not removed", "child", c.name, "err", err)
	}
	return nil, false, nil
}

// runOnce runs the child once. It returns how the child exited, and whether it was asked to.
func (s *Supervisor) runOnce(ctx context.Context, c *child, want *program) (asked bool, how string) {
	reply := make(chan startReply, 1)
	s.starts <- startRequest{c, want, reply}
	r := <-reply
	if r.err != nil {
		how = fmt.Sprintf("start %s: %v", want.argv[0], r.err)
		s.ended(c, how, false)
		return false, how
	}
	p, started := r.p, time.Now()
	pidFile := filepath.Join(s.opt.Dir, c.name+".pid")
	if err := writePIDFile(pidFile, p.PID()); err != nil && !errors.Is(err, errHidden) {
		// It runs anyway: the file is needed only after a crash of this daemon.
		s.opt.Log.Warn("cannot write a child's pid file", "child", c.name, "err", err)
	}
	s.started(c, p.PID(), started)
	stable := time.NewTimer(resetAfter)
	defer stable.Stop()
	var hangup <-chan time.Time
	why := "" // why it was stopped as a failure
	for {
		select {
		case <-p.Exited():
		case <-stable.C:
			s.resetFailures(c)
			continue
		case <-ctx.Done():
			asked = true
			s.stop(p)
		case <-hangup:
			hangup = nil
			p.Signal(hup)
			continue
		case <-c.wakeup:
			switch s.pendingAction(c) {
			case doStop:
				asked = true
				s.stop(p)
			case doFail:
				why = s.failure(c)
				s.stop(p)
			case doReload:
				if hangup == nil {
					hangup = time.After(max(0, reloadGrace-time.Since(started)))
				}
				continue
			default:
				continue
			}
		}
		break
	}
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.opt.Log.Warn("pid file of a child not removed", "child", c.name, "err", err)
	}
	how = p.How()
	if why != "" {
		how = "ended because it " + why
	}
	s.ended(c, how, asked)
	return asked, how
}

// stop stops the process and its group: TERM, then KILL.
func (s *Supervisor) stop(p process) {
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
	doStop // stop, and start again if still wanted
	doFail // stop, and treat it as an unexpected exit
)

// pendingAction returns what a running child needs after a change.
func (s *Supervisor) pendingAction(c *child) action {
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

// failure returns why the child is stopped as a failure.
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
		c.status.LastLine = c.lastLine
	}
	c.lastLine = ""
	if asked {
		c.status.Failures = 0
	} else {
		c.status.Failures++
	}
	s.mu.Unlock()
	s.opt.Wake()
}

// resetFailures clears the failures of a child that has run long enough.
func (s *Supervisor) resetFailures(c *child) {
	s.mu.Lock()
	failed := c.status.Failures > 0
	c.status.Failures = 0
	s.mu.Unlock()
	if failed {
		s.opt.Wake()
	}
}

// handleLine redacts a line of a child's output, stores it and logs it.
func (s *Supervisor) handleLine(c *child, line string) {
	if line = s.opt.Redact(line); line == "" {
		return
	}
	s.mu.Lock()
	c.lines.add(line)
	if looksLikeError(line) || !looksLikeError(c.lastLine) {
		c.lastLine = line
	}
	s.mu.Unlock()
	s.opt.Log.Debug("child says", "child", c.name, "line", line)
}

// update writes the child's files and records whether the running process must reload or restart. Supervisor.mu is held.
func (c *child) update(want Child) error {
	var errs []error
	p := &program{argv: slices.Clone(want.Argv), user: want.User, capabilities: slices.Clone(want.Capabilities)}
	owner, err := lookUp(want.User)
	if err != nil {
		return fmt.Errorf("child %s: %w", c.name, err)
	}
	for _, f := range want.Files {
		if !f.Keep {
			p.paths = append(p.paths, f.Path)
		}
		switch changed, err := f.write(owner); {
		case err != nil:
			errs = append(errs, fmt.Errorf("child %s: %w", c.name, err))
		case changed && f.OnNextStart:
		case changed && f.Reload:
			c.reload = true
		case changed:
			c.restart = true
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	isNew := c.want == nil
	if !isNew {
		gone := slices.DeleteFunc(slices.Clone(c.want.paths), func(path string) bool {
			return slices.Contains(p.paths, path)
		})
		if err := removeAll(gone); err != nil {
			return fmt.Errorf("child %s: %w", c.name, err)
		}
		c.restart = c.restart || len(gone) > 0 || !c.want.sameProcess(p)
	}
	c.want = p
	if isNew || c.restart || c.reload {
		c.wake()
	}
	return nil
}

func (c *child) wake() {
	select {
	case c.wakeup <- struct{}{}:
	default:
	}
}

// wait returns when the child was woken (true), the timer has fired or ctx has ended.
func (c *child) wait(ctx context.Context, timer <-chan time.Time) (woken bool) {
	select {
	case <-c.wakeup:
		return true
	case <-timer:
	case <-ctx.Done():
	}
	return false
}

// validate refuses a list that can't be applied.
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
