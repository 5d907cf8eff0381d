package registry

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"passerelle/appliance/fleet/protocol"
)

// A backup has what exists nowhere else: the registry's records, the regions of associations, boxes' reports of a year, and the audit. It
// does not have what signers published, which is in their repository, nor commands, which end within days. It has hashes of codes, public
// keys and the names of people who may use the dashboard, but no secret key.
//
// Its format is gzip over lines of JSON: a head, the entries, and an end that has their number, so that an incomplete backup is recognised.

const backupForm = 1

// maxEntry bounds a line, in bytes: NATS's largest message in base64, and the names.
const maxEntry = 2 << 20

// entry is a line of a backup.
type entry struct {
	Form int       `json:"form,omitempty"` // of the head only
	In   string    `json:"in,omitempty"`   // a stream, or the bucket
	Name string    `json:"name,omitempty"` // a subject, or a key
	At   time.Time `json:"at,omitzero"`    // when the hubs received it; in the head, when the backup was made
	Body []byte    `json:"body,omitempty"`
	End  *int      `json:"end,omitempty"` // in the last line only: how many entries there are
}

// headerAt is the header of a restored message that says when the hubs first received it, RFC 3339 with nanoseconds.
const headerAt = "Passerelle-At"

// Backup writes a backup, and returns the number of its entries.
func (r *Registry) Backup(ctx context.Context, to io.Writer) (entries int, err error) {
	fail := func(err error) (int, error) { return 0, fmt.Errorf("write a backup: %w", err) }
	z := gzip.NewWriter(to)
	lines := json.NewEncoder(z)
	write := func(e entry) error {
		entries++
		return lines.Encode(e)
	}
	if err := lines.Encode(entry{Form: backupForm, At: r.now().UTC()}); err != nil {
		return fail(err)
	}
	keys, err := r.values.ListKeys(ctx)
	if err != nil {
		return fail(err)
	}
	defer keys.Stop()
	for key := range keys.Keys() {
		v, err := r.values.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // it was removed meanwhile
		}
		if err == nil {
			err = write(entry{In: bucket, Name: key, Body: v.Value()})
		}
		if err != nil {
			return fail(err)
		}
	}
	for _, s := range []struct {
		in   jetstream.JetStream
		name string
	}{{r.boxes, protocol.StreamRegion}, {r.boxes, protocol.StreamUp}, {r.own, streamAudit}} {
		if err := each(ctx, s.in, s.name, func(m jetstream.Msg, at time.Time) error {
			return write(entry{In: s.name, Name: m.Subject(), At: at.UTC(), Body: m.Data()})
		}); err != nil {
			return fail(err)
		}
	}
	if err := errors.Join(lines.Encode(entry{End: &entries}), z.Close()); err != nil {
		return fail(err)
	}
	return entries, nil
}

// each calls do with each message that a stream has now, the oldest first, and with when the hubs first received it.
func each(ctx context.Context, in jetstream.JetStream, name string, do func(jetstream.Msg, time.Time) error) error {
	s, err := stream(ctx, in, name)
	if err != nil {
		return err
	}
	last := s.CachedInfo().State
	if last.Msgs == 0 {
		return nil
	}
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return err
	}
	for {
		m, err := c.Next(jetstream.FetchContext(ctx))
		if err != nil {
			return fmt.Errorf("read the stream %s: %w", name, err)
		}
		about, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read the stream %s: %w", name, err)
		}
		if err := do(m, heardAt(m, about.Timestamp)); err != nil {
			return err
		}
		// The last message may have been replaced by a newer one meanwhile, so this is not a test for equality.
		if about.Sequence.Stream >= last.LastSeq {
			return nil
		}
	}
}

// heardAt returns when the hubs first received a message. at is its time in the stream, which is later if the message was restored.
func heardAt(m jetstream.Msg, at time.Time) time.Time {
	if first, err := time.Parse(time.RFC3339Nano, m.Headers().Get(headerAt)); err == nil && first.Before(at) {
		return first
	}
	return at
}

// ErrNotEmpty says that the hubs have members already: a backup is only for hubs that lost theirs.
var ErrNotEmpty = errors.New("the hubs have members already: a backup is restored into hubs with an empty store only")

