// Package demo runs a box in network namespaces and plays a story on it, with residents, lenders and a technician, using the real
// program. It owns the steps, their network and their output. It sees the box only from outside: through its pages, commands and control
// socket.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// Options configure the demo.
type Options struct {
	Once    bool                           // end after the last step
	Listen  string                         // the residents' page for this machine's browsers; "" means the first free port from 8080 on
	In      *os.File                       // without Once or Listen, the demo stays open only if this is a terminal: otherwise nobody may be there to end it
	Program func(args ...string) *exec.Cmd // returns the box's program with these arguments, not started
	Online  func(s state.Status) string    // describes how many residents are online
	Prepare func(s *netlab.Scene) error    // changes the network before the box starts; may be nil
	Limit   time.Duration                  // of each wait; 0 means 20 s, which is enough on a busy machine
}

// runner runs the demo once.
type runner struct {
	Options
	screen *screen
}

// Run runs the demo and reports on out. It returns nil if every step passed.
func Run(ctx context.Context, out io.Writer, o Options) error {
	if err := needs(os.Geteuid()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o.Limit = cmp.Or(o.Limit, 20*time.Second)
	// A closed output ends the demo like Ctrl-C, with a cleanup. The failed write detects it, since SIGPIPE also comes for every broken
	// connection of the demo.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	defer signal.Stop(pipes)
	return runner{o, newScreen(out, cancel)}.run(ctx)
}

// run plays the steps, then serves browsers if wanted, and removes the test environment.
func (p runner) run(ctx context.Context) (err error) {
	start := time.Now()
	var browsers doors
	if p.stays() {
		if browsers, err = openDoors(p.Listen); err != nil {
			return err
		}
		defer browsers.close()
	}
	st, err := newEnvironment(ctx, p)
	if err != nil {
		return err
	}
	defer func() {
		if closing := st.Close(); closing != nil {
			err = errors.Join(err, closing)
			return
		}
		p.screen.say("Test environment removed; nothing left behind.")
	}()

	p.screen.say("%s", st.describe())
	if p.stays() {
		p.screen.say(`When the story is over, the residents' page and the technician's are open to your browser:

    %s
    %s`, p.screen.bold(browsers.url("")+"/"), p.screen.bold(browsers.secureURL()+technicians))
	}
	s := st.story()
	if err := s.play(ctx, p.screen); err != nil {
		if ctx.Err() == nil {
			p.screen.say("Last lines of the box's log:\n%s", indent(lastLines(st.daemon.Log(), 12)))
		}
		return err
	}
	status, err := st.daemon.Do(ctx, "status")
	if err != nil {
		return err
	}
	p.screen.say("%s\n%s", p.screen.bold("passerelle status"), indent(status))
	p.screen.say("%s", p.screen.green(fmt.Sprintf("All %d steps passed, in %.0f s.",
		len(s), time.Since(start).Seconds())))
	if !p.stays() {
		if !p.Once {
			p.screen.say("Nobody is at a terminal, so the demo ends here; with --listen it stays open to a browser.")
		}
		return nil
	}
	return st.stayOpen(ctx, browsers)
}

// stays tells whether the demo stays open to this machine's browsers after the last step.
func (o Options) stays() bool { return !o.Once && (o.Listen != "" || isTerminal(o.In)) }

// needs checks the requirements: root and the programs that the demo runs.
func needs(uid int) error {
	if uid != 0 {
		return errors.New("permission denied: network namespaces need root; use sudo")
	}
	// A root shell from `su` may lack the folders where Debian installs these.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return fmt.Errorf("extend PATH: %w", err)
	}
	var missing []string
	for _, t := range []struct{ tool, pkg string }{
		{"iptables", "iptables"}, {"dnsmasq", "dnsmasq-base"}, {"busybox", "busybox"},
	} {
		if _, err := exec.LookPath(t.tool); err != nil {
			missing = append(missing, t.pkg)
		}
	}
	if missing != nil {
		return fmt.Errorf("missing packages: apt install %s", strings.Join(missing, " "))
	}
	return nil
}
