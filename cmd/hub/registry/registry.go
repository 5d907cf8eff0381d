// Package registry is what the hubs of a fleet know together: associations, stickers, boxes, regions and commands for the boxes, and
// who did what. It owns the streams and the format of their messages. It must not know commands, pages or servers.
//
// All of it is in JetStream, but JetStream is not trusted to be the only place: boxes keep their days and their tokens, and each hub has
// the members in a file, too. A change is written to the audit before it is made.
//
// Two hubs may change the same record at the same time. So each write names the revision that was read (compare and set), and the change is
// tried again if another write came first. Therefore a sticker enrols one box only, whichever hubs are asked.
package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"passerelle/appliance/fleet/protocol"
	"passerelle/cmd/hub/authority"
)

// Options of a registry.
type Options struct {
	Keys       authority.Keys
	Hub, Fleet *nats.Conn // connections as the hub's user in these accounts
	Now        func() time.Time
}

// Registry is a hub's access to what the hubs know together. Its methods are safe for concurrent use.
type Registry struct {
	keys   authority.Keys
	now    func() time.Time
	fleet  *nats.Conn
	boxes  jetstream.JetStream // in account FLEET
	own    jetstream.JetStream // in account HUB
	values jetstream.KeyValue
}

const (
	bucket      = "registry"
	streamAudit = "AUDIT"
	auditSize   = 1 << 30 // bytes: ten million lines
	header      = 1 << 10 // bytes that a message's headers may add to its body
	history     = 5       // versions that the bucket keeps of a record, for people
	opening     = 3 * time.Second
	patience    = 15 * time.Second // timeout of one read or write: it waits while 1,300 boxes enrol at once
)

// Keys of the bucket.
const (
	keyMembers = "members"
	ofStickers = "sticker."
	ofBoxes    = "box."
)

// Create creates the streams, or updates their configuration. replicas is the number of hubs that store each message. It fails while too few
// hubs are connected.
func Create(ctx context.Context, o Options, replicas int) error {
	boxes, own, err := streams(o)
	if err != nil {
		return err
	}
	up := []string{}
	for _, r := range protocol.Reports() {
		up = append(up, protocol.SubjectUp("*", "*", r))
	}
	for _, c := range []jetstream.StreamConfig{
		{Name: protocol.StreamRegion, Subjects: []string{protocol.SubjectRegion("*")}, MaxMsgsPerSubject: 1, MaxMsgSize: protocol.MaxName + header},
		{Name: protocol.StreamCommand, Subjects: []string{protocol.SubjectCommand("*", "*")}, MaxMsgsPerSubject: 1, MaxMsgSize: protocol.MaxCommand + header},
		{Name: protocol.StreamUp, Subjects: up, MaxMsgsPerSubject: 1, MaxMsgSize: protocol.MaxReport + header},
		{Name: protocol.StreamPack, Subjects: []string{"pack.*.*"}, MaxMsgsPerSubject: 1, MaxMsgSize: protocol.ChunkSize + header},
	} {
		c.Replicas, c.AllowDirect, c.Storage = replicas, true, jetstream.FileStorage
		if _, err := boxes.CreateOrUpdateStream(ctx, c); err != nil {
			return fmt.Errorf("create the stream %s: %w", c.Name, err)
		}
	}
	if _, err := own.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamAudit, Subjects: []string{"audit"}, Replicas: replicas, MaxBytes: auditSize,
		DenyDelete: true, DenyPurge: true, Storage: jetstream.FileStorage,
	}); err != nil {
		return fmt.Errorf("create the stream %s: %w", streamAudit, err)
	}
	// This is a key-value bucket (ADR-8), but without AllowDirect, so that reads go to the leader. With AllowDirect any replica answers, even
	// one that does not have the newest value yet (ADR-31). The stream is created in one step and not changed afterwards: a hub that opened the
	// bucket in between would go on reading by the first configuration.
	if _, err := own.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: "KV_" + bucket, Subjects: []string{"$KV." + bucket + ".>"}, Replicas: replicas, MaxMsgsPerSubject: history,
		AllowRollup: true, DenyDelete: true, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
	}); err != nil {
		return fmt.Errorf("create the bucket %s: %w", bucket, err)
	}
	return nil
}

