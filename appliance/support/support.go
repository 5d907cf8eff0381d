// Package support makes the file that a centre sends to people who help: what the box is, does and logs, without anything personal or
// secret. It owns what the file contains, and what is left out or replaced. It must not read anything itself.
//
// In every text of the file, these are replaced: each lender's name and network by a number, and every password, address of a device or
// a line, and host name except public ones. The configuration is written from the parsed values, so comments and unknown keys are left
// out. The centre's address, phone and place are removed, and so are the addresses of downloads, which may contain a key. Residents
// are counted in fives.
package support

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"passerelle/appliance/config"
	"passerelle/appliance/logbook"
	"passerelle/appliance/state"
)

// MaxBytes is the largest size of the file.
const MaxBytes = 1 << 20

// maxMember limits each member before it is compressed: all together stay below MaxBytes even if compression gains nothing.
const maxMember = 100 << 10

// Content is what the file is made from, as it is on the box.
type Content struct {
	Made      time.Time
	Config    *config.Config
	Status    state.Status
	Diagnosis *state.Diagnosis // the last search, nil if there was none
	Text      string           // likewise, as text
	Log       []state.LogEntry
	Plan      string            // the wanted rules of the kernel, without those of sessions
	Versions  map[string]string // of programs, by name
	Board     map[string]string // what is known about the board
	Keep      func(name string) bool
}

// Zip returns the file.
func Zip(c Content) ([]byte, error) {
	r := newRedactor(c)
	status, err := r.json(inFives(c.Status))
	if err != nil {
		return nil, fmt.Errorf("redact the status: %w", err)
	}
	doctor := []byte("null\n")
	if c.Diagnosis != nil {
		if doctor, err = r.json(c.Diagnosis); err != nil {
			return nil, fmt.Errorf("redact what the doctor found: %w", err)
		}
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range []struct {
		name string
		text []byte
	}{
		{"README.txt", []byte(readme)},
		{"versions.txt", r.list(c.Versions)},
		{"board.txt", r.list(c.Board)},
		{"passerelle.toml", Redact(c.Config)},
		{"status.json", status},
		{"doctor.txt", []byte(r.text(c.Text))},
		{"doctor.json", doctor},
		{"log.txt", []byte(r.log(c.Log))},
		{"plan.txt", []byte(r.text(c.Plan))},
	} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: m.name, Method: zip.Deflate, Modified: c.Made})
		if err == nil {
			_, err = w.Write(bounded(m.text))
		}
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", m.name, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	if b.Len() > MaxBytes {
		return nil, fmt.Errorf("the file has %d bytes, more than %d", b.Len(), MaxBytes)
	}
	return b.Bytes(), nil
}

// inFives returns a status whose counts of residents are rounded so that they may leave the box.
func inFives(s state.Status) state.Status {
	five := func(n int) int { return int(state.InFives(uint64(n))) }
	x := &s.Residents
	x.Sessions, x.Started, x.Slow, x.Refused = five(x.Sessions), state.InFives(x.Started), five(x.Slow), x.Refused.InFives()
	if s.Hotspot.WiFi != nil {
		wifi := *s.Hotspot.WiFi
		wifi.Stations = five(wifi.Stations)
		s.Hotspot.WiFi = &wifi
	}
	return s
}

// bounded cuts off the end of a member's text that is too long. The log never is: redactor.log keeps its end.
func bounded(text []byte) []byte {
	if len(text) <= maxMember {
		return text
	}
	return append(bytes.ToValidUTF8(text[:maxMember], nil), "\n(cut here)\n"...)
}

const readme = `This file was made by Passerelle for those who help a centre. It has nothing personal and nothing secret.

versions.txt     programs
board.txt        the board
passerelle.toml  the configuration, without passwords, names of lenders and addresses
status.json      what the box does
doctor.txt       what the search for the cause found; doctor.json is the same for programs
log.txt          the log of the last hour
plan.txt         the rules that the box wants of the kernel

Names of lenders and of their networks are numbers here, in the order of the configuration. [address], [device] and [name]
stand for addresses of networks and devices, and for host names. Residents and their devices are counted in fives, rounded down.
`

// Redact returns a configuration's text without anything personal or secret. It is valid, but no longer the box's.
func Redact(c *config.Config) []byte {
	if c == nil {
		return []byte("# there is no configuration that could be read\n")
	}
	x := *c
	x.Centre.Address, x.Centre.Postcode, x.Centre.Town, x.Centre.Phone = "", "", "", ""
	x.Box.Coordinates = nil
	x.Box.Name = "Centre"
	for _, u := range []*string{&x.Box.PortalURL, &x.Places.URL, &x.Agenda.URL, &x.Fleet.Mirror} {
		*u = host(*u)
	}
	if x.Hotspot.SSID != "" {
		x.Hotspot.SSID = "hotspot"
	}
	if x.Hotspot.Password != "" {
		x.Hotspot.Password = hidden
	}
	x.Donations = slices.Clone(x.Donations)
	for i := range x.Donations {
		d := &x.Donations[i]
		d.Name = donation(i)
		if d.WiFi != nil {
			w := config.WiFi{SSID: config.SSID(network(i))}
			if d.WiFi.Passphrase != "" {
				w.Passphrase = hidden
			}
			d.WiFi = &w
		}
		d.APN, d.PIN, d.DNS = "", "", nil
	}
	return config.Format(&x)
}

