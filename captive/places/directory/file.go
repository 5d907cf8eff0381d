package directory

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"passerelle/appliance/hours"
	"passerelle/captive/search"
)

// A list is one file: the records of its places (JSON), the table of its rows, the table of its different hours, the index of words, and
// the facts about the list (JSON). A trailer has the offset where each of the four after the records begins, the end of the last, and
// the checksum of all before the checksum. Only the tables and the words are kept in memory, some 100 bytes per place; the rest is
// read when it is needed. The file is not mapped into memory, since a failing card would then end the program.
const (
	magic       = "PlacesA\x01" // the last byte is the version
	trailerSize = 5*8 + 4 + len(magic)
	rowSize     = 64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errBroken is the error for a damaged file, and says what to do about it.
var errBroken = errors.New("the file is damaged: import the list again")

// row is what queries need to know about a place.
type row struct {
	id         uint64
	at         uint32     // where its record begins
	where      [3]float32 // on the unit sphere; zero: not known
	hours      uint32     // in the table of hours, from 1; 0: none
	town       uint64     // the first 8 bytes of the town's name in plain form: for the order
	townHash   uint32     // of the whole name
	rank       uint32     // by town, then name, in the list
	postcode   uint32     // 0: unknown
	updated    uint32     // days since 1970; 0: unknown
	services   uint16
	programmes uint16
	audiences  uint8
	care       uint8
	fees       uint8
	modes      uint8
	flags      uint8
}

const (
	flagReceives = 1 << iota
	flagItinerant
	flagDropped // a newer row of the list has the same id
	flagHidden  // another list has a record of the same place that counts; set in memory only
)

// listed reports whether the row counts for its place, and people may go there.
func (r *row) listed() bool { return r.flags&(flagReceives|flagDropped|flagHidden) == flagReceives }

// kept reports whether the row is the one that counts for its place.
func (r *row) kept() bool { return r.flags&(flagDropped|flagHidden) == 0 }

func (r *row) located() bool { return r.where != [3]float32{} }

func (r *row) append(b []byte) []byte {
	le := binary.LittleEndian
	start := len(b)
	b = le.AppendUint32(le.AppendUint64(b, r.id), r.at)
	for _, v := range r.where {
		b = le.AppendUint32(b, math.Float32bits(v))
	}
	b = le.AppendUint64(le.AppendUint32(b, r.hours), r.town)
	for _, v := range []uint32{r.townHash, r.rank, r.postcode, r.updated} {
		b = le.AppendUint32(b, v)
	}
	b = le.AppendUint16(le.AppendUint16(b, r.services), r.programmes)
	b = append(b, r.audiences, r.care, r.fees, r.modes, r.flags)
	return append(b, make([]byte, rowSize-(len(b)-start))...)
}

func (r *row) read(b []byte) {
	le := binary.LittleEndian
	r.id, r.at = le.Uint64(b), le.Uint32(b[8:])
	for i := range r.where {
		r.where[i] = math.Float32frombits(le.Uint32(b[12+4*i:]))
	}
	r.hours, r.town = le.Uint32(b[24:]), le.Uint64(b[28:])
	r.townHash, r.rank, r.postcode, r.updated = le.Uint32(b[36:]), le.Uint32(b[40:]), le.Uint32(b[44:]), le.Uint32(b[48:])
	r.services, r.programmes = le.Uint16(b[52:]), le.Uint16(b[54:])
	r.audiences, r.care, r.fees, r.modes, r.flags = b[56], b[57], b[58], b[59], b[60]
}

// about holds the facts about a list.
type about struct {
	File     string    `json:"file"`
	Imported time.Time `json:"imported"`
	Updated  time.Time `json:"updated"`
	Places   int       `json:"places"`
	Listed   int       `json:"listed"`
	Warnings []Warning `json:"warnings,omitempty"` // of the import
}

// writer writes a list.
type writer struct {
	file  *os.File
	out   *bufio.Writer
	sum   uint32
	size  int64
	rows  []row
	names []string          // of the rows, for their order
	ids   map[uint64]int    // rows by id
	hours map[string]uint32 // numbers of texts, from 1
	texts []string          // in the order of the numbers
	words search.Builder
	forms map[string][]string // of the standard's labels
}

func newWriter(f *os.File) *writer {
	w := &writer{file: f, ids: make(map[uint64]int), hours: make(map[string]uint32), forms: make(map[string][]string)}
	w.out = bufio.NewWriterSize(f, 64<<10)
	w.Write([]byte(magic))
	return w
}

// Write writes to the file. Its error may be ignored, since finish returns it.
func (w *writer) Write(b []byte) (int, error) {
	w.sum = crc32.Update(w.sum, castagnoli, b)
	w.size += int64(len(b))
	return w.out.Write(b)
}

// add adds a place. Of places with the same ID the newest is kept, or the last one if their dates are equal. It returns whether the ID
// was added before.
func (w *writer) add(p Place) (again bool, err error) {
	id, err := parseID(p.ID)
	if err != nil {
		return false, err
	}
	r := row{
		id: id, at: uint32(w.size), townHash: hashTown(p.Town), rank: uint32(len(w.rows)),
		postcode: parsePostcode(p.Postcode), services: uint16(p.Services.Terms), programmes: uint16(p.Programmes.Terms),
		audiences: uint8(p.Audiences.Terms), care: uint8(p.Care.Terms), fees: uint8(p.Fees.Terms), modes: uint8(p.Modes.Terms),
	}
	if p.Receives {
		r.flags |= flagReceives
	}
	if p.Itinerant {
		r.flags |= flagItinerant
	}
	if p.Located {
		r.where = p.At.vector()
	}
	if !p.Updated.IsZero() {
		r.updated = uint32(p.Updated.Unix() / (24 * 60 * 60))
	}
	if other, found := w.ids[id]; found {
		again = true
		if w.rows[other].updated > r.updated {
			return true, nil
		}
		w.rows[other].flags |= flagDropped
	}
	w.ids[id] = len(w.rows)
	if p.Hours != "" {
		number, found := w.hours[p.Hours]
		if !found {
			w.texts = append(w.texts, p.Hours)
			number = uint32(len(w.texts))
			w.hours[p.Hours] = number
		}
		r.hours = number
	}
	var town [8]byte
	copy(town[:], plain(p.Town))
	r.town = binary.BigEndian.Uint64(town[:])
	b, err := json.Marshal(p)
	if err != nil {
		return again, err
	}
	if w.size+int64(len(b)) > math.MaxUint32 {
		return again, errTooBig
	}
	if _, err := w.Write(b); err != nil {
		return again, err
	}
	w.rows = append(w.rows, r)
	w.names = append(w.names, plain(p.Town)+" "+plain(p.Name))
	w.index(p)
	return again, nil
}

// index adds a place's words to the index. The words that it is known by have the greatest weight.
func (w *writer) index(p Place) {
	const name, place, kind, other = 8, 4, 3, 1
	w.words.Document()
	add := func(weight int, texts ...string) {
		for _, text := range texts {
			w.words.Add(text, search.Whole, weight)
		}
	}
	label := func(text string) {
		forms, ok := w.forms[text]
		if !ok {
			forms = search.Forms(text)
			w.forms[text] = forms
		}
		w.words.AddForms(forms, search.Whole, kind)
	}
	add(name, p.Name)
	add(place, p.Town, p.Postcode)
	for _, t := range p.Types {
		label(t)
	}
	add(kind, p.Parent)
	for _, e := range enumerations {
		if e.column != colProgrammes && e.column != colServices && e.column != colLabels {
			continue
		}
		set := e.set(&p)
		for bit, term := range e.terms {
			if set.Terms.Has(1 << bit) {
				label(term.Label)
			}
		}
		add(other, set.Other...)
	}
	add(other, p.Address, p.Complement, p.Summary)
}

// finish writes everything that follows the records, and syncs the file.
func (w *writer) finish(a about) error {
	order := make([]int, len(w.rows))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(w.names[a], w.names[b]) })
	for rank, i := range order {
		w.rows[i].rank = uint32(rank)
	}
	starts := []int64{w.size}
	var b []byte
	for i := range w.rows {
		b = w.rows[i].append(b[:0])
		w.Write(b)
	}
	starts = append(starts, w.size)
	w.Write(appendHours(nil, w.texts))
	starts = append(starts, w.size)
	if _, err := w.words.Index().WriteTo(w); err != nil {
		return err
	}
	starts = append(starts, w.size)
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	w.Write(b)
	starts = append(starts, w.size)
	b = nil
	for _, at := range starts {
		b = binary.LittleEndian.AppendUint64(b, uint64(at))
	}
	w.Write(b)
	w.out.Write(binary.LittleEndian.AppendUint32(nil, w.sum))
	w.out.WriteString(magic)
	if err := w.out.Flush(); err != nil {
		return err
	}
	return w.file.Sync()
}