func streams(o Options) (boxes, own jetstream.JetStream, err error) {
	if boxes, err = jetstream.New(o.Fleet, jetstream.WithDefaultTimeout(patience)); err != nil {
		return nil, nil, err
	}
	own, err = jetstream.New(o.Hub, jetstream.WithDefaultTimeout(patience))
	return boxes, own, err
}

// Open opens the streams that Create made. Answers are lost during a leader election, so it gives up after a short timeout, and the caller
// should try again.
func Open(ctx context.Context, o Options) (*Registry, error) {
	ctx, stop := context.WithTimeout(ctx, opening)
	defer stop()
	boxes, own, err := streams(o)
	if err != nil {
		return nil, fmt.Errorf("open the registry: %w", err)
	}
	values, err := own.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("open the registry: %w", err)
	}
	return &Registry{keys: o.Keys, now: o.Now, fleet: o.Fleet, boxes: boxes, own: own, values: values}, nil
}

// get reads a record. If there is none, it returns the zero record and revision 0.
func get[R any](ctx context.Context, r *Registry, key string) (record R, revision uint64, err error) {
	e, err := answered(ctx, func(ctx context.Context) (jetstream.KeyValueEntry, error) { return r.values.Get(ctx, key) })
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return record, 0, nil
	}
	if err != nil {
		return record, 0, fmt.Errorf("read %s: %w", key, err)
	}
	if err := json.Unmarshal(e.Value(), &record); err != nil {
		return record, 0, fmt.Errorf("read %s: %w", key, err)
	}
	return record, e.Revision(), nil
}

// errRaced says that somebody else wrote a record after it was read.
var errRaced = errors.New("somebody else changed it at the same time")