const hidden = "********"

func donation(i int) string { return fmt.Sprintf("loan %d", i+1) }
func network(i int) string  { return fmt.Sprintf("network %d", i+1) }

// host returns a URL without its path, user and query.
func host(text string) string {
	u, err := url.Parse(text)
	if text == "" || err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String() + "/"
}

// redactor replaces the personal and secret parts of a configuration, and scrubs the rest.
type redactor struct {
	names []personal // the longest first
	scrub logbook.Scrubber
}

// personal is a text that is replaced. A short one is replaced only where it is a whole word.
type personal struct{ text, as string }

// short is the length in bytes below which a text may be a part of other words.
const short = 8

func newRedactor(c Content) redactor {
	r := redactor{scrub: logbook.Scrubber{Keep: c.Keep}}
	add := func(text, as string) {
		if text == "" {
			return
		}
		r.names = append(r.names, personal{text, as})
		if quoted := strconv.Quote(text); quoted[1:len(quoted)-1] != text {
			r.names = append(r.names, personal{quoted[1 : len(quoted)-1], as})
		}
	}
	if x := c.Config; x != nil {
		for i, d := range x.Donations {
			add(d.Name, donation(i))
			if d.WiFi != nil {
				add(string(d.WiFi.SSID), network(i))
				add(d.WiFi.SSID.String(), network(i))
				add(d.WiFi.Passphrase, hidden)
			}
		}
		add(x.Hotspot.Password, hidden)
		add(x.Hotspot.SSID, "hotspot")
		add(x.Centre.Address, "[address]")
		add(x.Centre.Town, "[town]")
		add(x.Centre.Phone, "[phone]")
		add(x.Box.Name, "Centre")
		add(x.Centre.Postcode, "[postcode]")
		for _, u := range []string{x.Box.PortalURL, x.Places.URL, x.Agenda.URL, x.Fleet.Mirror} {
			add(u, host(u))
		}
	}
	for i, d := range c.Status.Donations { // the configuration may be newer than the status
		add(d.Name, donation(i))
	}
	slices.SortStableFunc(r.names, func(a, b personal) int { return cmp.Compare(len(b.text), len(a.text)) })
	return r
}

func (r redactor) text(s string) string {
	for _, p := range r.names {
		s = p.replace(s)
	}
	return r.scrub.Scrub(s)
}

// replace replaces the text wherever it occurs.
func (p personal) replace(s string) string {
	var b strings.Builder
	for {
		at := strings.Index(s, p.text)
		if at < 0 {
			b.WriteString(s)
			return b.String()
		}
		end := at + len(p.text)
		before, _ := utf8.DecodeLastRuneInString(s[:at])
		after, _ := utf8.DecodeRuneInString(s[end:])
		b.WriteString(s[:at])
		if len(p.text) < short && (inWord(before) || inWord(after)) {
			b.WriteString(p.text)
		} else {
			b.WriteString(p.as)
		}
		s = s[end:]
	}
}

func inWord(r rune) bool { return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)) }

// json returns a value as JSON in which every text is redacted.
func (r redactor) json(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var plain any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&plain); err != nil {
		return nil, err
	}
	text, err = json.MarshalIndent(r.walk(plain), "", "  ")
	return append(text, '\n'), err
}

func (r redactor) walk(v any) any {
	switch v := v.(type) {
	case string:
		if _, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return v
		}
		return r.text(v)
	case []any:
		for i := range v {
			v[i] = r.walk(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = r.walk(v[key])
		}
	}
	return v
}

// list returns facts, one on each line.
func (r redactor) list(facts map[string]string) []byte {
	var lines []string
	for name, value := range facts {
		lines = append(lines, name+": "+strings.ReplaceAll(r.text(value), "\n", " ")+"\n")
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, ""))
}

// log returns the end of the log, one line for each entry.
func (r redactor) log(all []state.LogEntry) string {
	var lines []string
	size := 0
	for _, e := range slices.Backward(all) {
		text := fmt.Sprintf("%s %-5s %s\n", e.At.UTC().Format(time.RFC3339), e.Level, strings.ReplaceAll(r.text(e.Text), "\n", " "))
		if size += len(text); size > maxMember {
			break
		}
		lines = append(lines, text)
	}
	slices.Reverse(lines)
	return strings.Join(lines, "")
}
