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

// Record is the part of an account that is stored on disk. It is written before the kernel gets the tranches that it commits, so
// Committed is never less than what the line has carried.
type Record struct {
	Start, End int64  // of the period, in Unix seconds; End 0: it never ends, or is not known yet
	Period     string // the policy that Start and End follow from; "" until time is trusted for the first time
	Resets     int
	Lost       bool // an earlier account was lost: the whole cap counts as used until the period is over

	// The bytes used are Base plus the larger of two counts since the line's interface appeared: what its counter says, and what
	// was charged to tranches.
	Base, Counted, Charged      uint64
	TrustedUsed, TrustedCounted uint64 // bytes used and Counted when time was last trusted
	Committed                   uint64 // bytes that count as used after a power cut
	Reserve                     uint64 // bytes that essential services used of their reserve
	ReserveCommitted            uint64
	ExtraMargin                 uint64 // how much the margin grew after it proved too small
	Broadcasts                  uint64 // from the line's own network
	Stated, Lowered             uint64 // parts of Base that the line did not carry: see Account.CountAtLeast and LowerTo
	LastID                      uint64 // of the last tranche
	Boot                        string
	Counter                     Counter // without BroadcastsBefore
	Today, LastDay              Day     // LastDay: the last day before Today on which the box ran

	tranches []tranche // in the kernel
}

// Day is the sum of a day. The number of residents is all that it holds about them.
type Day struct {
	Date      Date   // 0: no day
	Bytes     uint64 // that crossed the line, both directions
	Residents uint32 // how many came, weighted by what their devices used: see Sharing.Residents
}

// Date is a calendar day as the number yyyymmdd.
type Date int32

// Time returns the day's midnight in UTC.
func (d Date) Time() time.Time {
	return time.Date(int(d/10000), time.Month(d/100%100), int(d%100), 0, 0, 0, 0, time.UTC)
}

// KeepDays is the number of days whose sums are kept for a donation.
const KeepDays = 400

// LostRecord returns the record of a donation whose earlier record was lost.
func LostRecord() Record { return Record{Lost: true} }

func (r *Record) used() uint64 { return r.Base + max(r.Counted, r.Charged) }

func (r *Record) clone() Record {
	c := *r
	c.tranches = slices.Clone(r.tranches)
	return c
}

// dateOf returns the date at a time, in that time's zone.
func dateOf(t time.Time) Date {
	y, m, d := t.Date()
	return Date(y*10000 + int(m)*100 + d)
}

// Errors of Decode.
var (
	ErrNewer   = errors.New("it was written by a newer version")
	ErrDamaged = errors.New("it is damaged")
)

// Versions of a record's encoding, by the rule in store's package comment: a newer version that can still be read has more fields
// at its end. Version 2 added the counts of broadcasts, version 3 what the lender withheld.
const (
	recordWrites = 3
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
		r.Base, r.Counted, r.Charged, r.TrustedUsed, r.TrustedCounted, r.Committed, r.Reserve, r.ReserveCommitted, r.ExtraMargin, r.LastID,
	} {
		e.uint(v)
	}
	e.text(r.Boot)
	e.text(r.Counter.Name)
	e.uint(uint64(r.Counter.Index))
	e.uint(r.Counter.Bytes)
	for _, d := range []Day{r.Today, r.LastDay} {
		e.day(d)
	}
	e.uint(uint64(len(r.tranches)))
	for _, g := range r.tranches {
		for _, v := range []uint64{uint64(g.part), g.id, g.bytes, g.used} {
			e.uint(v)
		}
	}
	e.uint(r.Broadcasts)
	e.uint(r.Counter.BroadcastsAfter)
	e.uint(r.Stated)
	e.uint(r.Lowered)
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
		&r.Base, &r.Counted, &r.Charged, &r.TrustedUsed, &r.TrustedCounted, &r.Committed, &r.Reserve, &r.ReserveCommitted, &r.ExtraMargin, &r.LastID,
	} {
		*v = d.uint()
	}
	r.Boot = d.text()
	r.Counter.Name, r.Counter.Index, r.Counter.Bytes = d.text(), int(d.uint()), d.uint()
	r.Today, r.LastDay = d.day(), d.day()
	for n := d.uint(); n > 0 && d.err == nil; n-- {
		g := tranche{part: part(d.uint()), id: d.uint(), bytes: d.uint(), used: d.uint()}
		if g.part >= partCount || g.used > g.bytes {
			d.err = ErrDamaged
		}
		r.tranches = append(r.tranches, g)
	}
	if d.version >= 2 {
		r.Broadcasts, r.Counter.BroadcastsAfter = d.uint(), d.uint()
	}
	if d.version >= 3 {
		r.Stated, r.Lowered = d.uint(), d.uint()
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
func DecodeDay(date Date, b []byte) (Day, error) {
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

// finished tells whether everything was read. Fields that a newer version adds at the end are skipped.
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
	return Day{Date: Date(date), Bytes: d.uint(), Residents: uint32(d.uint())}
}
