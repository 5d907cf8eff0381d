package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// leaves returns the commands that run something, with their declared flags.
func leaves(all []*declared) (found []*declared) {
	for _, d := range all {
		if len(d.words) > 0 {
			found = append(found, leaves(d.words)...)
		} else {
			found = append(found, d)
		}
	}
	return found
}

// TestUsageNamesTheFlags: the usage line of every command that people see names its flags, and no others.
func TestUsageNamesTheFlags(t *testing.T) {
	t.Parallel()
	rare := map[string]bool{"run --verbose": true}
	flags := regexp.MustCompile(`--[a-z-]+`)
	for _, d := range leaves((&cli{commands: commands}).describeAll()) {
		if d.about == "" {
			continue
		}
		if d.flags == nil {
			t.Errorf("passerelle %s does not declare its flags before it runs", d.path)
			continue
		}
		var has []string
		d.flags.VisitAll(func(f *flag.Flag) {
			if !rare[d.path+" --"+f.Name] {
				has = append(has, "--"+f.Name)
			}
		})
		said := flags.FindAllString(d.args, -1)
		slices.Sort(said)
		if !slices.Equal(said, has) {
			t.Errorf("%s\nnames %v, and the command has %v", d.usage(), said, has)
		}
	}
}

// TestComplete: the completions that a shell is offered.
func TestComplete(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"":                      "run check init",
		"sta":                   "status",
		"wifi ":                 "scan lend",
		"wifi l":                "lend",
		"help sl":               "slot",
		"help slot o":           "other",
		"slot ":                 "status other",
		"status --":             "--json --socket",
		"wifi lend --c":         "--cap --config",
		"wifi lend --cap 2GB -": "--cap --config --interface --name --period --socket --until",
		"lender Lu":             "",
		"nothing like it ":      "",
	} {
		var out bytes.Buffer
		if code := (&cli{out: &out, err: &out, commands: commands}).main(t.Context(),
			append([]string{"complete", "--"}, strings.Split(typed, " ")...)); code != exitOK {
			t.Fatalf("%q ends with %d: %s", typed, code, &out)
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			name, about, found := strings.Cut(line, "\t")
			if !found || len(about) < 2 {
				t.Errorf("%q: %q does not say what it is", typed, line)
			}
			got = append(got, name)
		}
		if typed == "" {
			got = got[:min(3, len(got))]
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q is completed by %v, want %s", typed, got, want)
		}
	}
}

// TestBashCompletes: a real bash gets its completions from this program.
func TestBashCompletes(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "passerelle")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "--norc", "-c", `
		source <(passerelle completion bash)
		COMP_WORDS=(passerelle opinion re) COMP_CWORD=2
		_passerelle
		echo "${COMPREPLY[@]}"
		complete -p passerelle`)
	cmd.Env = append(os.Environ(), asProgram+"=1", "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if want := "results\ncomplete -o default -F _passerelle passerelle\n"; err != nil || string(out) != want {
		t.Errorf("bash completes %q, %v; want %q", out, err, want)
	}
}

// TestSuggestion: a typing error is recognized, a different word is not.
func TestSuggestion(t *testing.T) {
	t.Parallel()
	known := []string{"status", "pause", "hw", "resume"}
	for word, want := range map[string]string{
		"stauts": "status", "statu": "status", "puase": "pause", "resum": "resume", "h": "hw", "share": "", "": "", "xy": "",
	} {
		got := suggestion(word, known)
		if want == "" && got != "" || want != "" && !strings.Contains(got, `"`+want+`"`) {
			t.Errorf("%q suggests %q, want %q", word, got, want)
		}
	}
}
