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

// wifiCommands are the subcommands of "passerelle wifi".
var wifiCommands = []command{
	{"scan", "[--config FILE] [--interface IF] [--json]", "list the Wi-Fi networks in range", wifiScan},
	{"lend", "[--config FILE] [--interface IF] [--name NAME] [--cap SIZE] [--period P] [--until DAY] [--socket FILE] SSID [PASSPHRASE]",
		"add a lender's Wi-Fi network as a donation", wifiLend},
}

// wifi runs the commands about lenders' networks.
func wifi(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "wifi", wifiCommands, args)
}

// scanLimit is the timeout of a scan. A radio scans all channels in about four seconds.
const scanLimit = 20 * time.Second

// scanner scans for networks.
type scanner interface {
	Interfaces() ([]netctl.RadioInterface, error)
	Scan(context.Context, netctl.RadioInterface) ([]netctl.ScanResult, []netctl.Survey, error)
}

// inRange is a network as passerelle wifi scan lists it. Its fields are stable.
type inRange struct {
	SSID     string          `json:"ssid"`   // as in the configuration; "" for a hidden network
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
		f.StringVar(&device, "interface", "", "the `INTERFACE` that scans (default: one that joins networks)")
		f.BoolVar(&asJSON, "json", false, "print JSON with stable fields")
	}); err != nil {
		return err
	}
	conf, err := config.File{Path: path}.Load()
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(c.err, err) // a scan does not need it
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
	text := describeNetworks(list)
	if asJSON {
		if text, err = json.MarshalIndent(list, "", "  "); err != nil {
			return err
		}
		text = append(text, '\n')
	}
	_, err = c.out.Write(text)
	return err
}

// scan returns the networks in range, the strongest first, and each once even with several access points.
func scan(ctx context.Context, by scanner, conf *config.Config, device string) ([]inRange, error) {
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
	case errors.Is(err, radio.ErrScanWhileAP):
		return nil, fmt.Errorf("%w, as %s is: use another radio's interface, such as --interface wlan1", err, i.Name)
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("%w: only root may scan; use sudo", err)
	case errors.Is(err, unix.ENETDOWN):
		return nil, fmt.Errorf("%w: bring it up with ip link set %s up", err, i.Name)
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%w: a scan is running; try again", err)
	case err != nil:
		return nil, err
	}
	slices.SortStableFunc(heard, func(a, b netctl.ScanResult) int { return cmp.Compare(b.Signal, a.Signal) })
	list := []inRange{} // an empty list is not null in JSON
	seen := make(map[netctl.ScanResult]bool)
	for _, h := range heard {
		same := netctl.ScanResult{SSID: h.SSID, Security: h.Security}
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

// listener chooses the interface that scans: the named one, otherwise the most suitable one.
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
		return netctl.RadioInterface{}, usageError{fmt.Errorf("passerelle wifi scan: %q is not a radio's interface; available: %s",
			device, strings.Join(names, ", "))}
	}
	return slices.MaxFunc(all, func(a, b netctl.RadioInterface) int {
		return cmp.Compare(suits(a, conf), suits(b, conf))
	}), nil
}

// suits ranks an interface for scanning. One that joins lenders' networks finds the networks that it can join.
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

// describeNetworks formats the networks for people.
func describeNetworks(list []inRange) []byte {
	if len(list) == 0 {
		return []byte("No network is in range.\n")
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NETWORK\tSIGNAL\tCHANNEL\tSECURITY\tDONATION")
	for _, n := range list {
		name, channel := cmp.Or(n.SSID, "(hidden)"), "-"
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

// strength names a signal in dBm: above -60 everything works, below -75 a phone shows one bar.
func strength(signal int) string {
	switch {
	case signal >= -60:
		return "strong"
	case signal >= -75:
		return "fair"
	}
	return "weak"
}

// key says how a network is protected.
func key(s netctl.Security) string {
	switch s {
	case netctl.SecurityOpen, netctl.SecurityOWE:
		return "open"
	case netctl.SecurityWPA2, netctl.SecurityWPA2SAE, netctl.SecuritySAE:
		return "password (" + string(s) + ")"
	case netctl.SecurityEnterprise:
		return "user account (not supported)"
	case netctl.SecurityOld:
		return "broken encryption (not supported)"
	}
	return "unknown"
}
