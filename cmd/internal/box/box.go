// Package box runs the daemon's real program on the box of a netlab scene, for the programs that measure it and attack
// it. It owns how the daemon is built, configured, started and asked; what it is then made to do is theirs.
package box

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/appliance"
	"passerelle/appliance/decide"
	"passerelle/netctl/netlab"
)

// tools are the programs that the daemon and a scene run.
var tools = []string{"iptables", "iptables-restore", "ip6tables-restore", "ip", "dnsmasq", "busybox"}

// Ready returns an error that says what is missing to run a box here, and these programs beside it.
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

// Build builds the daemon from its source, as it is shipped, to a file.
func Build(ctx context.Context, file string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", file, "passerelle/cmd/passerelle")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the daemon: %w\n%s", err, text)
	}
	return nil
}

// Setup is how a daemon is configured and started, where it matters.
type Setup struct {
	Limits   string   // lines of the section for each resident; "": 4 Mbit/s down, 1 up, 500 MB a day
	Donation string   // lines of the first donation beside name and interface; "": 200 Mbit/s down, 50 up, a cap of 200 GB
	More     string   // further sections
	State    string   // the folder for what survives a power cut, "" for one in the scene
	Env      []string // KEY=VALUE, beside this process's
}

func (s Setup) String() string {
	return fmt.Sprintf(`
[box]
name = "Centre social des Lilas"
[hotspot]
interface = "wlan0"
radio = "none"
address = "10.80.0.1/22"
[limits]
session = "2h"
%s
[[donation]]
name = "Fibre du centre"
interface = "eth0"
%s
%s
`, cmp.Or(s.Limits, `
download = "4mbit"
upload = "1mbit"
data = "500MB"`), cmp.Or(s.Donation, `
download = "200mbit"
upload = "50mbit"
cap = "200GB"`), s.More)
}

// Portal is where the box's pages are.
const Portal = "http://10.80.0.1"

// Daemon is a scene with the daemon running on its box.
type Daemon struct {
	*netlab.Scene
	Proc *netlab.Proc

	program, socket string
	log             *os.File
}

// Start starts the program of a daemon in a scene and waits until it shares. The scene is the box's from then on: it is
// closed also when the start fails.
func Start(ctx context.Context, program string, s *netlab.Scene, how Setup) (*Daemon, error) {
	d := &Daemon{Scene: s, program: program, socket: s.Box.Path("/run/passerelle/passerelle.sock")}
	if err := d.start(ctx, how); err != nil {
		return nil, errors.Join(fmt.Errorf("start the daemon: %w", err), d.Close())
	}
	return d, nil
}

func (d *Daemon) start(ctx context.Context, how Setup) (err error) {
	for _, dir := range []string{d.Dir(), d.Box.Path("/"), d.Box.Path("/run")} {
		if err := os.Chmod(dir, 0o755); err != nil { // dnsmasq, no longer root, reads its servers below it
			return err
		}
	}
	conf := d.Box.Path("/passerelle.toml")
	if err := os.WriteFile(conf, []byte(how.String()), 0o600); err != nil {
		return err
	}
	if d.log, err = os.OpenFile(d.Box.Path("/log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return err
	}
	state := cmp.Or(how.State, d.Box.Path("/state"))
	cmd := exec.Command(d.program, "run", "--config", conf, "--state", state, "--socket", d.socket)
	cmd.Env = append(os.Environ(), how.Env...)
	cmd.Stdout, cmd.Stderr = d.log, d.log
	if d.Proc, err = d.Box.StartCmd(cmd); err != nil {
		return err
	}
	return d.Until(ctx, "the box to share", func() error {
		s, err := d.Status(ctx)
		if err == nil && s.State != decide.Sharing {
			err = fmt.Errorf("%s: %s", s.State, s.Why)
		}
		return err
	})
}

// Close ends the daemon and takes the scene away.
func (d *Daemon) Close() error {
	err := d.Scene.Close()
	if d.log != nil {
		d.log.Close()
	}
	return err
}

// Log returns all that the daemon has written.
func (d *Daemon) Log() string {
	text, err := os.ReadFile(d.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text))
}

// Status asks the daemon what it does.
func (d *Daemon) Status(ctx context.Context) (s appliance.Status, err error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", d.socket)
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://passerelle/status", nil)
	if err != nil {
		return s, err
	}
	reply, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return s, err
	}
	defer reply.Body.Close()
	return s, json.NewDecoder(reply.Body).Decode(&s)
}

// Do has the program carry out one of its commands.
func (d *Daemon) Do(ctx context.Context, words ...string) error {
	cmd := exec.CommandContext(ctx, d.program, append(words, "--socket", d.socket)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("passerelle %s: %w: %s", strings.Join(words, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// patience bounds every wait: on a busy machine things take long, never so long.
const patience = time.Minute

// Until tries until ok returns nil, for a minute at most.
func (d *Daemon) Until(ctx context.Context, what string, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
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
			return fmt.Errorf("waited in vain for %s: %w", what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Join has the residents get leases, several at once.
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

// Admit has the residents press the button.
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

// Chosen returns which donation residents' packets go by, -1 for none.
func (d *Daemon) Chosen(ctx context.Context) (int, error) {
	s, err := d.Status(ctx)
	for i, lent := range s.Donations {
		if lent.Chosen {
			return i, err
		}
	}
	return -1, err
}
