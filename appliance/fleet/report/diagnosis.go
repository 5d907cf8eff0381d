package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/state"
)

// DiagnosisForm is the version of a diagnosis's format.
const DiagnosisForm = 1

// MaxSteps is the largest number of steps in a diagnosis: the box with five donations has 54. If there are more, the steps without a
// fault are left out first.
const MaxSteps = 96

// Diagnosis is what a box found when its fleet asked for a diagnosis. Like a [Report] it has only words of closed sets and numbers.
type Diagnosis struct {
	Form    int       `json:"form"`
	At      time.Time `json:"at"`      // when it began, in UTC, to the second
	Took    int       `json:"took"`    // seconds
	Verdict Word      `json:"verdict"` // the worst of all steps
	Steps   []Step    `json:"steps"`   // in the order of the diagnosis
}

// Step is the result of one step of the diagnosis, without its figures.
type Step struct {
	Step     Word `json:"step"`
	Donation int  `json:"n,omitempty"` // the donation's number, as in Report; 0 for the box
	Verdict  Word `json:"verdict"`
	Code     Word `json:"code"` // the finding: one of state.FindingCodes
}

// DiagnosisOf returns the part of a finished diagnosis that leaves the box. donations are the names of the box's donations, in order.
func DiagnosisOf(d state.Diagnosis, donations []string) Diagnosis {
	out := Diagnosis{Form: DiagnosisForm, At: d.Began.UTC().Truncate(time.Second), Took: int(min(max(d.Took, 0), maxTook.Milliseconds()) / 1000),
		Verdict: oneOf(Word(d.Verdict), verdicts), Steps: []Step{}}
	well := func(s Step) bool { return s.Verdict == Word(state.OK) || s.Verdict == Word(state.Skipped) }
	for _, f := range d.Steps {
		s := Step{Step: oneOf(Word(f.Step), steps), Verdict: oneOf(Word(f.Verdict), verdicts), Code: oneOf(Word(f.Code), findings)}
		if f.Of != "" {
			if s.Donation = slices.Index(donations, f.Of) + 1; s.Donation == 0 {
				continue // it was removed in the meantime
			}
		}
		out.Steps = append(out.Steps, s)
	}
	if len(out.Steps) > MaxSteps {
		out.Steps = slices.DeleteFunc(out.Steps, well)
		out.Steps = out.Steps[:min(len(out.Steps), MaxSteps)]
	}
	return out
}

// maxTook caps the reported duration.
const maxTook = time.Hour

var (
	steps    = words(state.Steps)
	verdicts = words(state.Verdicts)
	findings = words(state.FindingCodes)
)

// Encode returns a diagnosis's text.
func (d Diagnosis) Encode() ([]byte, error) {
	text, err := json.Marshal(d)
	if err == nil && len(text) > protocol.MaxReport {
		err = fmt.Errorf("it has %d bytes, and at most %d are sent", len(text), protocol.MaxReport)
	}
	if err != nil {
		return nil, fmt.Errorf("write a diagnosis: %w", err)
	}
	return text, nil
}

// ParseDiagnosis reads the text of a diagnosis. It refuses what Encode does not write: a hub reads what boxes send, and a box may lie.
func ParseDiagnosis(text []byte) (d Diagnosis, err error) {
	if len(text) > protocol.MaxReport {
		return d, fmt.Errorf("no diagnosis: it has %d bytes", len(text))
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return Diagnosis{}, fmt.Errorf("no diagnosis: %w", err)
	}
	known := func(w Word, set []Word) bool { return oneOf(w, set) == w }
	wrong := func(s Step) bool {
		return !known(s.Step, steps) || !known(s.Verdict, verdicts) || !known(s.Code, findings) || s.Donation < 0
	}
	switch {
	case d.Form != DiagnosisForm:
		return Diagnosis{}, fmt.Errorf("no diagnosis: its form is %d", d.Form)
	case !known(d.Verdict, verdicts), len(d.Steps) > MaxSteps, slices.ContainsFunc(d.Steps, wrong), d.Took < 0 || d.Took > int(maxTook.Seconds()):
		return Diagnosis{}, errors.New("no diagnosis: it has what none has")
	}
	if again, err := d.Encode(); err != nil || !bytes.Equal(again, text) || d.At.Location() != time.UTC || d.At.Nanosecond() != 0 {
		return Diagnosis{}, errors.New("no diagnosis: it is not written as one")
	}
	return d, nil
}
