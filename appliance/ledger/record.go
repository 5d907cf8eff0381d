package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"
)

// Record is the part of an account that outlives the machine's memory. What is in it was decided before the kernel got
// the tranches that it promises; so whatever happened since then, Promised is no less than what the line has carried.
type Record struct {
	Start, End int64  // of the period, Unix seconds; End 0: it never ends, or is not known yet
	Period     string // the terms that these follow from; "" until time is trusted for the first time
	Resets     int
	Lost       bool // an earlier account was lost: all of the cap counts as used until the period is over

	// Used is Base and, since the line's interface appeared, the larger of what its counter says and what was paid.
	Base, Link, Paid uint64
	Sure, SureLink   uint64 // Used and Link when time was last trusted
	Promised         uint64 // what counts as used after a power cut
	Reserve          uint64 // what essential services used of their reserve
	ReservePromised  uint64
	Extra            uint64 // what the margin grew by, because it once fell short
	Broadcasts       uint64 // that came from the line's own network
	LastID           uint64 // of the last tranche
	Boot             string
	Line             Line // without BroadcastsBefore
	Today, Last      Day  // Last: the day before it on which the box ran

	tranches []granted // in the kernel
}

// Day is the sum of a day. There are no other facts about residents than their number.
type Day struct {
	Date      int32  // as the number yyyymmdd, 0: no day
	Bytes     uint64 // that crossed the line, both directions
	Residents uint32 // how many came, by what their devices used: see Sharing.People
}

// KeepDays is for how many days of use a donation's sums are kept.
const KeepDays = 400

// LostRecord is the record of a donation whose earlier one was lost.
func LostRecord() Record { return Record{Lost: true} }

func (r *Record) used() uint64 { return r.Base + max(r.Link, r.Paid) }

func (r *Record) clone() Record {
	c := *r
	c.tranches = slices.Clone(r.tranches)
	return c
}

// dateOf returns a day as a number.
func dateOf(t time.Time) int32 {
	y, m, d := t.Date()
	return int32(y*10000 + int(m)*100 + d)
}

// Errors of Decode.
var (
	ErrNewer   = errors.New("it was written by a newer version")
	ErrDamaged = errors.New("it is damaged")
)

// The versions of a record's form, by the rule in store's package comment: a newer one that is read has more fields at its
// end. Version 2 has the counts of broadcasts.
const (
	recordWrites = 2
	recordReads  = recordWrites + 1
)

// Append appends the record's bytes: the version, the fields as varints and short texts, and a checksum (CRC-32, IEEE).
func (r Record) Append(to []byte) []byte {
	from := len(to)
	e := encoder{append(to, recordWrites)}
	e.int(r.Start)
	e.int(r.End)
	e.text(r.Period)
	e.int(int64(r.Resets))
	e.flag(r.Lost)
	for _, v := range []uint64{
		r.Base, r.Link, r.Paid, r.Sure, r.SureLink, r.Promised, r.Reserve, r.ReservePromised, r.Extra, r.LastID,
	} {
		e.uint(v)
	}
	e.text(r.Boot)
	e.text(r.Line.Name)
	e.uint(uint64(r.Line.Index))
	e.uint(r.Line.Bytes)
	for _, d := range []Day{r.Today, r.Last} {
		e.day(d)
	}
	e.uint(uint64(len(r.tranches)))
	for _, g := range r.tranches {
		for _, v := range []uint64{uint64(g.part), g.id, g.bytes, g.used} {
			e.uint(v)
		}
	}
	e.uint(r.Broadcasts)
	e.uint(r.Line.BroadcastsAfter)
	return binary.LittleEndian.AppendUint32(e.b, crc32.ChecksumIEEE(e.b[from:]))
}

