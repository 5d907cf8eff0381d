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

// DiagnosisForm is the version of a diagnosis's form.
const DiagnosisForm = 1

// MaxSteps is how many steps a diagnosis tells of: those of five donations and of the box have 54. Of more, the steps that are well
// are left out first.
const MaxSteps = 96

// Diagnosis is what a box found when its fleet asked what is wrong. Like a [Report] it has words of closed sets and numbers only.
type Diagnosis struct {
	Form    int       `json:"form"`
	At      time.Time `json:"at"`      // when the search began, in UTC, to the second
	Took    int       `json:"took"`    // seconds
	Verdict Word      `json:"verdict"` // the worst one
	Steps   []Step    `json:"steps"`   // in the search's order
}

// Step is what a step of the search saw, without its figures.
type Step struct {
	Step     Word `json:"step"`
	Donation int  `json:"n,omitempty"` // that it is about, as in Report; 0 for the box
	Verdict  Word `json:"verdict"`
	Code     Word `json:"code"` // what it saw: state.FindingCodes
}

// DiagnosisOf returns what is told of a search that has ended. donations are the names of the box's, in order.
func DiagnosisOf(d state.Diagnosis, donations []string) Diagnosis {
	out := Diagnosis{Form: DiagnosisForm, At: d.Began.UTC().Truncate(time.Second), Took: int(min(max(d.Took, 0), maxTook.Milliseconds()) / 1000),
		Verdict: oneOf(Word(d.Verdict), verdicts), Steps: []Step{}}
	well := func(s Step) bool { return s.Verdict == Word(state.OK) || s.Verdict == Word(state.Skipped) }
	for _, f := range d.Steps {
		s := Step{Step: oneOf(Word(f.Step), steps), Verdict: oneOf(Word(f.Verdict), verdicts), Code: oneOf(Word(f.Code), findings)}
		if f.Of != "" {
			if s.Donation = slices.Index(donations, f.Of) + 1; s.Donation == 0 {
				continue // it was removed meanwhile
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

// maxTook bounds how long a search is said to have taken.
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

// ParseDiagnosis reads the text of a diagnosis. What Encode does not write is refused: a hub reads what boxes say, and they may lie.
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
