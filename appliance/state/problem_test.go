package state

import (
	"encoding/json"
	"reflect"
	"testing"
)

// TestProblemInJSON: the JSON also has the text, for readers that do not know the code, and decodes to the same problem.
func TestProblemInJSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		p    Problem
		want string
	}{
		{
			NewProblem(DiskFails, "error", "no space left"),
			`{"code":"disk-fails","arguments":{"error":"no space left"},"severity":"error","text":"no space left"}`,
		},
		{
			NewProblem(BoardWarm, "celsius", "71"), `{"code":"board-warm","arguments":{"celsius":"71"},` +
				`"severity":"warning","text":"the board is warm (71 °C): give it air, and no sun"}`,
		},
		{
			NewProblem(ChildFails, "child", "dnsmasq", "role", "which gives addresses", "exit", "exit status 2", "line", "no such user"),
			`{"code":"child-fails","arguments":{"child":"dnsmasq","exit":"exit status 2","line":"no such user","role":"which gives addresses"},` +
				`"severity":"error","text":"dnsmasq, which gives addresses, keeps ending (exit status 2): no such user"}`,
		},
		{
			Problem{Code: "of another release", Args: map[string]string{"error": "words"}},
			`{"code":"of another release","arguments":{"error":"words"},"severity":"warning","text":"words"}`,
		},
	} {
		text, err := json.Marshal(c.p)
		if err != nil || string(text) != c.want {
			t.Errorf("%s, %v, want %s", text, err, c.want)
		}
		var p Problem
		if err := json.Unmarshal(text, &p); err != nil || !reflect.DeepEqual(p, c.p) {
			t.Errorf("%s is read as %+v, %v", text, p, err)
		}
	}
}

// TestCausesAreKnown: a kind depends only on kinds that depend on no others.
func TestCausesAreKnown(t *testing.T) {
	t.Parallel()
	for code, k := range kinds {
		for _, cause := range k.dependsOn {
			if _, known := kinds[cause]; !known || len(kinds[cause].dependsOn) > 0 {
				t.Errorf("%s depends on %s, which is unknown or depends on others", code, cause)
			}
		}
	}
}

// TestCauses: problems with one cause are one problem.
func TestCauses(t *testing.T) {
	t.Parallel()
	refused, disk := NewProblem(PlanRefused, "error", "no plan"), NewProblem(DiskFails, "error", "disk full")
	counter, kept := NewProblem(KernelFails, "error", "no counters"), NewProblem(ConfigUnkept, "error", "not kept")
	for _, c := range []struct{ all, want []Problem }{
		{nil, []Problem{}},
		{[]Problem{counter, kept, counter}, []Problem{counter, kept}},
		{[]Problem{kept, counter, refused}, []Problem{refused, kept}},
		{[]Problem{kept, refused, counter, disk, refused}, []Problem{disk, refused}},
	} {
		if got := Causes(c.all); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: %v, want %v", c.all, got, c.want)
		}
	}
}
