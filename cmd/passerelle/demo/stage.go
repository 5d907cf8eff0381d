package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/lab"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// boxConfig is the box's configuration. The fibre's lent rate is below two residents' limits, and below its link's rate. The card is
// small enough to be spent during the demo. It is prepaid, so that no daily budget applies to it.
const boxConfig = `
[box]
name = "Centre social des Lilas"
coordinates = "48.8799, 2.4165"

[centre]
address = "12 rue des Lilas"
town = "Les Lilas"
phone = "01 99 00 11 22"
hours = "Mo-Fr 09:00-12:30,14:00-19:00; PH off"
desk = ["papers", "learn", "print"]

[hotspot]
interface = "wlan0"
radio = "none"
country = "FR"
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

// The donations' indexes in the configuration.
const fibre, card = 0, 1

// lentLine is a lender's access link, with the queue of a cheap modem.
var lentLine = netlab.Shape{Down: 30e6, Up: 10e6, Queue: 100 * time.Millisecond}

// environment is the demo's network and the people in it.
type environment struct {
	*netlab.Scene
	runner
	conf   *config.Config
	daemon *lab.Daemon

	amina, bruno, chloe, david person
	elise                      person // who lends the fibre
	desk                       person // the phone of the centre's staff

	download *netlab.Transfer // Amina's download, which runs through all steps
	link     string           // of the fibre's lender, once issued
	trust    *tls.Config      // of the box's certificate, once accepted
	password string           // the technician's, once chosen
	staff    *browser         // signed in at the desk
	offer    string           // the page with what Élise offers
}

// person is a resident with a name.
type person struct {
	*netlab.Resident
	name string
}

func newEnvironment(ctx context.Context, p runner) (*environment, error) {
	conf, err := config.Parse("the demo's configuration", []byte(boxConfig))
	if err != nil {
		return nil, err
	}
	scene, err := netlab.Standard(ctx, netlab.Options{Name: "demo", Residents: 6, Uplinks: 2, Shape: lentLine})
	if err != nil {
		return nil, err
	}
	s := &environment{
		Scene: scene, runner: p, conf: conf,
		amina: person{scene.Residents[0], "Amina"},
		bruno: person{scene.Residents[1], "Bruno"},
		chloe: person{scene.Residents[2], "Chloé"},
		david: person{scene.Residents[3], "David"},
		elise: person{scene.Residents[4], "Élise"},
		desk:  person{scene.Residents[5], "the desk"},
	}
	if err := s.setUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("set up the test environment: %w", err), s.Close())
	}
	return s, nil
}

// setUp adds what the steps need to the standard scene.
func (s *environment) setUp() error {
	page := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, text) })
	}
	err := errors.Join(
		// There is a server behind each address, so a refusal is the box's.
		s.Internet.ServeHTTP(":443", page("This is the internet's other door.")),
		s.Lenders[fibre].Router.ServeHTTP(":80", page("These are the router's settings.")),
		s.amina.ServeHTTP(":80", page("These are Amina's photos.")),
		s.Lenders[card].Unplug(), // a later step plugs it in
	)
	if err == nil {
		s.daemon, err = lab.New(s.Box, s.Program)
	}
	if err == nil {
		err = s.daemon.Configure(boxConfig)
	}
	if err == nil && s.Prepare != nil {
		err = s.Prepare(s.Scene)
	}
	return err
}

// describe describes the network.
func (s *environment) describe() string {
	d, l := s.conf.Donations[fibre], s.conf.Limits
	return fmt.Sprintf(`%s

    internet ───%.0f Mbit/s─── router ───eth0─── box ───wlan0─── Amina, Bruno, Chloé, David
                                └── NAS          ┊
                                                eth1, for the phone that Nadia will lend

    The centre lends %s of its line, and each resident may have %s.
    Packets, names, leases and rules are real, in network namespaces of this machine.
`, s.screen.bold("A connection is shared: "+s.conf.Box.Name), float64(lentLine.Down)/1e6,
		megabits(float64(d.Download)), megabits(float64(l.Download)))
}

// portal returns the URL of the residents' page.
func (s *environment) portal() string { return "http://" + s.conf.Hotspot.Address.Addr().String() }

// reach waits until the box is in a state, and returns its status.
func (s *environment) reach(ctx context.Context, want state.State) (status state.Status, err error) {
	err = s.until(ctx, func() (err error) {
		select {
		case <-s.daemon.Proc.Exited():
			return permanent{fmt.Errorf("the daemon exited: %v", s.daemon.Proc.Wait())}
		default:
		}
		if status, err = s.daemon.Status(ctx); err == nil && status.State != want {
			err = fmt.Errorf("the box is %s and not %s: %s %q", status.State, want, status.Why, status.Problems)
		}
		return err
	})
	return status, err
}

// permanent is an error that ends the wait at once.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// until repeats check until it returns nil or a permanent error, or the limit is over. The error is check's last one.
func (s *environment) until(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		var p permanent
		if err == nil || errors.As(err, &p) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (waited for %s)", err, s.Limit)
		case <-tick.C:
		}
	}
}