// RestoreBackup writes a backup into hubs that have no members, and returns the number of its entries. Newer reports of boxes stay. If it was
// interrupted, it can be repeated, since the members are written last.
func (r *Registry) RestoreBackup(ctx context.Context, author string, from io.Reader) (entries int, err error) {
	fail := func(err error) (int, error) { return 0, fmt.Errorf("restore a backup: %w", err) }
	if _, revision, err := r.Members(ctx); err != nil || revision != 0 {
		return fail(errors.Join(err, ErrNotEmpty))
	}
	// The audit is not empty: the hubs have written lines of their own, and a restore that was interrupted has written some of the backup's.
	there := map[[sha256.Size]byte]int{}
	if err := each(ctx, r.own, streamAudit, func(m jetstream.Msg, _ time.Time) error {
		there[sha256.Sum256(m.Data())]++
		return nil
	}); err != nil {
		return fail(err)
	}
	var members []byte
	if err := readBackup(from, func(e entry) error {
		entries++
		if e.In == bucket && e.Name == keyMembers {
			members = e.Body
			return nil
		}
		if sum := sha256.Sum256(e.Body); e.In == streamAudit && there[sum] > 0 {
			there[sum]--
			return nil
		}
		return r.restore(ctx, e)
	}); err != nil {
		return fail(err)
	}
	if members == nil {
		return fail(errors.New("it has no members"))
	}
	if err := r.audit(ctx, author, "restore backup", fmt.Sprintf("%d entries", entries), ""); err != nil {
		return fail(err)
	}
	if _, err := r.values.Create(ctx, keyMembers, members); err != nil {
		return fail(err)
	}
	return entries, nil
}

func (r *Registry) restore(ctx context.Context, e entry) error {
	var err error
	switch e.In {
	case bucket:
		_, err = r.values.Put(ctx, e.Name, e.Body)
	case streamAudit:
		_, err = r.own.Publish(ctx, "audit", e.Body)
	case protocol.StreamRegion, protocol.StreamUp:
		if prefix := map[string]string{protocol.StreamRegion: "region.", protocol.StreamUp: "up."}[e.In]; !strings.HasPrefix(e.Name, prefix) {
			return fmt.Errorf("%q is not of the stream %s", e.Name, e.In)
		}
		m := nats.NewMsg(e.Name)
		m.Data = e.Body
		m.Header.Set(headerAt, e.At.UTC().Format(time.RFC3339Nano))
		_, err = r.boxes.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(0))
		if wrongSequence(err) {
			return nil // the hubs have a newer message of this subject
		}
	default:
		return fmt.Errorf("there is no place %q", e.In)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", e.In, e.Name, err)
	}
	return nil
}

// CheckBackup reads a backup to its end, and returns the number of its entries. It is an error if the backup is damaged or incomplete.
func CheckBackup(from io.Reader) (entries int, err error) {
	err = readBackup(from, func(entry) error {
		entries++
		return nil
	})
	return entries, err
}

// readBackup calls do with each entry of a backup. It is an error if the backup is damaged or incomplete, which may be known only at its end.
func readBackup(from io.Reader, do func(entry) error) error {
	z, err := gzip.NewReader(from)
	if err != nil {
		return fmt.Errorf("no backup: %w", err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, maxEntry)
	n, end := 0, -1
	for first := true; lines.Scan(); first = false {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("no backup: entry %d: %w", n+1, err)
		}
		switch {
		case first && e.Form != backupForm:
			return fmt.Errorf("a backup of form %d: this program reads %d", e.Form, backupForm)
		case first:
		case end >= 0:
			return errors.New("no backup: it goes on after its end")
		case e.End != nil:
			end = *e.End
		default:
			n++
			if err := do(e); err != nil {
				return err
			}
		}
	}
	// The scanner has read to the end of the gzip stream, so this includes an error of its checksum.
	if err := lines.Err(); err != nil {
		return fmt.Errorf("no whole backup: after %d entries: %w", n, err)
	}
	if end < 0 {
		return fmt.Errorf("no whole backup: it ends after %d entries", n)
	}
	if end != n {
		return fmt.Errorf("no whole backup: it has %d entries instead of %d", n, end)
	}
	return nil
}
