package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"passerelle/appliance/state"
)

// said is the result of a step: a code in texts, and its arguments.
type said struct {
	code state.Code
	args map[string]string
}

// say returns the result of a step. args are pairs of name and value.
func say(code state.Code, args ...string) said {
	s := said{code, map[string]string{}}
	for i := 0; i+1 < len(args); i += 2 {
		s.args[args[i]] = args[i+1]
	}
	return s
}

func (s said) verdict() state.Verdict { return texts[s.code].verdict }

func (s said) finding(step state.Step, of string) state.Finding {
	t := texts[s.code]
	return state.Finding{
		Step: step, Of: of, Verdict: t.verdict, Code: s.code, Args: s.args, Saw: fill(t.saw, s.args), Do: fill(t.do, s.args),
	}
}

// NewFinding returns a finding with a code of this package, for steps that are checked elsewhere.
func NewFinding(step state.Step, code state.Code, args ...string) state.Finding {
	return say(code, args...).finding(step, "")
}

// Codes returns every code with its English text, for translations. Arguments in the text are {names}.
func Codes() map[state.Code]string {
	all := map[state.Code]string{}
	for code, t := range texts {
		all[code] = strings.TrimSpace(t.saw + " " + t.do)
	}
	return all
}

// fill replaces the {names} in a text by arguments.
func fill(text string, args map[string]string) string {
	for name, value := range args {
		text = strings.ReplaceAll(text, "{"+name+"}", shown(name, value))
	}
	return text
}

// shown formats an argument in English.
func shown(name, value string) string {
	switch {
	case name == "step":
		return cmp.Or(titles[state.Step(value)], value)
	case slices.Contains(state.ArgsInMS, name):
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			switch {
			case n >= 1000:
				return strconv.FormatFloat(float64(n)/1000, 'f', 1, 64) + " s"
			case n == 0:
				return "less than 1 ms"
			}
			return fmt.Sprintf("%d ms", n)
		}
	case slices.Contains(state.ArgsInBytes, name):
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			return size(n)
		}
	}
	return value
}

// size formats a number of bytes in decimal units, rounded down.
func size(n uint64) string {
	for _, u := range []struct {
		name string
		size uint64
	}{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if n >= u.size {
			return fmt.Sprintf("%d.%d %s", n/u.size, n%u.size/(u.size/10), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func count(n uint64) string { return strconv.FormatUint(n, 10) }

// Title returns a step's name in English.
func Title(s state.Step) string { return titles[s] }

// Text returns a diagnosis as text for a terminal.
func Text(d state.Diagnosis) string {
	var b strings.Builder
	marks := map[state.Verdict]string{state.OK: "ok      ", state.Warn: "WARNING ", state.Bad: "FAULT   ", state.Skipped: "-       ", "": "...     "}
	for _, f := range d.Steps {
		title := Title(f.Step)
		if f.Of != "" {
			title += " of " + f.Of
		}
		fmt.Fprintf(&b, "%s%s: %s\n", marks[f.Verdict], title, f.Saw)
		if f.Do != "" {
			fmt.Fprintf(&b, "          what to do: %s\n", f.Do)
		}
	}
	f, found := d.FindCause()
	switch {
	case d.Running:
		fmt.Fprintf(&b, "\nThe search is still running.\n")
		return b.String()
	case !found:
		fmt.Fprintf(&b, "\nNothing is wrong.")
	default:
		of := ""
		if f.Of != "" {
			of = " of " + f.Of
		}
		fmt.Fprintf(&b, "\nThe cause: %s%s.", Title(f.Step), of)
	}
	fmt.Fprintf(&b, " It took %s", shown("took", strconv.FormatInt(d.Took, 10)))
	if d.Bytes > 0 {
		fmt.Fprintf(&b, ", and %s on the lines, which count as used", size(d.Bytes))
	}
	b.WriteString(".\n")
	return b.String()
}
