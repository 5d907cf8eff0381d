package state

import "time"

// Diagnosis is one search for faults: what each step of the chain saw, and what to do. It has no data of residents.
type Diagnosis struct {
	Began   time.Time `json:"began"`
	Took    int64     `json:"took_ms"` // so far, in milliseconds
	Running bool      `json:"running"`
	Verdict Verdict   `json:"verdict"` // the worst one; "" while running
	Cause   Code      `json:"cause,omitempty"`
	Bytes   uint64    `json:"bytes"` // sent and received on all lines, with IP headers
	Steps   []Finding `json:"steps"`
}

// Finding is what one step saw.
type Finding struct {
	Step    Step              `json:"step"`
	Of      string            `json:"of,omitempty"` // the donation, if the step is about one
	Verdict Verdict           `json:"verdict"`      // "" until the step is done
	Code    Code              `json:"code"`         // what it saw, as data; stable
	Args    map[string]string `json:"arguments"`    // the figures, as text; see ArgsInBytes and ArgsInMS
	Saw     string            `json:"saw"`          // in English
	Do      string            `json:"do,omitempty"` // what to do, in English
}

// Step is a step of the chain.
type Step string

// The steps, in their order. Those from StepInterface to StepPage are each about one line.
const (
	StepBox       Step = "box"       // what the box does
	StepInterface Step = "interface" // the line's interface is present
	StepLink      Step = "link"      // cable, phone or Wi-Fi
	StepAddress   Step = "address"   // from the lender's network
	StepGateway   Step = "gateway"   // it answers ARP
	StepResolver  Step = "resolver"  // the line's name servers answer
	StepNames     Step = "names"     // and their answers are correct
	StepTCP       Step = "tcp"       // a connection is established
	StepPage      Step = "page"      // a known page arrives unchanged
	StepHotspot   Step = "hotspot"   // the network that residents join
	StepRadio     Step = "radio"
	StepAnswers   Step = "answers" // names, as residents resolve them through the box
	StepPortal    Step = "portal"  // as a phone sees it
	StepDHCP      Step = "dhcp"    // addresses for residents
	StepDisk      Step = "disk"
	StepClock     Step = "clock"
	StepCap       Step = "cap" // of a donation
	StepLights    Step = "lights"

	// The steps of a box whose daemon is not running.
	StepDaemon Step = "daemon"
	StepConfig Step = "config"
	StepPorts  Step = "ports"
)

// Steps are all steps.
var Steps = []Step{
	StepBox, StepInterface, StepLink, StepAddress, StepGateway, StepResolver, StepNames, StepTCP, StepPage, StepHotspot, StepRadio,
	StepAnswers, StepPortal, StepDHCP, StepDisk, StepClock, StepCap, StepLights, StepDaemon, StepConfig, StepPorts,
}

// FindingCodes are all codes of findings. Package doctor has the text for each.
var FindingCodes = []Code{
	"address-none", "address-ok", "address-overlap", "answers-captive", "answers-ok", "answers-silent", "answers-wrong",
	"box-closed", "box-exhausted", "box-fault", "box-offline", "box-paused", "box-paused-by-lenders", "box-setup",
	"box-sharing", "box-starting", "cap-lost", "cap-low", "cap-none", "cap-ok", "cap-spent", "clock-ok", "clock-ok-server",
	"clock-untrusted", "config-misfit", "config-missing", "config-ok", "config-refused", "daemon-stopped", "dhcp-closed",
	"dhcp-few", "dhcp-full", "dhcp-ok", "dhcp-silent", "dhcp-unasked", "dhcp-unread", "dhcp-wrong", "disk-errors",
	"disk-fails", "disk-full", "disk-low", "disk-ok", "disk-read-only", "disk-slow", "gateway-no-route", "gateway-none",
	"gateway-ok", "gateway-several", "gateway-silent", "gateway-unasked", "hotspot-missing", "hotspot-no-address",
	"hotspot-no-link", "hotspot-ok", "interface-missing", "interface-no-phone", "interface-ok", "interface-unread",
	"lights-fail", "lights-none", "lights-ok", "link-not-joined", "link-off", "link-ok", "link-phone", "link-unplugged",
	"names-missing", "names-ok", "names-refused", "names-servfail", "names-wrong", "not-after", "not-closed", "not-idle",
	"not-in-time", "not-paused", "not-running", "not-spent", "page-ok", "page-portal", "page-silent", "portal-api",
	"portal-ok", "portal-silent", "portal-wrong", "ports-ok", "ports-taken", "radio-full", "radio-none", "radio-off",
	"radio-ok", "radio-ok-of", "resolver-none", "resolver-ok", "resolver-partly", "resolver-silent", "resolver-unusable",
	"tcp-blocked", "tcp-no-target", "tcp-ok",
}

// Verdict is the result of a step.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Skipped Verdict = "skipped" // not checked; the finding says why
	Warn    Verdict = "warning" // residents go on, or somebody chose it
	Bad     Verdict = "fault"
)

// Verdicts are all verdicts.
var Verdicts = []Verdict{OK, Skipped, Warn, Bad}

// The arguments of findings that are numbers of bytes or of milliseconds. The program that shows them formats the numbers.
var (
	ArgsInBytes = []string{"room", "total", "left", "cap", "used"}
	ArgsInMS    = []string{"took", "within"}
)

// rank orders verdicts from best to worst.
var rank = map[Verdict]int{"": 0, Skipped: 0, OK: 1, Warn: 2, Bad: 3}

// FindCause returns the first fault, or the first warning if there is none.
func (d Diagnosis) FindCause() (f Finding, ok bool) {
	for _, x := range d.Steps {
		if (x.Verdict == Bad || x.Verdict == Warn) && rank[x.Verdict] > rank[f.Verdict] {
			f, ok = x, true
		}
	}
	return f, ok
}

// Worst returns the worst verdict of the steps.
func (d Diagnosis) Worst() Verdict {
	worst := OK
	for _, x := range d.Steps {
		if rank[x.Verdict] > rank[worst] {
			worst = x.Verdict
		}
	}
	return worst
}

// LogEntry is a line of the box's log without addresses and without names of residents' devices.
type LogEntry struct {
	At    time.Time         `json:"at"`
	Level string            `json:"level"`     // "DEBUG", "INFO", "WARN" or "ERROR"
	Code  Code              `json:"code"`      // the message as one word, e.g. "uplink-probed"
	Args  map[string]string `json:"arguments"` // the figures
	Text  string            `json:"text"`      // in plain English
}
