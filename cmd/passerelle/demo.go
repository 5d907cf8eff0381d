package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"passerelle/netctl/netlab"
)

// performance is one run of `passerelle demo`.
type performance struct {
	screen  *screen
	once    bool   // end after the story
	listen  string // where this machine's browsers find the residents' page; "" is the first free port from 8080 on
	program func(args ...string) *exec.Cmd
	prepare func(*netlab.Scene) error // changes the scene before the box starts; nil changes nothing
	limit   time.Duration             // of each wait; on a busy machine things take long, never so long
}

func demo(ctx context.Context, c *cli, args []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := performance{screen: newScreen(c.out, cancel), program: thisProgram, limit: 20 * time.Second}
	if _, err := c.flags("demo", args, 0, func(f *flag.FlagSet) {
		f.BoolVar(&p.once, "once", false, "end after the story: exit status 0 if every step was as it should be")
		f.StringVar(&p.listen, "listen", "",
			"`ADDRESS` of the residents' page for this machine's browser, such as 127.0.0.1:8080")
	}); err != nil {
		return err
	}
	if err := demoNeeds(os.Geteuid()); err != nil {
		return err
	}
	// A reader that went away ends the story as Ctrl-C does: by cleaning up. SIGPIPE comes for every broken connection of
	// the story as well, so it is the failed write that counts.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	defer signal.Stop(pipes)
	return p.run(ctx)
}

// run plays the story, stays open to browsers if wanted, and takes everything down again.
func (p performance) run(ctx context.Context) (err error) {
	start := time.Now()
	var browsers net.Listener
	if !p.once {
		if browsers, err = listenForBrowsers(p.listen); err != nil {
			return err
		}
		defer browsers.Close()
	}
	st, err := newStage(ctx, p)
	if err != nil {
		return err
	}
	defer func() {
		if closing := st.Close(); closing != nil {
			err = errors.Join(err, closing)
			return
		}
		p.screen.say("The world is taken down. Nothing is left behind.")
	}()

	p.screen.say("%s", st.scenery())
	s := st.story()
	if err := s.play(ctx, p.screen); err != nil {
		if ctx.Err() == nil {
			p.screen.say("What the box said last:\n%s", indent(lastLines(st.daemonSaid(), 12)))
		}
		return err
	}
	status, err := st.command("status")
	if err != nil {
		return err
	}
	p.screen.say("%s\n%s", p.screen.bold("passerelle status"), indent(status))
	p.screen.say("%s", p.screen.green(fmt.Sprintf("All %d steps were as they should be, in %.0f s.",
		len(s), time.Since(start).Seconds())))
	if p.once {
		return nil
	}
	return st.stayOpen(ctx, browsers)
}

// demoNeeds says what is missing for network namespaces and a box in one.
func demoNeeds(uid int) error {
	if uid != 0 {
		return errors.New("only root may make network namespaces: run it again with sudo")
	}
	// A root shell that came from `su` may not look where Debian puts these.
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
		return fmt.Errorf("packages are missing: apt install %s", strings.Join(missing, " "))
	}
	return nil
}

// thisProgram runs the very program that is running, wherever its file is by now.
func thisProgram(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	return cmd
}

// listenForBrowsers opens the port for this machine's browsers before the story, so that a taken one is said at once.
func listenForBrowsers(address string) (net.Listener, error) {
	if address != "" {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("open the residents' page to browsers: %w: choose another with --listen", err)
		}
		return l, nil
	}
	const first, last = 8080, 8099
	for port := first; port <= last; port++ {
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("open the residents' page to browsers: no port from %d to %d is free: choose one with --listen",
		first, last)
}