func parseID(s string) (uint64, error) {
	var b [8]byte
	n, err := hex.Decode(b[:], []byte(s)[:min(len(s), 16)])
	if err != nil || n != 8 || len(s) != 16 {
		return 0, fmt.Errorf("%q is not a place's identity", s)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// parsePostcode returns a postcode of five digits plus one, so that it is never 0; it returns 0 for any other text.
func parsePostcode(s string) (n uint32) {
	if len(s) != 5 || !isNumber(s) {
		return 0
	}
	for _, c := range s {
		n = n*10 + uint32(c-'0')
	}
	return n + 1
}

func hashTown(name string) uint32 {
	return crc32.Checksum([]byte(plain(name)), castagnoli)
}

// Flags in the table of hours.
const (
	hoursWeekly   = 1 << iota // they are the same every week: the edges are all there is
	hoursHolidays             // they have rules about public holidays
	hoursAlways               // open at every time
)

// appendHours appends the table of hours: for each text its flags, the edges of its week, and the text itself.
func appendHours(b []byte, texts []string) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(texts)))
	for _, text := range texts {
		flags := byte(hoursWeekly) // hours that cannot be relied on have no edges: they are never open
		var edges []uint16
		if r, err := readHours(text); err == nil {
			weekly, holidays := r.schedule.Weekly()
			edges = week(r.schedule)
			if !weekly || len(edges) > maxEdges {
				flags, edges = 0, nil
			}
			if holidays {
				flags |= hoursHolidays
			}
			if r.schedule.Always() {
				flags |= hoursAlways
			}
		}
		b = append(b, flags)
		b = binary.AppendUvarint(b, uint64(len(edges)))
		for _, e := range edges {
			b = binary.LittleEndian.AppendUint16(b, e)
		}
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return b
}

