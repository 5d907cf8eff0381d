package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
)

// searched returns a diagnosis of a box with that number of donations, the last of which is broken.
func searched(donations int) (d state.Diagnosis, names []string) {
	d = state.Diagnosis{Began: day.Add(90*time.Minute + 5), Took: 4321, Verdict: state.Bad, Steps: []state.Finding{
		{Step: state.StepBox, Verdict: state.OK, Code: "box-sharing", Saw: "Samira"},
	}}
	for i := range donations {
		name := fmt.Sprintf("Fibre de Samira %d", i)
		verdict, code := state.OK, state.Code("gateway-ok")
		if i == donations-1 {
			verdict, code = state.Bad, "gateway-silent"
		}
		names = append(names, name)
		d.Steps = append(d.Steps, state.Finding{Step: state.StepGateway, Of: name, Verdict: verdict, Code: code, Args: map[string]string{"gateway": "192.168.1.20"}})
	}
	return d, names
}

func TestDiagnosis(t *testing.T) {
	text, err := DiagnosisOf(searched(2)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"form":1,"at":"2026-12-01T01:30:00Z","took":4,"verdict":"fault","steps":[{"step":"box","verdict":"ok","code":"box-sharing"},` +
		`{"step":"gateway","n":1,"verdict":"ok","code":"gateway-ok"},{"step":"gateway","n":2,"verdict":"fault","code":"gateway-silent"}]}`
	if string(text) != want {
		t.Errorf("%s\nwant %s", text, want)
	}
	if d, err := ParseDiagnosis(text); err != nil || len(d.Steps) != 3 || d.Steps[2].Donation != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	// A step about a donation that no longer exists is left out.
	d, names := searched(2)
	if got := DiagnosisOf(d, names[1:]).Steps; len(got) != 2 || got[1].Donation != 1 || got[1].Code != "gateway-silent" {
		t.Errorf("%+v", got)
	}
}

// Whatever a diagnosis contains, only words of closed sets leave the box.
func TestDiagnosisTellsNothing(t *testing.T) {
	var d state.Diagnosis
	fill(reflect.ValueOf(&d).Elem())
	if whole, err := json.Marshal(d); err != nil || !bytes.Contains(whole, []byte("Samira")) {
		t.Fatalf("the search is not filled: %v", err)
	}
	text, err := DiagnosisOf(d, []string{strings.Join(planted, " ")}).Encode()
	if err != nil || !bytes.Contains(text, []byte(`"n":1`)) {
		t.Fatalf("%s, %v", text, err)
	}
	absent(t, text)
	for _, one := range planted {
		d := state.Diagnosis{Verdict: state.Verdict(one), Steps: []state.Finding{{Step: state.Step(one), Of: one, Verdict: state.Verdict(one), Code: state.Code(one), Saw: one, Do: one}}}
		text, err := DiagnosisOf(d, []string{one}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		absent(t, text)
		if _, err := ParseDiagnosis(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	allowed := []reflect.Type{reflect.TypeFor[int](), reflect.TypeFor[Word](), reflect.TypeFor[time.Time](), reflect.TypeFor[[]Step]()}
	for _, of := range []reflect.Type{reflect.TypeFor[Diagnosis](), reflect.TypeFor[Step]()} {
		for i := range of.NumField() {
			if f := of.Field(i); !slices.Contains(allowed, f.Type) {
				t.Errorf("%s.%s is a %s: does it tell anything of a resident or a lender?", of.Name(), f.Name, f.Type)
			}
		}
	}
}

// The largest diagnosis fits, and it contains the faults.
func TestDiagnosisBounds(t *testing.T) {
	d := DiagnosisOf(searched(64))
	longest := slices.MaxFunc(state.FindingCodes, func(a, b state.Code) int { return len(a) - len(b) })
	if len(d.Steps) != 65 || d.Steps[64].Code != "gateway-silent" {
		t.Errorf("%+v", d)
	}
	many, names := searched(200)
	if d := DiagnosisOf(many, names); len(d.Steps) != 1 || d.Steps[0].Donation != 200 {
		t.Errorf("%+v", d)
	}
	for i := range many.Steps {
		many.Steps[i].Verdict, many.Steps[i].Code, many.Steps[i].Step = state.Warn, longest, state.StepInterface
	}
	text, err := DiagnosisOf(many, names).Encode()
	if err != nil {
		t.Error(err)
	}
	if d, err := ParseDiagnosis(text); err != nil || len(d.Steps) != MaxSteps {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// A box may lie: what no box writes is refused.
func TestParseDiagnosis(t *testing.T) {
	good, err := DiagnosisOf(searched(1)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ of, to string }{
		{`"form":1`, `"form":2`}, {`"verdict":"fault"`, `"verdict":"<script>"`}, {`"gateway"`, `"Samira"`}, {`"gateway-silent"`, `"10.80.0.9"`},
		{`"n":1`, `"n":-1`}, {`"took":4`, `"took":-4`}, {`"took":4`, `"took":4000`}, {`01:30:00Z`, `01:30:00+01:00`}, {`01:30:00Z`, `01:30:00.5Z`},
		{`"form":1`, `"form":1,"note":"Samira"`}, {`{"form"`, ` {"form"`}, {`"steps":[`, `"steps":[` + strings.Repeat(`{"step":"box","verdict":"ok","code":"box-sharing"},`, MaxSteps)},
	} {
		bad := strings.Replace(string(good), c.of, c.to, 1)
		if bad == string(good) {
			t.Fatalf("%s is not in %s", c.of, good)
		}
		if _, err := ParseDiagnosis([]byte(bad)); err == nil {
			t.Errorf("taken: %s", bad)
		}
	}
}
