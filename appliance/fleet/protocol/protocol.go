// Package protocol is what a box and a hub agree on: names, subjects, streams, limits and messages. It owns their form and its rules.
// It must not know how either side works, and opens no connection.
//
// # Subjects
//
// A hub is a NATS server (docs.nats.io/nats-concepts/subjects). {association} and {box} are single tokens:
//
//	up.{association}.{box}.day.{MMDD}   box to hub   the sums of a day; they replace those of a year ago
//	up.{association}.{box}.done         box to hub   the outcome of the last command
//	up.{association}.{box}.diagnosis    box to hub   the result of the last diagnosis that the fleet asked for
//	region.{association}                hub to box   the name of the association's region; empty for none
//	command.{association}.{box}         hub to box   the last command to one box
//	pack.{file}.{chunk}                 hub to box   a signed file in chunks
//	wake.all, wake.assoc.{association}, wake.box.{box}
//	                                    hub to box   "look": with a [Wake], or with an empty body
//	enrol.ask                           box to hub   a sticker's code; answered
//
// A box reads what goes down by JetStream's direct get, one message for each request. It publishes what goes up, and the hub
// acknowledges it. A box has no consumer and no watcher: an idle one costs 5 MB a day in heartbeats.
//
// Each subject keeps one message. So publishing is idempotent, and a box can fill only as many subjects as there are reports.
//
// # Bodies
//
// To this package, commands and reports are bytes with a limit on their number. What people want in the configuration of boxes is in
// the signed files, which a hub only carries.
package protocol

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Streams of the boxes' account.
const (
	StreamRegion  = "REGION"
	StreamCommand = "COMMAND"
	StreamUp      = "UP"
	StreamPack    = "PACK"
)

// Limits of bodies, in bytes.
const (
	MaxCommand = 1 << 10
	// MaxName is the limit of an association's or region's name.
	MaxName = 40
	// MaxReport is the limit of any report. A day's sums take some 500 bytes, and 8 kB with 64 donations.
	MaxReport = 16 << 10
	// ChunkSize is the size of a signed file's chunks: 4 s on a line of 128 kbit/s, where a chunk of 256 kB would take 16 s.
	ChunkSize = 64 << 10
	// MaxAsk and MaxAnswer are the limits of an enrolment's messages. A member's token has some 700 bytes.
	MaxAsk    = 512
	MaxAnswer = 4 << 10
)

// SubjectAsk is the subject on which a box asks for enrolment.
const SubjectAsk = "enrol.ask"

// Wake says what a woken box must see at least. The hub that it asks may not have that message yet; the box then asks again.
type Wake struct {
	Stream   string // StreamRegion, StreamCommand or StreamPack
	Sequence uint64 // of the message in that stream
	File     string // if StreamPack: the name of the signed file whose first chunk it is
}

// Text returns the body of a wake, for example "COMMAND 7" or "PACK 7 metadata/timestamp.json". A zero Wake has an empty body.
func (w Wake) Text() []byte {
	switch w.Stream {
	case "":
		return nil
	case StreamPack:
		return fmt.Appendf(nil, "%s %d %s", w.Stream, w.Sequence, w.File)
	}
	return fmt.Appendf(nil, "%s %d", w.Stream, w.Sequence)
}

// Subject returns the subject of the message as a box reads it. It is "" for a zero Wake.
func (w Wake) Subject(association, box string) string {
	switch w.Stream {
	case StreamRegion:
		return SubjectRegion(association)
	case StreamCommand:
		return SubjectCommand(association, box)
	case StreamPack:
		return SubjectPack(w.File, 0)
	}
	return ""
}

// ParseWake parses the body of a wake. An invalid body gives the zero Wake, which still wakes the box.
func ParseWake(body []byte) Wake {
	if len(body) > maxWake {
		return Wake{}
	}
	fields := strings.SplitN(string(body), " ", 3)
	if len(fields) < 2 {
		return Wake{}
	}
	w := Wake{Stream: fields[0]}
	if len(fields) == 3 {
		w.File = fields[2]
	}
	var err error
	w.Sequence, err = strconv.ParseUint(fields[1], 10, 64)
	known := w.Stream == StreamRegion || w.Stream == StreamCommand || w.Stream == StreamPack
	if err != nil || !known || (w.Stream == StreamPack) != (w.File != "") || string(w.Text()) != string(body) {
		return Wake{}
	}
	return w
}