// hoursTable holds the different hours of a list.
type hoursTable struct {
	flags []uint8
	ends  []uint32 // by text: the end of its edges
	edges []uint16
	texts map[int]string // of hours that are not weekly, or have rules about public holidays
}

func readHoursTable(b []byte) (t hoursTable, ok bool) {
	if len(b) < 4 {
		return t, false
	}
	n := int(binary.LittleEndian.Uint32(b))
	if b = b[4:]; n > len(b) {
		return t, false
	}
	t.flags, t.ends, t.texts = make([]uint8, n), make([]uint32, n), make(map[int]string)
	number := func() int {
		v, size := binary.Uvarint(b)
		if size <= 0 || v > uint64(len(b)) {
			return -1
		}
		b = b[size:]
		return int(v)
	}
	for i := range n {
		if len(b) == 0 {
			return t, false
		}
		t.flags[i] = b[0]
		b = b[1:]
		edges := number()
		if edges < 0 || 2*edges > len(b) {
			return t, false
		}
		for ; edges > 0; edges-- {
			t.edges = append(t.edges, binary.LittleEndian.Uint16(b))
			b = b[2:]
		}
		t.ends[i] = uint32(len(t.edges))
		size := number()
		if size < 0 || size > len(b) {
			return t, false
		}
		if t.flags[i]&hoursWeekly == 0 || t.flags[i]&hoursHolidays != 0 {
			t.texts[i] = string(b[:size])
		}
		b = b[size:]
	}
	t.edges = slices.Clip(t.edges)
	return t, len(b) == 0
}

// day holds the hours of a list on one date.
type day struct {
	ends  []uint32 // by text: the end of its edges
	edges []uint16 // minutes since midnight, at which it opens and closes in turn
}

// on returns what is certain about the hours of t's date: see Place.Opening.
func (h *hoursTable) on(t time.Time) (d day) {
	today, yesterday := hours.Holiday(t), hours.Holiday(t.AddDate(0, 0, -1))
	midnight := (int(t.Weekday()) + 6) % 7 * 24 * 60
	from := uint32(0)
	for i, flags := range h.flags {
		edges := h.edges[from:h.ends[i]]
		from = h.ends[i]
		switch {
		case flags&hoursAlways != 0:
			d.edges = append(d.edges, 0)
		case flags&hoursHolidays == 0 && today:
			// The hours say nothing about public holidays.
		case flags&hoursWeekly == 0, flags&hoursHolidays != 0 && (today || yesterday):
			if r, _ := readHours(h.texts[i]); r.schedule != nil {
				for _, open := range r.schedule.Day(t) {
					d.edges = append(d.edges, uint16(open.From), uint16(open.To))
				}
			}
		default:
			for j := 0; j+1 < len(edges); j += 2 {
				if from, to := max(int(edges[j])-midnight, 0), min(int(edges[j+1])-midnight, 24*60); from < to {
					d.edges = append(d.edges, uint16(from), uint16(to))
				}
			}
		}
		d.ends = append(d.ends, uint32(len(d.edges)))
	}
	return d
}

