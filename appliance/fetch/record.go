package fetch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"passerelle/appliance/private"
)

// memory is what is known of earlier downloads. It is one file, which is written before an attempt, before its body, and after it. So
// after a power cut the attempt counts as failed, and what it may have used counts as used.
type memory struct {
	Jobs  map[string]record `json:"jobs"`  // by name
	Lines map[string]usage  `json:"lines"` // by purse and donation
}

// account returns the key of a line's usage. No donation's name contains a line end.
func (l Line) account() string {
	if l.Purse == "" {
		return l.Donation
	}
	return l.Purse + "\n" + l.Donation
}

// record is what is known of a job's downloads.
type record struct {
	URL        string     `json:"url"` // with another URL it is another file
	Tried      time.Time  `json:"tried,omitzero"`
	Failures   int        `json:"failures,omitempty"` // in a row
	More       bool       `json:"more,omitempty"`     // the last attempt was stopped, and continues as soon as it may
	Done       time.Time  `json:"done,omitzero"`      // when the file was imported, or found unchanged
	Unchanged  bool       `json:"unchanged,omitempty"`
	Result     string     `json:"result,omitempty"` // of the last import
	Error      string     `json:"error,omitempty"`  // of the last attempt
	Bytes      uint64     `json:"bytes,omitempty"`  // that the last attempt used on the line
	Validators validators `json:"validators,omitzero"`
}

// validators identify the imported version of a file (RFC 9110, section 8.8). Servers need not give any.
type validators struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

// usage is what downloads have used of a donation.
type usage struct {
	Period time.Time `json:"period,omitzero"` // its start
	Bytes  uint64    `json:"bytes"`
}

// load reads the memory. If the file is missing or damaged, nothing is known. Only a failing disk damages it.
func load(path string, log *slog.Logger) memory {
	var m memory
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		m = memory{}
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("earlier downloads are not known: files may be asked for again", "file", path, "error", err)
		}
	}
	if m.Jobs == nil {
		m.Jobs = map[string]record{}
	}
	if m.Lines == nil {
		m.Lines = map[string]usage{}
	}
	return m
}

// ForgetFiles returns the text of the memory's file without what identifies the imported files, because other files are there now. The
// next downloads fetch them again. What was used of the lines stays.
func ForgetFiles(text []byte) ([]byte, error) {
	var m memory
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("read the earlier downloads: %w", err)
	}
	for name, r := range m.Jobs {
		r.Validators = validators{}
		m.Jobs[name] = r
	}
	return json.Marshal(m)
}

// save writes the memory to the disk.
func (m memory) save(path string) error {
	text, err := json.Marshal(m)
	if err == nil {
		err = private.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("note a download: %w", err)
	}
	return nil
}

// job returns a job's record.
func (m memory) job(j Job) record {
	if r := m.Jobs[j.Name]; r.URL == j.URL {
		return r
	}
	return record{URL: j.URL}
}

// settle moves attempts that are in the future to now, and tells whether there were any: the clock was wrong when they were recorded.
func (m memory) settle(now time.Time) (changed bool) {
	for name, r := range m.Jobs {
		if r.Tried.After(now) {
			r.Tried, changed = now, true
			m.Jobs[name] = r
		}
	}
	return changed
}

// left returns how many bytes downloads may still use on a line.
func (m memory) left(l *Line) uint64 {
	if l == nil {
		return 0
	}
	if l.Allowance >= Unlimited {
		return Unlimited
	}
	used := m.usage(*l)
	return l.Allowance - min(l.Allowance, used)
}

// usage returns what downloads have used on a line in its period.
func (m memory) usage(l Line) uint64 {
	if u := m.Lines[l.account()]; u.Period.Equal(l.Period) {
		return u.Bytes
	}
	return 0
}

// book returns a function that sets what one user of the line has used, on top of what others use meanwhile. What belongs to a period
// that is over is no longer recorded.
func (m memory) book(l Line) func(bytes uint64) {
	var mine uint64
	return func(bytes uint64) {
		now := m.Lines[l.account()]
		if l.Allowance >= Unlimited || now.Period.After(l.Period) {
			return
		}
		if !now.Period.Equal(l.Period) {
			now = usage{Period: l.Period}
		}
		m.Lines[l.account()] = usage{l.Period, now.Bytes - min(now.Bytes, mine) + bytes}
		mine = bytes
	}
}

// begin records an attempt, which counts as failed until it has ended.
func (r *record) begin(now time.Time) {
	r.Tried, r.More = now, false
	r.Failures++
	r.Error = "the box was stopped during the download"
}

// end records how an attempt ended.
func (r *record) end(o outcome, now time.Time) {
	r.Bytes, r.Error = o.bytes, ""
	switch {
	case o.more:
		r.Failures, r.More, r.Error = 0, true, o.err.Error()
	case o.err == nil && o.unchanged:
		r.Failures, r.Done, r.Unchanged = 0, now, true
	case o.err == nil:
		r.Failures, r.Done, r.Unchanged, r.Result, r.Validators = 0, now, false, o.result, o.validators
	case o.refused:
		r.Failures, r.Error = 0, o.err.Error()
	default:
		r.Error = o.err.Error()
	}
}
