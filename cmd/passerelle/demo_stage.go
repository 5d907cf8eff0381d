package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"passerelle/appliance"
	"passerelle/appliance/config"
	"passerelle/appliance/decide"
	"passerelle/netctl/netlab"
)

// demoConfig is the box of the story. What is lent is less than two residents' limits, and than the line. The card is
// small enough to be spent before one's eyes, and prepaid, so that its first megabytes need not last a month.
const demoConfig = `
[box]
name = "Centre social des Lilas"

[hotspot]
interface = "wlan0"
radio = "none"
address = "10.80.0.1/22"

[limits]
session = "2h"
download = "8mbit"
upload = "2mbit"
data = "500MB"

[[donation]]
name = "Fibre du centre"
interface = "eth0"
download = "12mbit"
upload = "4mbit"
cap = "200GB"
priority = 2
dns = ["192.168.1.1"]

[[donation]]
name = "Carte prépayée de Nadia"
interface = "eth1"
download = "12mbit"
upload = "4mbit"
cap = "10MB"
reserve = "2MB"
period = "once"
priority = 1
dns = ["192.168.2.1"]

[essential]
names = ["service.example"]
`

// The donations, as their places in the configuration.
const fibre, card = 0, 1

// demoLine is the line of whom lends it, with the queue of a cheap modem.
var demoLine = netlab.Shape{Down: 30e6, Up: 10e6, Queue: 100 * time.Millisecond}

// stage is the world in which the story plays, and the people in it.
type stage struct {
	*netlab.Scene
	performance
	conf   *config.Config
	daemon *netlab.Proc // nil before the box is plugged in

	amina, bruno, chloe, david person
	elise                      person // who lends the fibre

	download *netlab.Transfer // Amina's, which goes on through all that happens
	link     string           // of the fibre's lender, once there is one
	trust    *tls.Config      // of the box's certificate, once somebody was asked
}

// person is a resident with a name.
type person struct {
	*netlab.Resident
	name string
}

func newStage(ctx context.Context, p performance) (*stage, error) {
	conf, err := config.Parse("the demo's configuration", []byte(demoConfig))
	if err != nil {
		return nil, err
	}
	scene, err := netlab.Standard(ctx, netlab.Options{Name: "demo", Residents: 5, Uplinks: 2, Line: demoLine})
	if err != nil {
		return nil, err
	}
	s := &stage{
		Scene: scene, performance: p, conf: conf,
		amina: person{scene.Residents[0], "Amina"},
		bruno: person{scene.Residents[1], "Bruno"},
		chloe: person{scene.Residents[2], "Chloé"},
		david: person{scene.Residents[3], "David"},
		elise: person{scene.Residents[4], "Élise"},
	}
	if err := s.furnish(); err != nil {
		return nil, errors.Join(fmt.Errorf("set the stage: %w", err), s.Close())
	}
	return s, nil
}

// furnish puts up what the story needs beyond the standard scene.
func (s *stage) furnish() error {
	page := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, text) })
	}
	err := errors.Join(
		// Something to reach, so that a refusal is the box's and not for want of a server.
		s.Internet.ServeHTTP(":443", page("This is the internet's other door.")),
		s.Lenders[fibre].Router.ServeHTTP(":80", page("These are the router's settings.")),
		s.amina.ServeHTTP(":80", page("These are Amina's photos.")),
		s.Lenders[card].Unplug(), // its time will come
		os.WriteFile(s.Box.Path("/passerelle.toml"), []byte(demoConfig), 0o644),
	)
	if err == nil && s.prepare != nil {
		err = s.prepare(s.Scene)
	}
	return err
}

// scenery says what there is to see.
func (s *stage) scenery() string {
	d, l := s.conf.Donations[fibre], s.conf.Limits
	return fmt.Sprintf(`%s

    internet ───%.0f Mbit/s─── router ───eth0─── box ───wlan0─── Amina, Bruno, Chloé, David
                                └── NAS          ┊
                                                eth1, for the phone that Nadia will lend

    The centre lends %s of its line, and each resident may have %s.
    Packets, names, leases and rules are real, in network namespaces of this machine.
`, s.screen.bold("A connection is shared: "+s.conf.Box.Name), float64(demoLine.Down)/1e6,
		megabits(float64(d.Download)), megabits(float64(l.Download)))
}

func (s *stage) socket() string { return s.Box.Path("/run/passerelle/passerelle.sock") }

// portal is the residents' page.
func (s *stage) portal() string { return "http://" + s.conf.Hotspot.Address.Addr().String() }

// start starts the daemon on the box.
func (s *stage) start() (err error) {
	s.daemon, err = s.Box.StartCmd(s.program("run", "--config", s.Box.Path("/passerelle.toml"),
		"--state", s.Box.Path("/run/passerelle/state"), "--socket", s.socket()))
	return err
}

// kill ends the daemon as a crash would.
func (s *stage) kill() error {
	if err := s.daemon.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-s.daemon.Exited()
	return nil
}

// daemonSaid is the end of the daemon's log.
func (s *stage) daemonSaid() string {
	if s.daemon == nil {
		return ""
	}
	return s.daemon.Output()
}

// command runs a command of the program's, as a technician would on the box.
func (s *stage) command(name string, args ...string) (string, error) {
	out, err := s.program(append([]string{name, "--socket", s.socket()}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("passerelle %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// status asks the daemon.
func (s *stage) status(ctx context.Context) (status appliance.Status, err error) {
	body, err := ask(ctx, s.socket(), http.MethodGet, "/status")
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal(body, &status)
}

// reach waits until the box is in the state, and returns its status then.
func (s *stage) reach(ctx context.Context, want decide.State) (status appliance.Status, err error) {
	err = s.until(ctx, func() (err error) {
		select {
		case <-s.daemon.Exited():
			return final{fmt.Errorf("the daemon ended: %v", s.daemon.Wait())}
		default:
		}
		if status, err = s.status(ctx); err == nil && status.State != want {
			err = fmt.Errorf("the box is %s and not %s: %s", status.State, want,
				strings.Join(append([]string{status.Why}, status.Problems...), "; "))
		}
		return err
	})
	return status, err
}

// final is why waiting longer is of no use.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// until waits until check is content, or its error final, or the limit over. The error is check's last.
func (s *stage) until(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		var f final
		if err == nil || errors.As(err, &f) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (waited for %s)", err, s.limit)
		case <-tick.C:
		}
	}
}