// Decode reads what Append wrote. Its errors are ErrNewer and ErrDamaged.
func Decode(b []byte) (r Record, err error) {
	d, err := open(b)
	if err != nil {
		return Record{}, fmt.Errorf("read a donation's account: %w", err)
	}
	r.Start, r.End = d.int(), d.int()
	r.Period, r.Resets = d.text(), int(d.int())
	r.Lost = d.uint() != 0
	for _, v := range []*uint64{
		&r.Base, &r.Link, &r.Paid, &r.Sure, &r.SureLink, &r.Promised, &r.Reserve, &r.ReservePromised, &r.Extra, &r.LastID,
	} {
		*v = d.uint()
	}
	r.Boot = d.text()
	r.Line.Name, r.Line.Index, r.Line.Bytes = d.text(), int(d.uint()), d.uint()
	r.Today, r.Last = d.day(), d.day()
	for n := d.uint(); n > 0 && d.err == nil; n-- {
		g := granted{part: part(d.uint()), id: d.uint(), bytes: d.uint(), used: d.uint()}
		if g.part >= partCount || g.used > g.bytes {
			d.err = ErrDamaged
		}
		r.tranches = append(r.tranches, g)
	}
	if d.version >= 2 {
		r.Broadcasts, r.Line.BroadcastsAfter = d.uint(), d.uint()
	}
	if !d.finished() {
		return Record{}, fmt.Errorf("read a donation's account: %w", ErrDamaged)
	}
	return r, nil
}

// Append appends the day's sums without its date, with a checksum.
func (d Day) Append(to []byte) []byte {
	from := len(to)
	e := encoder{append(to, recordWrites)}
	e.uint(d.Bytes)
	e.uint(uint64(d.Residents))
	return binary.LittleEndian.AppendUint32(e.b, crc32.ChecksumIEEE(e.b[from:]))
}

// DecodeDay reads what Append wrote. Its errors are ErrNewer and ErrDamaged.
func DecodeDay(date int32, b []byte) (Day, error) {
	d, err := open(b)
	if err != nil {
		return Day{}, fmt.Errorf("read the sums of day %d: %w", date, err)
	}
	day := Day{Date: date, Bytes: d.uint(), Residents: uint32(d.uint())}
	if !d.finished() {
		return Day{}, fmt.Errorf("read the sums of day %d: %w", date, ErrDamaged)
	}
	return day, nil
}

type encoder struct{ b []byte }

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)   { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) text(s string) { e.uint(uint64(len(s))); e.b = append(e.b, s...) }
func (e *encoder) flag(b bool) {
	if b {
		e.uint(1)
	} else {
		e.uint(0)
	}
}
func (e *encoder) day(d Day) {
	for _, v := range []uint64{uint64(d.Date), d.Bytes, uint64(d.Residents)} {
		e.uint(v)
	}
}

// decoder reads fields; after the first error it reads zeros.
type decoder struct {
	version byte
	b       []byte
	err     error
}

// open checks version and checksum.
func open(b []byte) (decoder, error) {
	if len(b) < 5 {
		return decoder{}, ErrDamaged
	}
	body, sum := b[:len(b)-4], b[len(b)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return decoder{}, ErrDamaged
	}
	if body[0] > recordReads {
		return decoder{}, ErrNewer
	}
	return decoder{version: body[0], b: body[1:]}, nil
}

// finished tells whether all was read. What a newer version has at its end is passed over.
func (d *decoder) finished() bool {
	return d.err == nil && (len(d.b) == 0 || d.version > recordWrites)
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.skip(n)
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	d.skip(n)
	return v
}

func (d *decoder) skip(n int) {
	if n <= 0 {
		d.b, d.err = nil, ErrDamaged
		return
	}
	d.b = d.b[n:]
}

func (d *decoder) text() string {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.b, d.err = nil, ErrDamaged
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) day() Day {
	date := d.uint()
	if date > math.MaxInt32 {
		d.err = ErrDamaged
	}
	return Day{Date: int32(date), Bytes: d.uint(), Residents: uint32(d.uint())}
}
