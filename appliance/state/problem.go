package state

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// Problem is a warning or error as data. Its text is rendered where it is shown. It has no data of residents. Its JSON also has its
// severity and its English text.
type Problem struct {
	Code Code              `json:"code"`
	Args map[string]string `json:"arguments"` // by name, e.g. "error", the text of the error
}

// Code identifies a kind of problem. Codes are stable.
type Code string

// The codes.
const (
	AccountsLost   Code = "accounts-lost"   // accounts of donations could not be read
	BoardHot       Code = "board-hot"       // celsius
	BoardWarm      Code = "board-warm"      // celsius
	ChildFails     Code = "child-fails"     // child, role, exit, line: a required child process keeps failing
	ConfigRefused  Code = "config-refused"  // the technician's configuration is not in use
	ConfigUnkept   Code = "config-unkept"   // the accepted configuration could not be stored as a fallback
	DiskErrors     Code = "disk-errors"     // count: the file system met so many errors
	DiskReadOnly   Code = "disk-read-only"  // nothing can be written, as the kernel says
	DiskFails      Code = "disk-fails"      // accounts of donations cannot be written
	Failed         Code = "error"           // any other problem
	HotspotRadio   Code = "hotspot-radio"   // the radio cannot run the hotspot
	KernelFails    Code = "kernel-fails"    // a request to the kernel failed
	LinesUnread    Code = "lines-unread"    // the state of interfaces cannot be read
	NetworkOverlap Code = "network-overlap" // donation: its network and the hotspot's have addresses in common
	PlanRefused    Code = "plan-refused"    // the kernel refused the plan
	PowerWasWeak   Code = "power-was-weak"
	PowerWeak      Code = "power-weak"
	RunFolderFails Code = "run-folder-fails" // state for the next daemon cannot be written or restored
	SchoolDatesEnd Code = "school-dates-end" // until: the last day (2006-01-02) whose school holidays are known, where hours have them
	StickAbsent    Code = "stick-absent"     // for days no backup could be written to a USB stick: no marked one is plugged in
	StickDamaged   Code = "stick-damaged"
	StickFails     Code = "stick-fails" // error
	StickFull      Code = "stick-full"
	StickReadOnly  Code = "stick-read-only"
	TrancheRefused Code = "tranche-refused" // donation: the kernel refused its tranche
)

// Codes are all codes of problems.
var Codes = []Code{
	AccountsLost, BoardHot, BoardWarm, ChildFails, ConfigRefused, ConfigUnkept, DiskErrors, DiskReadOnly,
	DiskFails, Failed, HotspotRadio, KernelFails, LinesUnread, NetworkOverlap, PlanRefused, PowerWasWeak,
	PowerWeak, RunFolderFails, SchoolDatesEnd, StickAbsent, StickDamaged, StickFails, StickFull, StickReadOnly,
	TrancheRefused,
}

// Severity is a problem's effect on residents.
type Severity string

// The severities.
const (
	Warning Severity = "warning" // no effect yet
	Error   Severity = "error"   // the hotspot or a donation is unavailable
)

// kinds has the codes that are not warnings, that depend on others, or whose text is not "{error}".
var kinds = map[Code]struct {
	severity  Severity // if not Warning
	dependsOn []Code   // not reported while one of these is
	words     string   // the English text, with the names of arguments in braces
}{
	AccountsLost: {severity: Error},
	BoardHot:     {words: "the board is too hot ({celsius} °C) and slows down: give it air, and no sun"},
	BoardWarm:    {words: "the board is warm ({celsius} °C): give it air, and no sun"},
	ChildFails: {
		severity: Error, dependsOn: []Code{PlanRefused}, words: "{child}, {role}, keeps ending ({exit}): {line}",
	},
	ConfigUnkept: {dependsOn: []Code{DiskFails, DiskReadOnly}},
	DiskErrors:   {words: "the disk has errors ({count} so far): its memory card may be worn out; prepare another one"},
	DiskFails:    {severity: Error},
	DiskReadOnly: {severity: Error, words: "the disk cannot be written any more: its memory card may be worn out; " +
		"restart the box, and if that does not help, use another card"},
	HotspotRadio:   {severity: Error},
	KernelFails:    {dependsOn: []Code{PlanRefused}},
	NetworkOverlap: {severity: Error},
	PlanRefused:    {severity: Error},
	PowerWasWeak: {words: "the board got too little power for a moment, and may again: " +
		"use the power supply made for this board, and a short cable"},
	PowerWeak: {words: "the board gets too little power now: " +
		"use the power supply made for this board, and a short cable"},
	SchoolDatesEnd: {words: "the dates of school holidays are known until {until} only: " +
		"after that, opening hours with SH do not open; update the box, or write the dates instead of SH"},
	StickAbsent:    {words: "the USB stick for backups has not been plugged in for days: plug it in, and leave it there"},
	StickDamaged:   {words: "the USB stick for backups does not keep what is written to it: mark another one"},
	StickFails:     {words: "no backup could be written to the USB stick: {error}"},
	StickFull:      {words: "the USB stick for backups is full: remove other files from it, or mark another one"},
	StickReadOnly:  {words: "the USB stick for backups cannot be written: move its switch, or mark another one"},
	TrancheRefused: {severity: Error, dependsOn: []Code{PlanRefused}},
}

// NewProblem returns a problem with arguments, given as pairs of name and value.
func NewProblem(code Code, args ...string) Problem {
	p := Problem{Code: code, Args: map[string]string{}}
	for pair := range slices.Chunk(args, 2) {
		p.Args[pair[0]] = pair[1]
	}
	return p
}

// Severity returns the severity of the problem's code.
func (p Problem) Severity() Severity { return cmp.Or(kinds[p.Code].severity, Warning) }

// String returns the English text.
func (p Problem) String() string {
	var args []string
	for name, value := range p.Args {
		args = append(args, "{"+name+"}", value)
	}
	words := strings.NewReplacer(args...).Replace(cmp.Or(kinds[p.Code].words, "{error}"))
	return strings.TrimSuffix(words, ": ") // a child may have written nothing
}

// MarshalJSON adds severity and text.
func (p Problem) MarshalJSON() ([]byte, error) {
	type plain Problem
	return json.Marshal(struct {
		plain
		Severity Severity `json:"severity"`
		Text     string   `json:"text"`
	}{plain(p), p.Severity(), p.String()})
}

// Causes returns the problems that do not depend on others, each once, sorted by their text.
func Causes(all []Problem) []Problem {
	causes := []Problem{}
	for _, p := range all {
		follows := func(from Problem) bool { return slices.Contains(kinds[p.Code].dependsOn, from.Code) }
		if !slices.ContainsFunc(all, follows) {
			causes = append(causes, p)
		}
	}
	slices.SortFunc(causes, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.String(), b.String()), cmp.Compare(a.Code, b.Code))
	})
	return slices.CompactFunc(causes, func(a, b Problem) bool { return a.String() == b.String() })
}
