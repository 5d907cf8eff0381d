package registry

import (
	"bufio"
	"compress/gzip"
	"context"
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

// A backup is what nobody else has: the registry's records, the regions of associations, boxes' reports of a year, and the audit. What
// signers published is in their repository, and commands end within days. It has hashes of codes, public keys and names of people
// who have the dashboard, and no key.
//
// It is gzip over lines of JSON: a head, entries, and an end with their number, so that half of one is known as that.

const backupForm = 1

// maxEntry bounds a line, in bytes: base64 of NATS's largest message, and its names.
const maxEntry = 2 << 20

// entry is a line of a backup.
type entry struct {
	Form int       `json:"form,omitempty"` // of the head only
	In   string    `json:"in,omitempty"`   // a stream, or the bucket
	Name string    `json:"name,omitempty"` // a subject, or a key
	At   time.Time `json:"at,omitzero"`    // when the hubs had it
	Body []byte    `json:"body,omitempty"`
	End  *int      `json:"end,omitempty"` // of the last line only: how many entries there are
}

// headerAt is on a report that was restored: when the hubs first had it.
const headerAt = "Passerelle-At"

// Backup writes what nobody else has, and returns how many entries that is.
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
			continue // somebody removed it meanwhile
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

// each calls do with the messages that a stream has now, the oldest first.
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
		// The last one may have been replaced meanwhile: then a newer one comes.
		if about.Sequence.Stream >= last.LastSeq {
			return nil
		}
	}
}

// heardAt is when the hubs first had a message: earlier than its time in the stream if it was restored.
func heardAt(m jetstream.Msg, at time.Time) time.Time {
	if first, err := time.Parse(time.RFC3339Nano, m.Headers().Get(headerAt)); err == nil && first.Before(at) {
		return first
	}
	return at
}

// ErrNotEmpty says that a fleet is there already: a backup is for hubs that lost theirs.
var ErrNotEmpty = errors.New("the hubs have members already: a backup is restored into hubs with an empty store only")

// RestoreBackup reads a backup into hubs that have nothing, and returns how many entries it had. What boxes said since then stays. When
// it was interrupted, it can be repeated: who belongs to the fleet is written last.
func (r *Registry) RestoreBackup(ctx context.Context, author string, from io.Reader) (entries int, err error) {
	fail := func(err error) (int, error) { return 0, fmt.Errorf("restore a backup: %w", err) }
	if _, revision, err := r.Members(ctx); err != nil || revision != 0 {
		return fail(errors.Join(err, ErrNotEmpty))
	}
	audit, err := stream(ctx, r.own, streamAudit)
	if err != nil {
		return fail(err)
	}
	written := audit.CachedInfo().State.Msgs // by a restore that was interrupted
	var members []byte
	if err := readBackup(from, func(e entry) error {
		entries++
		if e.In == bucket && e.Name == keyMembers {
			members = e.Body
			return nil
		}
		if e.In == streamAudit && written > 0 {
			written--
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
		var api *jetstream.APIError
		if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
			return nil // what the hubs have is newer
		}
	default:
		return fmt.Errorf("there is no place %q", e.In)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", e.In, e.Name, err)
	}
	return nil
}

// CheckBackup reads a backup to its end, and returns how many entries it has.
func CheckBackup(from io.Reader) (entries int, err error) {
	err = readBackup(from, func(entry) error {
		entries++
		return nil
	})
	return entries, err
}

// readBackup calls do with each entry of a whole backup.
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
	// Also behind the last line there is gzip's sum of all.
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
