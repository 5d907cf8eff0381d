package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"passerelle/appliance/config"
	"passerelle/netctl"
	"passerelle/netctl/radio"
)

// scanLimit is how long listening around may take. All channels take a radio four seconds or so.
const scanLimit = 20 * time.Second

// ears hear which networks are in range.
type ears interface {
	Interfaces() ([]netctl.RadioInterface, error)
	Scan(context.Context, netctl.RadioInterface) ([]netctl.Heard, []netctl.Busy, error)
}

// inRange is a network as passerelle wifi scan lists it. Its fields are stable.
type inRange struct {
	SSID     string          `json:"ssid"`   // as the configuration has it; "" of a network that keeps it to itself
	Signal   int             `json:"signal"` // dBm
	Channel  int             `json:"channel"`
	Band     string          `json:"band"`
	Security netctl.Security `json:"security"`
	Donation string          `json:"donation,omitempty"`
}

// wifiScan lists the networks in range.
func wifiScan(ctx context.Context, c *cli, args []string) error {
	var path, device string
	var asJSON bool
	if _, err := c.flags("wifi scan", args, 0, func(f *flag.FlagSet) {
		f.StringVar(&path, "config", defaultConfig, "the configuration `FILE`")
		f.StringVar(&device, "interface", "", "the radio's `INTERFACE` that listens; else one that joins networks")
		f.BoolVar(&asJSON, "json", false, "print JSON; its fields are stable")
	}); err != nil {
		return err
	}
	conf, err := config.Load(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(c.err, err) // none the less the air can be listened to
		}
		conf = &config.Config{}
	}
	r, err := radio.Open()
	if err != nil {
		return err
	}
	list, err := scan(ctx, r, conf, device)
	if err != nil {
		return err
	}
	text := describeAir(list)
	if asJSON {
		if text, err = json.MarshalIndent(list, "", "  "); err != nil {
			return err
		}
		text = append(text, '\n')
	}
	_, err = c.out.Write(text)
	return err
}

// scan returns the networks in range, the strongest first, each once however many access points it has.
func scan(ctx context.Context, by ears, conf *config.Config, device string) ([]inRange, error) {
	all, err := by.Interfaces()
	if err != nil {
		return nil, err
	}
	i, err := listener(all, conf, device)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, scanLimit)
	defer cancel()
	heard, _, err := by.Scan(ctx, i)
	switch {
	case errors.Is(err, radio.ErrServing):
		return nil, fmt.Errorf("%w, which %s is: name another radio's interface, as --interface wlan1", err, i.Name)
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("%w: only root may listen around: use sudo", err)
	case errors.Is(err, unix.ENETDOWN):
		return nil, fmt.Errorf("%w: switch it on with ip link set %s up", err, i.Name)
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%w: it is looking around already: try again", err)
	case err != nil:
		return nil, err
	}
	slices.SortStableFunc(heard, func(a, b netctl.Heard) int { return cmp.Compare(b.Signal, a.Signal) })
	list := []inRange{} // in JSON, none is no null
	seen := make(map[netctl.Heard]bool)
	for _, h := range heard {
		same := netctl.Heard{SSID: h.SSID, Security: h.Security}
		if seen[same] && h.SSID != "" {
			continue
		}
		seen[same] = true
		n := inRange{SSID: config.SSID(h.SSID).String(), Signal: h.Signal, Security: h.Security}
		n.Channel, n.Band = netctl.ChannelNumber(h.MHz)
		for _, d := range conf.Donations {
			if d.WiFi != nil && h.SSID == string(d.WiFi.SSID) {
				n.Donation = d.Name
			}
		}
		list = append(list, n)
	}
	return list, nil
}

// listener chooses the interface that listens: the one that is named, else the best there is.
func listener(all []netctl.RadioInterface, conf *config.Config, device string) (netctl.RadioInterface, error) {
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
		if i.Name == device {
			return i, nil
		}
	}
	switch {
	case len(all) == 0:
		return netctl.RadioInterface{}, radio.ErrNone
	case device != "":
		return netctl.RadioInterface{}, wrong{fmt.Errorf("passerelle wifi scan: %q is no radio's interface; there are: %s",
			device, strings.Join(names, ", "))}
	}
	return slices.MaxFunc(all, func(a, b netctl.RadioInterface) int {
		return cmp.Compare(suits(a, conf), suits(b, conf))
	}), nil
}

// suits says how well an interface serves to listen: one that joins lenders' networks hears what can be joined.
func suits(i netctl.RadioInterface, conf *config.Config) int {
	joinedBy := func(d config.Donation) bool { return d.WiFi != nil && d.Interface == i.Name }
	switch {
	case slices.ContainsFunc(conf.Donations, joinedBy):
		return 2
	case i.Kind == netctl.RadioStation:
		return 1
	}
	return 0
}

// describeAir lists networks for people.
func describeAir(list []inRange) []byte {
	if len(list) == 0 {
		return []byte("No network is in range.\n")
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NETWORK\tSIGNAL\tCHANNEL\tJOINED WITH\tDONATION")
	for _, n := range list {
		name, channel := cmp.Or(n.SSID, "(keeps its name to itself)"), "-"
		if n.Channel != 0 {
			channel = fmt.Sprintf("%d, %s", n.Channel, n.Band)
		}
		fmt.Fprintf(w, "%s\t%s, %d dBm\t%s\t%s\t%s\n", name, strength(n.Signal), n.Signal, channel, key(n.Security), n.Donation)
	}
	w.Flush()
	var lines bytes.Buffer
	for line := range bytes.Lines(b.Bytes()) {
		lines.Write(append(bytes.TrimRight(line, " \n"), '\n'))
	}
	return lines.Bytes()
}

// strength says a signal in dBm in a word: above -60 everything works, below -75 a phone shows one bar.
func strength(signal int) string {
	switch {
	case signal >= -60:
		return "strong"
	case signal >= -75:
		return "fair"
	}
	return "weak"
}

// key says what one needs to join a network.
func key(s netctl.Security) string {
	switch s {
	case netctl.SecurityOpen, netctl.SecurityOWE:
		return "nothing"
	case netctl.SecurityWPA2, netctl.SecurityWPA2SAE, netctl.SecuritySAE:
		return "a password (" + string(s) + ")"
	case netctl.SecurityEnterprise:
		return "a user's account: not for the box"
	case netctl.SecurityOld:
		return "protection that is broken: not for the box"
	}
	return "what the box does not know"
}
