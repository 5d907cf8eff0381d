package protocol

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// The name of an association, a region or a box never adds tokens to a subject, and never makes a wildcard.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "lilas", "co-59", "7", strings.Repeat("a", 40)} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "-a", "A", "a.b", "*", ">", "a b", "é", strings.Repeat("a", 41), "a\n"} {
		if CheckName(bad) == nil {
			t.Errorf("%q is taken for a name", bad)
		}
		if CheckBox(bad) == nil {
			t.Errorf("%q is taken for a box", bad)
		}
	}
	box := BoxName("UABC")
	if err := CheckBox(box); err != nil {
		t.Error(err)
	}
	if box == BoxName("UABD") {
		t.Error("two keys have one name")
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	all := map[string]bool{}
	for _, r := range Reports() {
		if all[r] {
			t.Errorf("%s is there twice", r)
		}
		all[r] = true
	}
	for _, no := range []Day{"", "2027-02-29", "2027-1-1", "27-01-01", "day.0101"} {
		if no.Valid() {
			t.Errorf("%q is a day", no)
		}
	}
	if len(all) != 366+2 || !all[Done] || !all[Diagnosis] {
		t.Errorf("%d reports instead of those of 366 days and two others", len(all))
	}
	for d := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC); d.Year() < 2029; d = d.AddDate(0, 0, 1) {
		day := Day(d.Format(time.DateOnly))
		if !day.Valid() || !all[day.Report()] {
			t.Errorf("%s is no report", day)
		}
	}
}

func TestCode(t *testing.T) {
	t.Parallel()
	made, err := NewCode(bytes.NewReader([]byte{0, 1, 2, 3, 29, 30, 31, 32, 255, 10}))
	if err != nil || made != "0123X-YZ0ZA" {
		t.Fatalf("the code %q, %v", made, err)
	}
	for _, typed := range []string{made, "0123xyz0za", " o i23x yzoza ", "0l23-XYZ-0ZA"} {
		if code, err := ParseCode(typed); err != nil || code != "0123XYZ0ZA" {
			t.Errorf("%q is read as %q, %v", typed, code, err)
		}
	}
	for _, typed := range []string{"", "0123XYZ0Z", "0123XYZ0ZAA", "U123XYZ0ZA", "0123XYZ0Zé", strings.Repeat("-", 1000)} {
		if code, err := ParseCode(typed); err == nil {
			t.Errorf("%q is read as %q", typed, code)
		}
	}
	if _, err := NewCode(bytes.NewReader([]byte{1})); err == nil {
		t.Error("a code without chance")
	}
}

// A wake that cannot be parsed still wakes the box, and announces nothing.
func TestWake(t *testing.T) {
	t.Parallel()
	for _, w := range []Wake{
		{Stream: StreamCommand, Sequence: 7}, {Stream: StreamRegion, Sequence: 1<<64 - 1}, {Stream: StreamPack, Sequence: 7, File: "metadata/timestamp.json"}, {},
	} {
		if got := ParseWake(w.Text()); got != w {
			t.Errorf("%+v instead of %+v", got, w)
		}
	}
	for _, text := range []string{"", "COMMAND", "COMMAND x", "COMMAND -1", "UP 7", "PACK 7", "PACK 7 ", "COMMAND 7 ", "COMMAND 07", "REGION 7 file", "COMMAND 18446744073709551616", "PACK 7 " + strings.Repeat("x", maxWake)} {
		if got := ParseWake([]byte(text)); got != (Wake{}) {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, w := range wordList {
		if seen[w] || len(w) < 3 || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("%q is there twice, too short or hard to type", w)
		}
		seen[w] = true
	}
	if len(wordList) != 256 {
		t.Errorf("%d words instead of 256: a byte chooses one", len(wordList))
	}
	a := Ask{Code: "0123XYZ0ZA", Key: "UABC"}
	same := Ask{Code: a.Code, Key: a.Key}
	if Words(a) != Words(same) || Words(a) == Words(Ask{Code: a.Code, Key: "UABD"}) || Words(a) == Words(Ask{Code: "0123XYZ0ZB", Key: a.Key}) {
		t.Error("words are not of code and key")
	}
}

func TestBundle(t *testing.T) {
	t.Parallel()
	good := Bundle{Roots: roots, Token: "t", Seed: "s"}
	text, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseBundle(text); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Bundle){
		"no certificate":  func(b *Bundle) { b.Roots = "x" },
		"no token":        func(b *Bundle) { b.Token = "" },
		"no seed":         func(b *Bundle) { b.Seed = "" },
		"longer than all": func(b *Bundle) { b.Token = strings.Repeat("x", MaxBundle) },
	} {
		b := good
		change(&b)
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseBundle(text); err == nil {
			t.Errorf("%s: the bundle is taken", name)
		}
	}
	if _, err := ParseBundle([]byte(`{"server": []}`)); err == nil {
		t.Error("an unknown key is taken")
	}
}

const roots = `-----BEGIN CERTIFICATE-----
MIIBeDCCAR2gAwIBAgIUbmnNzS7vb0tafkIArMug1bXOvzwwCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFZmxlZXQwIBcNMjYxMjAxMDgwMjI0WhgPMjEyNjExMDcwODAy
MjRaMBAxDjAMBgNVBAMMBWZsZWV0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
w/T5E4wNrm1vPUmMNYrXs2S6KF6m+Isdiyk1IPvpbwlb9QpT9HQTjYNWVQO26fWW
NpIVjkNMqV5eqc8SmJEj5aNTMFEwHQYDVR0OBBYEFGZ3p8n0srlB3VAx6zzah+xB
1cZRMB8GA1UdIwQYMBaAFGZ3p8n0srlB3VAx6zzah+xB1cZRMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAOhPrgjSQYcxG5Oa4nYwiSfDSSqIDXDr
mkMjtyxcvrMWAiEAtBXvuDNTHtfn8NgocxuT2TCz50FdNNANM5F0Gx3lXrU=
-----END CERTIFICATE-----
`
