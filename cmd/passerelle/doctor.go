package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/appliance/doctor"
	"passerelle/appliance/state"
)

// errFault is the result of a search that found a fault, which has been printed.
var errFault = errors.New("something is wrong: see above")

// doctorCommand searches for faults of the running box, or of one that is not running.
func doctorCommand(ctx context.Context, c *cli, args []string) error {
	var box control.Client
	var path, bundle string
	var asJSON, log bool
	if _, err := c.flags("doctor", args, 0, func(f *flag.FlagSet) {
		socketFlag(f, &box)
		f.StringVar(&path, "config", defaultConfig, "the configuration `FILE`, for a box that does not run")
		f.BoolVar(&asJSON, "json", false, "print JSON with stable fields")
		f.BoolVar(&log, "log", false, "print the log of the last hour instead, without addresses and names of devices")
		f.StringVar(&bundle, "bundle", "", "write a zip for those who help to this `FILE` instead, without anything personal or secret")
	}); err != nil {
		return err
	}
	switch {
	case log && bundle != "":
		return usageError{errors.New("passerelle doctor: --log and --bundle are one or the other")}
	case log:
		return c.recentLog(ctx, box, asJSON)
	case bundle != "":
		return c.writeBundle(ctx, box, bundle)
	}
	d, text, err := box.Diagnose(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		d = c.diagnoseStopped(ctx, path)
		text, err = json.MarshalIndent(d, "", "  ")
		text = append(text, '\n')
	}
	if err != nil {
		return err
	}
	if !asJSON {
		text = []byte(doctor.Text(d))
	}
	if _, err := c.out.Write(text); err != nil {
		return err
	}
	if d.Verdict == state.Bad {
		return errFault
	}
	return nil
}

// recentLog prints the log of the last hour.
func (c *cli) recentLog(ctx context.Context, box control.Client, asJSON bool) error {
	all, err := box.RecentLog(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(c.out)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}
	for _, e := range all {
		mark := map[string]string{"WARN": "warning: ", "ERROR": "error: "}[e.Level]
		fmt.Fprintf(c.out, "%s  %s%s\n", e.At.Local().Format("15:04:05"), mark, e.Text)
	}
	if len(all) == 0 {
		fmt.Fprintln(c.out, "The log of the last hour is empty.")
	}
	return nil
}

// writeBundle writes the support file, a zip.
func (c *cli) writeBundle(ctx context.Context, box control.Client, path string) error {
	zip, err := box.Support(ctx)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(path, zip, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	fmt.Fprintf(c.out, "%s: %d kB, without passwords, addresses and names of persons. Look into it before you send it.\n", path, (len(zip)+999)/1000)
	return nil
}

// diagnoseStopped finds what can be known about a box whose daemon is not running.
func (c *cli) diagnoseStopped(ctx context.Context, path string) state.Diagnosis {
	d := state.Diagnosis{Began: time.Now()}
	add := func(step state.Step, code state.Code, args ...string) {
		d.Steps = append(d.Steps, doctor.NewFinding(step, code, args...))
	}
	conf, err := config.File{Path: path}.Load()
	var address netip.Addr
	switch {
	case errors.Is(err, fs.ErrNotExist):
		add(state.StepConfig, "config-missing", "file", path)
	case err != nil:
		add(state.StepConfig, "config-refused", "file", path, "error", err.Error())
	default:
		address = conf.Hotspot.Address.Addr()
		m, machineErr := c.machine()
		if found := misfits(m, conf); machineErr == nil && len(found) > 0 {
			add(state.StepConfig, "config-misfit", "file", path, "error", strings.Join(found, "; "))
		} else {
			add(state.StepConfig, "config-ok", "file", path)
		}
	}
	if taken := takenPorts(address); taken != nil {
		add(state.StepPorts, "ports-taken", "ports", strings.Join(taken, ", "))
	} else {
		add(state.StepPorts, "ports-ok")
	}
	add(state.StepDaemon, "daemon-stopped", "unit", unitState(ctx))
	for _, step := range []state.Step{state.StepBox, state.StepInterface, state.StepAnswers, state.StepPortal, state.StepDHCP, state.StepCap} {
		add(step, "not-running")
	}
	d.Took, d.Verdict = time.Since(d.Began).Milliseconds(), d.Worst()
	if f, ok := d.FindCause(); ok {
		d.Cause = f.Code
	}
	return d
}

// neededPorts are the box's ports, with the files in /proc that list who uses them (Documentation/networking/proc_net_tcp.rst).
var neededPorts = []struct {
	port    uint16
	network string
}{{53, "udp"}, {53, "tcp"}, {67, "udp"}, {80, "tcp"}, {443, "tcp"}}

// takenPorts returns the box's ports that other programs use: at its address, if that is known, or at every address.
func takenPorts(box netip.Addr) (taken []string) {
	for _, p := range neededPorts {
		var text string
		for _, file := range []string{p.network, p.network + "6"} {
			b, _ := os.ReadFile("/proc/self/net/" + file) // a kernel without IPv6 has no second file
			text += string(b)
		}
		if hasPort(text, box, p.port, p.network == "tcp") {
			taken = append(taken, fmt.Sprintf("%d/%s", p.port, p.network))
		}
	}
	return taken
}

// hasPort tells whether a socket in a list is bound to a port, at the address or at every address.
func hasPort(list string, at netip.Addr, port uint16, tcp bool) bool {
	const listening = "0A"
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) < 4 || tcp && f[3] != listening {
			continue
		}
		address, number, _ := strings.Cut(f[1], ":")
		if number != fmt.Sprintf("%04X", port) {
			continue
		}
		if strings.Trim(address, "0") == "" {
			return true
		}
		if b, err := hex.DecodeString(address); err == nil && len(b) == 4 && at.Is4() {
			if netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}) == at { // the kernel prints it as a little-endian number, on all our boards
				return true
			}
		}
	}
	return false
}

// unitState returns what systemd says of the service, e.g. "inactive, disabled".
func unitState(ctx context.Context) string {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return "no systemd here"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var words []string
	for _, ask := range []string{"is-active", "is-enabled"} {
		out, err := exec.CommandContext(ctx, "systemctl", ask, "passerelle").Output() // its exit status is not 0 if the answer is no
		word := strings.TrimSpace(string(out))
		if word == "" && err != nil {
			word = "systemd does not answer"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}
