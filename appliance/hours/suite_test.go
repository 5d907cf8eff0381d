package hours

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// suite is a folder with npm's node_modules/opening_hours, and values.json: an array of texts from that package's tests. Their licences
// prevent their inclusion in this tree.
var suite = flag.String("opening-hours", "", "folder with the npm package opening_hours and values.json to compare with")

// TestSuite compares what is read of the package's own tests with the package's results, hour by hour.
func TestSuite(t *testing.T) {
	if *suite == "" {
		t.Skip("no -opening-hours FOLDER")
	}
	const least = 480 // how many of them must be readable
	paris := location(t, "Europe/Paris")
	from, to := time.Date(2026, 1, 1, 0, 0, 0, 0, paris), time.Date(2029, 1, 1, 0, 0, 0, 0, paris)
	var values []string
	text, err := os.ReadFile(filepath.Join(*suite, "values.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	var school [][3]string
	for _, l := range schoolLines(t) {
		if bytes.ContainsRune([]byte(l[2]), 'A') {
			school = append(school, [3]string{l[1], l[3], l[4]})
		}
	}
	in, err := json.Marshal(map[string]any{"values": values, "school": school, "from": from.Unix(), "to": to.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "testdata/opening_hours.js", *suite)
	cmd.Env = append(os.Environ(), "TZ=Europe/Paris")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := json.NewDecoder(bytes.NewReader(out))
	read, compared := 0, 0
	for _, value := range values {
		var theirs struct {
			Error string
			Open  string
		}
		if err := answers.Decode(&theirs); err != nil {
			t.Fatal(err)
		}
		s, err := Parse(value)
		if err != nil {
			t.Logf("refused %q: %v", value, err)
			continue
		}
		read++
		if theirs.Error != "" {
			t.Logf("theirs refuses %q: %s", value, theirs.Error)
			continue
		}
		compared++
		s = s.InZone("A")
		for i, at := 0, from; at.Before(to); i, at = i+1, at.Add(time.Hour) {
			_, offset := at.Zone()
			_, was := at.Add(-36 * time.Hour).Zone()
			if _, is := at.Add(36 * time.Hour).Zone(); offset != was || offset != is {
				continue // on days of 23 or 25 hours the package counts 24:00 from midnight
			}
			if got, want := s.Open(at), theirs.Open[i] == '1'; got != want {
				t.Errorf("%q: at %v open is %t, and %t to the package", value, at, got, want)
				break
			}
		}
	}
	t.Logf("%d values, %d read, %d of these compared", len(values), read, compared)
	if read < least {
		t.Errorf("%d of %d are read, want %d", read, len(values), least)
	}
}