// maxWake is the limit of a wake's body, in bytes.
const maxWake = 100

// SubjectWakeAll wakes all boxes.
const SubjectWakeAll = "wake.all"

// SubjectRegion returns the subject with the name of an association's region.
func SubjectRegion(association string) string { return "region." + association }

// SubjectCommand returns the subject with the last command to a box.
func SubjectCommand(association, box string) string { return "command." + association + "." + box }

// SubjectUp returns the subject of a box's report. The report's name comes from [Day.Report], or is [Done] or [Diagnosis].
func SubjectUp(association, box, report string) string {
	return "up." + association + "." + box + "." + report
}

// SubjectWakeAssociation returns the subject that wakes an association's boxes.
func SubjectWakeAssociation(association string) string { return "wake.assoc." + association }

// SubjectWakeBox returns the subject that wakes a box.
func SubjectWakeBox(box string) string { return "wake.box." + box }

// SubjectPack returns the subject of a chunk of a signed file, counted from 0. file is the name in the repository, with slashes.
func SubjectPack(file string, chunk int) string {
	sum := sha256.Sum256([]byte(file))
	return fmt.Sprintf("pack.%s.%d", hex.EncodeToString(sum[:16]), chunk)
}

// Inbox returns the prefix of the subjects on which a client gets its answers.
func Inbox(client string) string { return "_INBOX." + client }

// DirectGet returns the subject for a direct get of a subject's newest message in a stream (NATS ADR-31, server 2.9 and later). The
// answer has the message's body, or the header "Status: 404".
func DirectGet(stream, subject string) string { return "$JS.API.DIRECT.GET." + stream + "." + subject }

// HeaderSequence is a header of the answer to a direct get: the message's sequence in its stream (NATS ADR-31).
const HeaderSequence = "Nats-Sequence"

// HeaderChunks is a header of each chunk: the number of chunks of the file.
const HeaderChunks = "Passerelle-Chunks"

// Done names the report on the outcome of the last command, and Diagnosis the report on the last diagnosis that the fleet asked for.
// All other reports are of a day.
const (
	Done      = "done"
	Diagnosis = "diagnosis"
)

// Day is a calendar day in a box's zone, YYYY-MM-DD.
type Day string

// Valid tells whether d is a day of the calendar.
func (d Day) Valid() bool {
	t, err := time.Parse(time.DateOnly, string(d))
	return err == nil && t.Format(time.DateOnly) == string(d)
}

// ofDays is the prefix of the names of days' reports.
const ofDays = "day."

// Report returns the name of the report of a valid day, made of its month and day. The year is in the body.
func (d Day) Report() string { return ofDays + string(d[5:7]+d[8:]) }

// Reports returns the names of all possible reports: the hub accepts no others.
func Reports() []string {
	all := []string{Done, Diagnosis}
	const leap = 2028
	for t := time.Date(leap, 1, 1, 0, 0, 0, 0, time.UTC); t.Year() == leap; t = t.AddDate(0, 0, 1) {
		all = append(all, Day(t.Format(time.DateOnly)).Report())
	}
	return all
}

var (
	name = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`) // MaxName
	box  = regexp.MustCompile(`^[a-z2-7]{10}$`)
)

// CheckName returns an error if an association or a region cannot have a name. The rule is that for roles in package trust: 1 to 40
// lower-case letters, digits and hyphens, not beginning with a hyphen. So a name is a single token of a subject, without a wildcard.
func CheckName(s string) error {
	if !name.MatchString(s) {
		return fmt.Errorf("%q: a name has 1 to 40 of a-z, 0-9 and -, and does not begin with -", s)
	}
	return nil
}

// CheckBox returns an error if s is not the name of a box, as [BoxName] makes it.
func CheckBox(s string) error {
	if !box.MatchString(s) {
		return fmt.Errorf("%q is no box: it has 10 of a-z and 2-7", s)
	}
	return nil
}

// BoxName returns the name of the box with that public key (an nkey: 56 letters and digits): 50 bits of its SHA-256. Both sides
// compute it, so nobody can choose it.
func BoxName(public string) string {
	sum := sha256.Sum256([]byte("passerelle box\n" + public))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:10]
}
