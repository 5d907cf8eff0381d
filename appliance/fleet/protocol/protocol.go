// Package protocol is what a box and a hub agree on: names, subjects, streams, limits and messages. It owns their texts and
// the rules that a text must keep. It must not know how either side works, and opens no connection.
//
// # Subjects
//
// A hub is a NATS server (docs.nats.io/nats-concepts/subjects). {association} and {box} are single tokens:
//
//	up.{association}.{box}.day.{MMDD}   box to hub   the sums of a day; one of a year ago is replaced
//	up.{association}.{box}.done         box to hub   what became of the last command
//	up.{association}.{box}.diagnosis    box to hub   what the box found when the fleet asked last
//	region.{association}                hub to box   the name of the association's region; empty for none
//	command.{association}.{box}         hub to box   the last command to one box
//	pack.{file}.{chunk}                 hub to box   a signed file in chunks
//	wake.all, wake.assoc.{association}, wake.box.{box}
//	                                    hub to box   "look": with a [Wake], or without content
//	enrol.ask                           box to hub   a sticker's code; answered
//
// What goes down is read by JetStream's direct get, one message for each question; what goes up is published and
// acknowledged. A box has no consumer and no watcher: an idle one costs 5 MB a day in heartbeats.
//
// Each subject keeps one message, so that sending twice changes nothing, and a box can fill only as many subjects as there
// are days in a year.
//
// # Bodies
//
// Commands and reports are bytes to this package. It states how many. What people want of the configuration of boxes is in the
// signed files: a hub only carries them.
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
	// MaxReport is the limit of anything that goes up. A day's sums have some 500 bytes, and with 64 donations 8 kB.
	MaxReport = 16 << 10
	// ChunkSize is how a signed file is cut: 4 s on a line of 128 kbit/s, where a chunk of 256 kB would need 16 s.
	ChunkSize = 64 << 10
	// MaxAsk and MaxAnswer are those of an enrolment. A membership's token has some 700 bytes.
	MaxAsk    = 512
	MaxAnswer = 4 << 10
)

// SubjectAsk is where a box asks to be enrolled.
const SubjectAsk = "enrol.ask"

// Wake says what a box that looks must see at least. The hub that the box asks may not have heard of it yet: then the box asks again.
type Wake struct {
	Stream   string // StreamRegion, StreamCommand or StreamPack
	Sequence uint64 // of the message in that stream
	File     string // of StreamPack: the name of the signed file whose first chunk it is
}

// Text returns the body of a wake: for example "COMMAND 7" or "PACK 7 metadata/timestamp.json". A zero Wake has none.
func (w Wake) Text() []byte {
	switch w.Stream {
	case "":
		return nil
	case StreamPack:
		return fmt.Appendf(nil, "%s %d %s", w.Stream, w.Sequence, w.File)
	}
	return fmt.Appendf(nil, "%s %d", w.Stream, w.Sequence)
}

// Subject returns the subject of the message, for a box. It is "" for a zero Wake.
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

// ParseWake reads the body of a wake. What is none is the zero Wake: it wakes all the same.
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

// SubjectRegion is the name of an association's region.
func SubjectRegion(association string) string { return "region." + association }

// SubjectCommand is the last command to a box.
func SubjectCommand(association, box string) string { return "command." + association + "." + box }

// SubjectUp is a report of a box. What it is called comes from [Day.Report], or is [Done] or [Diagnosis].
func SubjectUp(association, box, report string) string {
	return "up." + association + "." + box + "." + report
}

// SubjectWakeAssociation wakes an association's boxes.
func SubjectWakeAssociation(association string) string { return "wake.assoc." + association }

// SubjectWakeBox wakes a box.
func SubjectWakeBox(box string) string { return "wake.box." + box }

// SubjectPack is a chunk of a signed file, counted from 0. file is the name in its repository, with slashes.
func SubjectPack(file string, chunk int) string {
	sum := sha256.Sum256([]byte(file))
	return fmt.Sprintf("pack.%s.%d", hex.EncodeToString(sum[:16]), chunk)
}

// Inbox is the prefix of the subjects where a client gets its answers.
func Inbox(client string) string { return "_INBOX." + client }

// DirectGet is where a stream's newest message of a subject is asked for, as of NATS server 2.9 (its ADR-31). The answer has
// the message's body, or the header "Status: 404".
func DirectGet(stream, subject string) string { return "$JS.API.DIRECT.GET." + stream + "." + subject }

// HeaderSequence is on the answer to a direct get: the message's number in its stream (NATS ADR-31).
const HeaderSequence = "Nats-Sequence"

// HeaderChunks is on each chunk of a file: how many it has.
const HeaderChunks = "Passerelle-Chunks"

// Done is the report of what became of the last command, and Diagnosis that of what the box found when it was asked to search. All
// others are of a day.
const (
	Done      = "done"
	Diagnosis = "diagnosis"
)

// Day is a calendar day in a box's zone, YYYY-MM-DD.
type Day string

// Valid tells whether it is a day.
func (d Day) Valid() bool {
	t, err := time.Parse(time.DateOnly, string(d))
	return err == nil && t.Format(time.DateOnly) == string(d)
}

// ofDays begins the names of days' reports.
const ofDays = "day."

// Report returns what the report of a valid day is called, by its month and day: the year is in its body.
func (d Day) Report() string { return ofDays + string(d[5:7]+d[8:]) }

// Reports returns the names of all reports that there can be: the hub accepts no others.
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

// CheckName says whether an association or a region may be called so. Names are those of roles in package trust: 1 to 40
// lower-case letters, digits and hyphens, without a hyphen first. So a name is a single token of a subject, without a wildcard.
func CheckName(s string) error {
	if !name.MatchString(s) {
		return fmt.Errorf("%q: a name has 1 to 40 of a-z, 0-9 and -, and does not begin with -", s)
	}
	return nil
}

// CheckBox says whether s is the name of a box, as [BoxName] makes it.
func CheckBox(s string) error {
	if !box.MatchString(s) {
		return fmt.Errorf("%q is no box: it has 10 of a-z and 2-7", s)
	}
	return nil
}

// BoxName is what a box with that public key (an nkey: 56 letters and digits) is called: 50 bits of its SHA-256. Both sides
// compute it, so that nobody chooses it.
func BoxName(public string) string {
	sum := sha256.Sum256([]byte("passerelle box\n" + public))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:10]
}
