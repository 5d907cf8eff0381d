package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// row is a line of the table.
type row struct {
	what     string
	target   string // "" if the row has no target
	measured string
	beside   string // the baseline
	ratio    string
	met      verdict
}

// verdict says whether a target is met.
type verdict string

// Verdicts. The zero value is for rows without a target.
const (
	met    verdict = "yes"
	missed verdict = "**no**"
)

func verdictOf(ok bool) verdict {
	if ok {
		return met
	}
	return missed
}

// markdown writes the facts.
func markdown(facts []string) string {
	var b strings.Builder
	for _, f := range facts {
		fmt.Fprintf(&b, "- %s\n", f)
	}
	return b.String()
}

// tableOf writes the table.
func tableOf(rows []row) string {
	if len(rows) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n| what | target | measured | beside it | ratio | met |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.what, r.target, r.measured, r.beside, r.ratio, r.met)
	}
	return b.String()
}

// machine describes the machine of the measurements.
func machine() []string {
	var u unix.Utsname
	release := "unknown"
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	return []string{
		fmt.Sprintf("Linux %s on %s, %d cores (%s), %s", release, runtime.GOARCH, runtime.NumCPU(), cpuModel(), runtime.Version()),
		firstLine("iptables", "--version"),
		"everything, both ends of each transfer included, shares these cores: ratios hold, absolute figures are this machine's",
		"offload on: TCP passes the box in packets of up to 64 kB; offload off: in packets of 1,514 bytes, as on a wire",
		"load average " + loadAverage() + " at the start",
	}
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

func firstLine(argv ...string) string {
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		return fmt.Sprintf("%s: %v", argv[0], err)
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return string(line)
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}
