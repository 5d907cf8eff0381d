// Package box runs the daemon's real program on the box of a netlab scene, for the benchmarks, the attacks and the fleet's demo. It owns
// how the daemon is built, configured, started and queried. What is done with it is up to its callers.
package box

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/appliance/lab"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
	"passerelle/testdata"
)

// tools are the programs that the daemon and a scene need.
var tools = []string{"iptables", "iptables-restore", "ip6tables-restore", "ip", "dnsmasq", "busybox"}

// Ready returns an error that names what is missing to run a box here, including these further programs.
func Ready(programs ...string) error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root: use sudo")
	}
	for _, t := range slices.Concat(tools, programs) {
		if _, err := exec.LookPath(t); err != nil {
			return fmt.Errorf("%w: install it", err)
		}
	}
	return nil
}

// Build builds a program in cmd from its source, with the release flags, and writes it to a file; "passerelle" is the daemon. flags are
// further flags of go build.
func Build(ctx context.Context, program, file string, flags ...string) error {
	args := append([]string{"build", "-trimpath", "-o", file}, flags...)
	build := exec.CommandContext(ctx, "go", append(args, "passerelle/cmd/"+program)...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", program, err, text)
	}
	return nil
}

// Setup is the parts of the daemon's configuration and environment that differ between callers.
type Setup struct {
	Limits   string   // lines of the section about each resident; "": 4 Mbit/s down, 1 up, 500 MB a day
	Donation string   // lines of the first donation besides name and interface; "": 200 Mbit/s down, 50 up, a cap of 200 GB
	More     string   // further sections
	State    string   // the state folder, "" for one in the scene
	Env      []string // KEY=VALUE, in addition to this process's
	Args     []string // further arguments of passerelle run
}

func (s Setup) String() string {
	return strings.NewReplacer("download = \"8mbit\"\nupload = \"4mbit\"\ndata = \"500MB\"", cmp.Or(s.Limits, `
download = "4mbit"
upload = "1mbit"
data = "500MB"`), `cap = "0"`, cmp.Or(s.Donation, `
download = "200mbit"
upload = "50mbit"
cap = "200GB"`)).Replace(testdata.Box) + s.More
}

// Portal is the URL of the box's pages.
const Portal = "http://10.80.0.1"

// Daemon is a scene with the daemon running on its box.
type Daemon struct {
	*netlab.Scene
	*lab.Daemon
}

// Start starts a daemon's program in a scene and waits until it shares. The box then owns the scene, which is also closed if the start
// fails.
func Start(ctx context.Context, program string, s *netlab.Scene, how Setup) (*Daemon, error) {
	d := &Daemon{Scene: s}
	if err := d.start(ctx, program, how); err != nil {
		return nil, errors.Join(fmt.Errorf("start the daemon: %w", err), s.Close())
	}
	return d, nil
}

func (d *Daemon) start(ctx context.Context, program string, how Setup) (err error) {
	d.Daemon, err = lab.New(d.Box, func(words ...string) *exec.Cmd {
		cmd := exec.Command(program, words...)
		cmd.Env = append(os.Environ(), how.Env...)
		return cmd
	})
	if err != nil {
		return err
	}
	d.State = cmp.Or(how.State, d.State)
	if err := errors.Join(d.Configure(how.String()), d.Daemon.Start(how.Args...)); err != nil {
		return err
	}
	return d.shares(ctx)
}

// Restart stops the daemon and starts it again with these further arguments of passerelle run, and waits until it shares.
func (d *Daemon) Restart(ctx context.Context, args ...string) error {
	if err := errors.Join(d.Proc.Stop(), d.Daemon.Start(args...)); err != nil {
		return fmt.Errorf("restart the daemon: %w", err)
	}
	return d.shares(ctx)
}

func (d *Daemon) shares(ctx context.Context) error {
	return d.Until(ctx, "the box to share", func() error {
		s, err := d.Status(ctx)
		if err == nil && s.State != state.Sharing {
			err = fmt.Errorf("%s: %s", s.State, s.Why)
		}
		return err
	})
}

// waitTimeout is the timeout of every wait, with a wide margin for a busy machine.
const waitTimeout = time.Minute

// Until calls ok repeatedly until it returns nil, for at most a minute.
func (d *Daemon) Until(ctx context.Context, what string, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-d.Proc.Exited():
			return fmt.Errorf("the daemon has ended:\n%s", d.Log())
		case <-ctx.Done():
			return fmt.Errorf("timed out waiting for %s: %w", what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Join obtains leases for the residents, several at a time.
func (d *Daemon) Join(ctx context.Context, residents ...*netlab.Resident) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(8)
	for _, r := range residents {
		all.Go(func() error {
			return d.Until(ctx, r.Name()+"'s lease", func() error {
				_, err := r.Join(ctx)
				return err
			})
		})
	}
	return all.Wait()
}

// Admit presses the button for the residents.
func (d *Daemon) Admit(ctx context.Context, residents ...*netlab.Resident) error {
	for _, r := range residents {
		reply, err := r.Post(ctx, Portal+"/session", strings.NewReader(""))
		if err == nil && reply.Status != http.StatusSeeOther {
			err = fmt.Errorf("the button was answered with %d", reply.Status)
		}
		if err != nil {
			return fmt.Errorf("admit %s: %w", r.Name(), err)
		}
	}
	return nil
}

// Chosen returns the index of the donation in use, -1 for none.
func (d *Daemon) Chosen(ctx context.Context) (int, error) {
	s, err := d.Status(ctx)
	for i, lent := range s.Donations {
		if lent.Chosen {
			return i, err
		}
	}
	return -1, err
}