// open reports whether the hours with a number, counted from 1, are open at a minute of the day.
func (d *day) open(number uint32, minute int) bool {
	if number == 0 {
		return false
	}
	from := uint32(0)
	if number > 1 {
		from = d.ends[number-2]
	}
	return openAt(d.edges[from:d.ends[number-1]], minute)
}

// openAt reports whether a minute is open: whether the number of edges up to it is odd.
func openAt(edges []uint16, minute int) bool {
	open := false
	for _, e := range edges {
		if int(e) > minute {
			break
		}
		open = !open
	}
	return open
}

// vector returns a point on the unit sphere.
func (p Point) vector() [3]float32 {
	lat, lon := p.Lat*math.Pi/180, p.Lon*math.Pi/180
	return [3]float32{
		float32(math.Cos(lat) * math.Cos(lon)), float32(math.Cos(lat) * math.Sin(lon)), float32(math.Sin(lat)),
	}
}

// list is an opened list.
type list struct {
	about
	name  string
	file  *os.File
	rows  []row
	end   int64 // of the records
	hours hoursTable
	words *search.Index
}

// openList opens a list, and checks the whole file.
func openList(path, name string) (_ *list, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	l := &list{name: name, file: f}
	body := info.Size() - 4 - int64(len(magic))
	if body < int64(len(magic)+trailerSize) {
		return nil, errBroken
	}
	end := make([]byte, trailerSize)
	head := make([]byte, len(magic))
	_, err = f.ReadAt(end, info.Size()-int64(trailerSize))
	if err == nil {
		_, err = f.ReadAt(head, 0)
	}
	switch {
	case err != nil:
		return nil, err
	case string(head[:len(head)-1]) == magic[:len(magic)-1] && string(head) != magic:
		return nil, errors.New("another version of the program wrote the file: import the list again")
	case string(head) != magic || string(end[trailerSize-len(magic):]) != magic:
		return nil, errBroken
	}
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, body)); err != nil {
		return nil, err
	}
	if sum.Sum32() != binary.LittleEndian.Uint32(end[5*8:]) {
		return nil, errBroken
	}
	var starts [5]int64
	for i := range starts {
		starts[i] = int64(binary.LittleEndian.Uint64(end[8*i:]))
		if starts[i] < 0 || starts[i] > body || i > 0 && starts[i] < starts[i-1] {
			return nil, errBroken
		}
	}
	section := func(i int) ([]byte, error) {
		b := make([]byte, starts[i+1]-starts[i])
		_, err := f.ReadAt(b, starts[i])
		return b, err
	}
	l.end = starts[0]
	b, err := section(0)
	if err != nil {
		return nil, err
	}
	l.rows = make([]row, len(b)/rowSize)
	for i := range l.rows {
		l.rows[i].read(b[i*rowSize:])
	}
	if b, err = section(1); err != nil {
		return nil, err
	}
	var ok bool
	if l.hours, ok = readHoursTable(b); !ok {
		return nil, errBroken
	}
	l.words, err = search.Read(io.NewSectionReader(f, starts[2], starts[3]-starts[2]), starts[3]-starts[2])
	if err != nil {
		return nil, err
	}
	if b, err = section(3); err != nil {
		return nil, err
	}
	if json.Unmarshal(b, &l.about) != nil || l.words.Docs() != len(l.rows) {
		return nil, errBroken
	}
	for i := range l.rows {
		if int(l.rows[i].hours) > len(l.hours.flags) || int64(l.rows[i].at) > l.end {
			return nil, errBroken
		}
	}
	return l, nil
}

// record reads the text of a record.
func (l *list) record(i int) ([]byte, error) {
	from, to := int64(l.rows[i].at), l.end
	if i+1 < len(l.rows) {
		to = int64(l.rows[i+1].at)
	}
	b := make([]byte, max(to-from, 0))
	if _, err := l.file.ReadAt(b, from); err != nil {
		return nil, fmt.Errorf("read list %s: %w", l.name, err)
	}
	return b, nil
}

// place reads a record.
func (l *list) place(i int) (Place, error) {
	b, err := l.record(i)
	if err != nil {
		return Place{}, err
	}
	var p Place
	if err := json.Unmarshal(b, &p); err != nil {
		return Place{}, fmt.Errorf("read list %s: %w", l.name, err)
	}
	p.List = l.name
	r, _ := readHours(p.Hours)
	p.Schedule, p.Note, p.WeekendUnknown = r.schedule, r.note, r.weekend
	return p, nil
}