// put writes a record in place of the revision that get returned. The error is errRaced if the record has another revision by now.
func put[R any](ctx context.Context, r *Registry, key string, record R, revision uint64) error {
	text, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	if revision == 0 {
		_, err = r.values.Create(ctx, key, text)
	} else {
		_, err = r.values.Update(ctx, key, text, revision)
	}
	if wrongSequence(err) {
		return fmt.Errorf("write %s: %w", key, errRaced)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// wrongSequence tells whether a write was refused because its subject has a newer message. A stream with copies uses a second code while
// that message is still being replicated (checkMsgHeadersPreClusteredProposal in nats-server's jetstream_batching.go).
func wrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

const (
	races = 20                    // how often a change is tried
	pause = 10 * time.Millisecond // between tries, times their number, less by chance: a write is on three disks before it can be read
)

// change reads a record, lets edit change it, writes it if edit says so, and returns it. If somebody else writes the record meanwhile, it
// begins again, so edit may be called several times.
func change[R any](ctx context.Context, r *Registry, key string, edit func(*R) (write bool, err error)) (R, error) {
	for try := 1; ; try++ {
		record, revision, err := get[R](ctx, r, key)
		if err != nil {
			return record, err
		}
		write, err := edit(&record)
		if err != nil || !write {
			return record, err
		}
		err = put(ctx, r, key, record, revision)
		if err == nil || !errors.Is(err, errRaced) || try == races {
			return record, err
		}
		select {
		case <-ctx.Done():
			return record, context.Cause(ctx)
		case <-time.After(mathrand.N(pause * time.Duration(try))):
		}
	}
}

// Line is a line of the audit.
type Line struct {
	Time   time.Time `json:"time"`
	Author string    `json:"author"` // a person, as the hub's machine names them
	Did    string    `json:"did"`
	To     string    `json:"to"` // an association, a box, or a subject
	Detail string    `json:"detail,omitempty"`
}

func (r *Registry) audit(ctx context.Context, author, did, to, detail string) error {
	if author == "" {
		return errors.New("write the audit: nobody is named")
	}
	text, err := json.Marshal(Line{Time: r.now().UTC(), Author: author, Did: did, To: to, Detail: detail})
	if err != nil {
		return fmt.Errorf("write the audit: %w", err)
	}
	m := nats.NewMsg("audit")
	m.Data = text
	if _, err := store(ctx, r.own, m, jetstream.WithMsgID(rand.Text())); err != nil {
		return fmt.Errorf("write the audit: %w", err)
	}
	return nil
}

// Audit returns the last lines, at most most of them, the oldest first.
func (r *Registry) Audit(ctx context.Context, most uint64) ([]Line, error) {
	s, err := stream(ctx, r.own, streamAudit)
	if err != nil {
		return nil, fmt.Errorf("read the audit: %w", err)
	}
	state := s.CachedInfo().State
	var lines []Line
	for n := max(state.FirstSeq, state.LastSeq-min(most, state.LastSeq)+1); n <= state.LastSeq && state.Msgs > 0; n++ {
		m, err := s.GetMsg(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("read the audit: %w", err)
		}
		var l Line
		if err := json.Unmarshal(m.Data, &l); err != nil {
			return nil, fmt.Errorf("read line %d of the audit: %w", n, err)
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// Members returns the members of the fleet and their revision, which is 0 if there never were any.
func (r *Registry) Members(ctx context.Context) (authority.Members, uint64, error) {
	return get[authority.Members](ctx, r, keyMembers)
}

// Restore writes the members from a hub's file into a registry that has none. It does nothing if there are members.
func (r *Registry) Restore(ctx context.Context, m authority.Members) error {
	if err := put(ctx, r, keyMembers, m, 0); err != nil && !errors.Is(err, errRaced) {
		return err
	}
	return nil
}

// WatchMembers calls changed with the members, and again whenever they change, until ctx ends or changed fails. Only hubs may call it: a
// watch costs the server a consumer, so a box must not watch.
func (r *Registry) WatchMembers(ctx context.Context, changed func(authority.Members) error) error {
	return r.watch(ctx, "the members", keyMembers, func(_ string, text []byte) error {
		var m authority.Members
		if err := json.Unmarshal(text, &m); err != nil {
			return fmt.Errorf("watch the members: %w", err)
		}
		return changed(m)
	}, jetstream.IgnoreDeletes())
}

// watch calls tell with the values of these keys, and then with each change, until ctx ends or tell fails.
func (r *Registry) watch(ctx context.Context, what, keys string, tell func(key string, value []byte) error, options ...jetstream.WatchOpt) error {
	w, err := r.values.Watch(ctx, keys, options...)
	if err != nil {
		return fmt.Errorf("watch %s: %w", what, err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			if !ok {
				return fmt.Errorf("watch %s: it ended", what)
			}
			if e == nil { // marks the end of the initial values
				continue
			}
			if err := tell(e.Key(), e.Value()); err != nil {
				return err
			}
		}
	}
}

// WatchBoxes calls changed with the name of each box whose record changes, and whether the box waits for a person after the change, until
// ctx ends. Only hubs may call it. Any replica may report a change, even before a read, which goes to the leader, returns it.
func (r *Registry) WatchBoxes(ctx context.Context, changed func(box string, waits bool)) error {
	return r.watch(ctx, "the boxes", ofBoxes+">", func(key string, text []byte) error {
		var b Box
		if err := json.Unmarshal(text, &b); err != nil {
			return fmt.Errorf("watch the boxes: %s: %w", key, err)
		}
		changed(strings.TrimPrefix(key, ofBoxes), b.Stage == Waiting)
		return nil
	}, jetstream.UpdatesOnly(), jetstream.IgnoreDeletes())
}

// all calls tell with the current values of these keys.
func (r *Registry) all(ctx context.Context, keys string, tell func(key string, value []byte) error) error {
	w, err := r.values.Watch(ctx, keys, jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-w.Updates():
			if e == nil {
				return ctx.Err()
			}
			if err := tell(e.Key(), e.Value()); err != nil {
				return err
			}
		}
	}
}

// AddAssociation adds an association, or changes its region ("" for none), and wakes its boxes.
func (r *Registry) AddAssociation(ctx context.Context, author, name, region string) error {
	if err := protocol.CheckName(name); err != nil {
		return err
	}
	if region != "" {
		if err := protocol.CheckName(region); err != nil {
			return err
		}
	}
	if err := r.audit(ctx, author, "add association", name, region); err != nil {
		return err
	}
	_, err := change(ctx, r, keyMembers, func(m *authority.Members) (bool, error) {
		if m.Associations == nil {
			m.Associations = map[string]authority.Association{}
		}
		m.Associations[name] = authority.Association{Region: region}
		return true, nil
	})
	if err != nil {
		return err
	}
	return r.want(ctx, protocol.SubjectRegion(name), protocol.SubjectWakeAssociation(name), []byte(region))
}

// sticker is the record of a sticker. Its key has the hash of the sticker's code.
type sticker struct {
	Association string    `json:"association"`
	Until       time.Time `json:"until"`
	Key         string    `json:"key,omitempty"` // of the box that used it
}

// MakeSticker makes a sticker for one box of an association, which must be used before until. It returns the sticker's code, which is
// stored nowhere.
func (r *Registry) MakeSticker(ctx context.Context, author, association string, until time.Time) (code string, err error) {
	if err := r.checkAssociation(ctx, association); err != nil {
		return "", err
	}
	code, key, err := r.newCode(ofStickers)
	if err != nil {
		return "", err
	}
	if err := r.audit(ctx, author, "make sticker", association, "until "+until.UTC().Format(time.DateOnly)); err != nil {
		return "", err
	}
	return code, put(ctx, r, key, sticker{Association: association, Until: until}, 0)
}

// checkAssociation returns an error if there is no such association.
func (r *Registry) checkAssociation(ctx context.Context, name string) error {
	members, _, err := r.Members(ctx)
	if err != nil {
		return err
	}
	if _, ok := members.Associations[name]; !ok {
		return fmt.Errorf("there is no association %q", name)
	}
	return nil
}

// newCode returns a new code, and the key of its record.
func (r *Registry) newCode(of string) (code, key string, err error) {
	if code, err = protocol.NewCode(rand.Reader); err != nil {
		return "", "", err
	}
	key, err = r.codeKey(of, code)
	return code, key, err
}

// codeKey returns the key of a code's record. typed is the code as somebody types it. The error is protocol.ErrCode if it is not a code.
func (r *Registry) codeKey(of, typed string) (string, error) {
	code, err := protocol.ParseCode(typed)
	if err != nil {
		return "", err
	}
	hash, err := r.keys.CodeHash(code)
	return of + hash, err
}

// Stage is how far a box's enrolment has come.
type Stage string

// Stages.
const (
	Waiting Stage = "waiting" // for a person to compare the words
	Member  Stage = "member"
	Revoked Stage = "revoked"
)

// Box is what is known of a box.
type Box struct {
	Name        string                     `json:"-"`
	Association string                     `json:"association"`
	Key         string                     `json:"key,omitempty"` // public key; "" if the hubs lost the record and know the box by its reports only
	Stage       Stage                      `json:"stage"`
	Words       [protocol.WordCount]string `json:"words"`
	Asked       time.Time                  `json:"asked"`
	Confirmed   time.Time                  `json:"confirmed,omitzero"`
	By          string                     `json:"by,omitempty"`         // who confirmed or revoked it
	Centre      string                     `json:"centre,omitempty"`     // the centre that it is in, as its association says
	Department  string                     `json:"department,omitempty"` // the centre's département, as INSEE numbers them
	Seen        time.Time                  `json:"-"`                    // its last report; zero if there is none
}

// Ask answers a box that asks for a membership. A wrong code is an answer, [protocol.Unknown]; an error means that the hub could not decide.
func (r *Registry) Ask(ctx context.Context, a protocol.Ask) (protocol.Answer, error) {
	if a.Code == "" {
		return r.askAgain(ctx, a.Key)
	}
	key, err := r.codeKey(ofStickers, a.Code)
	if err != nil {
		return protocol.Answer{State: protocol.Unknown}, nil
	}
	if !authority.IsBoxKey(a.Key) {
		return protocol.Answer{State: protocol.Unknown}, nil
	}
	s, err := change(ctx, r, key, func(s *sticker) (bool, error) {
		if s.Association == "" || s.Key != "" || s.Until.Before(r.now()) {
			return false, nil
		}
		s.Key = a.Key
		return true, nil
	})
	switch {
	case err != nil:
		return protocol.Answer{}, err
	case s.Association == "" || s.Key == "":
		return protocol.Answer{State: protocol.Unknown}, nil
	case s.Key != a.Key:
		return protocol.Answer{State: protocol.Used}, nil
	}
	b, err := change(ctx, r, ofBoxes+protocol.BoxName(a.Key), func(b *Box) (bool, error) {
		if b.Stage != "" {
			return false, nil
		}
		*b = Box{Association: s.Association, Key: a.Key, Stage: Waiting, Words: protocol.Words(a), Asked: r.now().UTC()}
		return true, nil
	})
	switch {
	case err != nil:
		return protocol.Answer{}, err
	case b.Key != a.Key || b.Association != s.Association || b.Stage == Revoked:
		return protocol.Answer{State: protocol.Refused}, nil
	case b.Stage == Waiting:
		return protocol.Answer{State: protocol.Waiting, Association: b.Association}, nil
	}
	return r.member(b)
}

// member returns the answer to a box that is a member, with a token.
func (r *Registry) member(b Box) (protocol.Answer, error) {
	token, err := r.keys.Box(b.Association, b.Key)
	if err != nil {
		return protocol.Answer{}, err
	}
	return protocol.Answer{State: protocol.Member, Association: b.Association, Token: token}, nil
}

// askAgain answers a member whose token is refused because the secret that signed it was replaced. It may do so without a code, since only
// the box has the private key that the new token is for.
func (r *Registry) askAgain(ctx context.Context, key string) (protocol.Answer, error) {
	if !authority.IsBoxKey(key) {
		return protocol.Answer{State: protocol.Unknown}, nil
	}
	b, _, err := get[Box](ctx, r, ofBoxes+protocol.BoxName(key))
	if err != nil {
		return protocol.Answer{}, err
	}
	members, _, err := r.Members(ctx)
	if err != nil {
		return protocol.Answer{}, err
	}
	_, of := members.Associations[b.Association]
	_, revoked := members.Revoked[key]
	if b.Key != key || b.Stage != Member || !of || revoked {
		return protocol.Answer{State: protocol.Refused}, nil
	}
	return r.member(b)
}

// ErrWords says that the words are not those that the box shows.
var ErrWords = errors.New("these are not the words of this box: it may be somebody else's")

// Confirm makes a waiting box a member, after a person has compared the words that the box shows. The error is ErrWords if words differ.
func (r *Registry) Confirm(ctx context.Context, author, box string, words []string) error {
	check := func(b *Box) (bool, error) {
		switch {
		case b.Stage == "":
			return false, fmt.Errorf("no box %s asks for its membership", box)
		case b.Stage != Waiting:
			return false, fmt.Errorf("the box %s is not waiting: it is %s", box, b.Stage)
		case !slices.Equal(b.Words[:], words):
			return false, ErrWords
		}
		b.Stage, b.Confirmed, b.By = Member, r.now().UTC(), author
		return true, nil
	}
	if err := protocol.CheckBox(box); err != nil {
		return err
	}
	b, _, err := get[Box](ctx, r, ofBoxes+box)
	if err != nil {
		return err
	}
	if _, err := check(&b); err != nil {
		return err
	}
	if err := r.audit(ctx, author, "confirm box", box, b.Association); err != nil {
		return err
	}
	_, err = change(ctx, r, ofBoxes+box, check)
	return err
}

// Revoke ends a box's membership for ever, or refuses a waiting box. Every hub cuts the box off as soon as it hears of this.
func (r *Registry) Revoke(ctx context.Context, author, box string) error {
	if err := protocol.CheckBox(box); err != nil {
		return err
	}
	b, _, err := get[Box](ctx, r, ofBoxes+box)
	if err != nil {
		return err
	}
	if b.Key == "" {
		return fmt.Errorf("the key of the box %s is not known: it cannot be revoked", box)
	}
	if err := r.audit(ctx, author, "revoke box", box, b.Association); err != nil {
		return err
	}
	// The key comes first, since it is what cuts the box off. The record is only for display.
	if _, err := change(ctx, r, keyMembers, func(m *authority.Members) (bool, error) {
		if _, ok := m.Revoked[b.Key]; ok {
			return false, nil
		}
		if m.Revoked == nil {
			m.Revoked = map[string]time.Time{}
		}
		m.Revoked[b.Key] = r.now().UTC()
		return true, nil
	}); err != nil {
		return err
	}
	_, err = change(ctx, r, ofBoxes+box, func(b *Box) (bool, error) {
		b.Stage, b.By = Revoked, author
		return true, nil
	})
	return err
}

// maxCentre bounds the name of a centre, in characters.
const maxCentre = 80

var department = regexp.MustCompile(`^(0[1-9]|1[0-9]|2[1-9AB]|[3-8][0-9]|9[0-5]|97[12346])$`)

// Place records in which centre and in which département a box is. Both may be "".
func (r *Registry) Place(ctx context.Context, author, box, centre, where string) error {
	switch {
	case centre != strings.TrimSpace(centre) || utf8.RuneCountInString(centre) > maxCentre ||
		strings.ContainsFunc(centre, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%q: the name of a centre is one line of at most %d characters", centre, maxCentre)
	case where != "" && !department.MatchString(where):
		return fmt.Errorf("%q is no département: it is a number such as 59, 2A or 974", where)
	}
	if err := protocol.CheckBox(box); err != nil {
		return err
	}
	if err := r.audit(ctx, author, "place box", box, strings.TrimSpace(where+" "+centre)); err != nil {
		return err
	}
	_, err := change(ctx, r, ofBoxes+box, func(b *Box) (bool, error) {
		if b.Stage == "" {
			return false, fmt.Errorf("there is no record of a box %s", box)
		}
		b.Centre, b.Department = centre, where
		return true, nil
	})
	return err
}

// Boxes returns all boxes, sorted by name: those that have a record, and those whose record the hubs lost but that have reports.
func (r *Registry) Boxes(ctx context.Context) ([]Box, error) {
	fail := func(err error) ([]Box, error) { return nil, fmt.Errorf("list the boxes: %w", err) }
	all := map[string]*Box{}
	if err := r.all(ctx, ofBoxes+">", func(key string, text []byte) error {
		b := &Box{Name: strings.TrimPrefix(key, ofBoxes)}
		if err := json.Unmarshal(text, b); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		all[b.Name] = b
		return nil
	}); err != nil {
		return fail(err)
	}
	s, err := stream(ctx, r.boxes, protocol.StreamUp)
	if err != nil {
		return fail(err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter("up.>"))
	if err != nil {
		return fail(err)
	}
	for subject := range info.State.Subjects {
		part := strings.Split(subject, ".")
		if b := all[part[2]]; b == nil {
			all[part[2]] = &Box{Name: part[2], Association: part[1], Stage: Member}
		} else if b.Association != part[1] {
			continue // a report from when the box was another association's
		}
		all[part[2]].Seen = time.Unix(1, 0) // marks a box with reports; the time is read below
	}
	boxes := []Box{}
	for _, b := range all {
		if !b.Seen.IsZero() {
			m, err := newest(ctx, s, protocol.SubjectUp(b.Association, b.Name, ">"))
			if err != nil {
				return fail(err)
			}
			b.Seen = m.Time
		}
		boxes = append(boxes, *b)
	}
	slices.SortFunc(boxes, func(a, b Box) int { return strings.Compare(a.Name, b.Name) })
	return boxes, nil
}

// PutCommand stores a command for a box, in place of the last one, and wakes the box.
func (r *Registry) PutCommand(ctx context.Context, author, association, box string, body []byte) error {
	if len(body) > protocol.MaxCommand {
		return fmt.Errorf("a command has at most %d bytes, and this has %d", protocol.MaxCommand, len(body))
	}
	if err := errors.Join(protocol.CheckName(association), protocol.CheckBox(box)); err != nil {
		return err
	}
	if err := r.audit(ctx, author, "send command", box, string(body)); err != nil {
		return err
	}
	return r.want(ctx, protocol.SubjectCommand(association, box), protocol.SubjectWakeBox(box), body)
}

// want stores a message for boxes, and wakes them. A box that misses the wake finds the message at its next round, some hours later.
func (r *Registry) want(ctx context.Context, subject, wake string, body []byte) error {
	m := nats.NewMsg(subject)
	m.Data = body
	ack, err := store(ctx, r.boxes, m)
	if err != nil {
		return fmt.Errorf("write %s: %w", subject, err)
	}
	return r.wake(wake, protocol.Wake{Stream: ack.Stream, Sequence: ack.Sequence})
}

func (r *Registry) wake(subject string, to protocol.Wake) error {
	if err := r.fleet.Publish(subject, to.Text()); err != nil {
		return fmt.Errorf("wake the boxes: %w", err)
	}
	if err := r.fleet.FlushTimeout(patience); err != nil {
		return fmt.Errorf("wake the boxes: %w", err)
	}
	return nil
}

// WakeAll has all boxes look for new signed files. to is what [Registry.PutFile] returned for a file that they must see.
func (r *Registry) WakeAll(to protocol.Wake) error { return r.wake(protocol.SubjectWakeAll, to) }

// Report returns the body of a box's newest report of a name, or nil if there is none.
func (r *Registry) Report(ctx context.Context, association, box, report string) ([]byte, error) {
	s, err := stream(ctx, r.boxes, protocol.StreamUp)
	if err != nil {
		return nil, fmt.Errorf("read a report: %w", err)
	}
	m, err := newest(ctx, s, protocol.SubjectUp(association, box, report))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read a report: %w", err)
	}
	return m.Data, nil
}

// HasFile tells whether the hub that answers the direct gets has a file of the fleet's signed repository with exactly this body.
func (r *Registry) HasFile(ctx context.Context, name string, body []byte) bool {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	for _, chunk := range chunksOf(name, body) {
		m, err := r.fleet.RequestWithContext(ctx, protocol.DirectGet(protocol.StreamPack, chunk.Subject), nil)
		if err != nil || m.Header.Get(protocol.HeaderChunks) != chunk.Header.Get(protocol.HeaderChunks) || !bytes.Equal(m.Data, chunk.Data) {
			return false
		}
	}
	return true
}

// PutFile publishes a file of the fleet's signed repository in chunks, under its name there. Boxes verify it; the hub does not. A box that
// reads while the file changes gets parts of both versions, which no signature fits, and reads again later. The wake that PutFile returns
// names the file's first chunk.
func (r *Registry) PutFile(ctx context.Context, name string, body []byte) (w protocol.Wake, err error) {
	for i, chunk := range chunksOf(name, body) {
		ack, err := store(ctx, r.boxes, chunk)
		if err != nil {
			return protocol.Wake{}, fmt.Errorf("publish %s: %w", name, err)
		}
		if i == 0 {
			w = protocol.Wake{Stream: ack.Stream, Sequence: ack.Sequence, File: name}
		}
	}
	return w, nil
}

// chunksOf returns the messages of a file.
func chunksOf(name string, body []byte) []*nats.Msg {
	chunks := make([]*nats.Msg, max(1, (len(body)+protocol.ChunkSize-1)/protocol.ChunkSize))
	for i := range chunks {
		m := nats.NewMsg(protocol.SubjectPack(name, i))
		m.Header.Set(protocol.HeaderChunks, strconv.Itoa(len(chunks)))
		m.Data = body[i*protocol.ChunkSize : min(len(body), (i+1)*protocol.ChunkSize)]
		chunks[i] = m
	}
	return chunks
}

// Note writes a line into the audit. It is for actions that have no method of their own here, and is called before them.
func (r *Registry) Note(ctx context.Context, author, did, to string) error {
	return r.audit(ctx, author, did, to, "")
}

// Stream is the state of a stream.
type Stream struct {
	Name              string
	Messages, Bytes   uint64
	Leader            string // the name of the hub that leads the stream
	Current, Replicas int    // how many hubs are up to date, and how many should have the stream
	Consumers         int
}

// Streams returns the state of all streams.
func (r *Registry) Streams(ctx context.Context) ([]Stream, error) {
	var all []Stream
	for _, s := range []struct {
		in   jetstream.JetStream
		name string
	}{
		{r.boxes, protocol.StreamRegion}, {r.boxes, protocol.StreamCommand}, {r.boxes, protocol.StreamUp}, {r.boxes, protocol.StreamPack},
		{r.own, streamAudit}, {r.own, "KV_" + bucket},
	} {
		known, err := stream(ctx, s.in, s.name)
		if err != nil {
			return nil, fmt.Errorf("how the stream %s is: %w", s.name, err)
		}
		i := known.CachedInfo()
		now := Stream{Name: s.name, Messages: i.State.Msgs, Bytes: i.State.Bytes, Current: 1, Replicas: i.Config.Replicas, Consumers: i.State.Consumers}
		if i.Cluster != nil {
			now.Leader = i.Cluster.Leader
			for _, p := range i.Cluster.Replicas {
				if p.Current && !p.Offline {
					now.Current++
				}
			}
		}
		all = append(all, now)
	}
	return all, nil
}
