// Package directory owns the lists of places where people help with digital matters. It imports them from CSV files of the national
// standard "lieux de médiation numérique", keeps them on the disk, and answers which places are near, open or match a query.
//
// It does not depend on pages or on who asks: handlers query a Directory. A Directory is immutable; after an import a new one is
// opened.
package directory

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"passerelle/captive/search"
)

// Directory holds all lists. It is immutable and safe for concurrent use. Its records stay on the disk and are read when they are
// needed.
type Directory struct {
	lists []*list
	undo  []bool // by list: the list that it replaced is kept

	mutex sync.Mutex
	date  [3]int // the date of days: year, month, day
	days  []day  // a cache of that date's hours, by list
}

// List is an imported list.
type List struct {
	Name     string
	File     string // the name of the file that it was imported from
	Imported time.Time
	Updated  time.Time // of its newest place; zero if unknown
	Places   int
	Listed   int       // places that people may go to
	Undo     bool      // the list that it replaced can be restored
	Warnings []Warning // of its import, grouped by kind, in the order of the file
}

// Query says which places are wanted. The zero value matches all places that receive people.
type Query struct {
	From *Point    // nearest first; nil: by town, then name
	Now  time.Time // in the zone of the places, for OpenNow

	Services   Terms // the place has all of them
	Audiences  Terms // all of them are welcome, as they are where everybody is
	Care       Terms // the place has all of them
	Programmes Terms // the place has all of them
	Modes      Terms // the place has all of them
	Languages  bool  // English or another foreign language
	Free       bool
	OpenNow    bool // certainly open
	Itinerant  bool

	Town, Postcode string // the town is compared without accents, case and signs
	Words          string // only places that match the most of the words
}

// Hit is a place that a query found.
type Hit struct {
	Place
	Distance float64 // metres from Query.From; negative if unknown
}

// Open opens the lists in a folder, which need not exist. A broken list is left out, and its error is returned.
func Open(dir string) (*Directory, []error) {
	d := new(Directory)
	var problems []error
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, []error{err}
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), listEnding)
		if !ok || checkName(name) != nil {
			continue
		}
		l, err := openList(filepath.Join(dir, e.Name()), name)
		if err != nil {
			problems = append(problems, fmt.Errorf("list %s is left out: %w", name, err))
			continue
		}
		_, err = os.Stat(filepath.Join(dir, name+previousEnding))
		d.lists, d.undo = append(d.lists, l), append(d.undo, err == nil)
	}
	d.hideOlder()
	return d, problems
}

// HasLists reports whether a folder has a list, without opening it.
func HasLists(dir string) bool {
	names, err := filepath.Glob(filepath.Join(dir, "*"+listEnding))
	return err == nil && len(names) > 0
}

// hideOlder hides the older records of places that are in several lists. If their dates are equal, the first list's record stays.
func (d *Directory) hideOlder() {
	if len(d.lists) < 2 {
		return
	}
	newest := make(map[uint64]*row)
	for _, l := range d.lists {
		for i := range l.rows {
			r := &l.rows[i]
			if r.flags&flagDropped != 0 {
				continue
			}
			other := newest[r.id]
			switch {
			case other == nil:
			case r.updated > other.updated:
				other.flags |= flagHidden
			default:
				r.flags |= flagHidden
				continue
			}
			newest[r.id] = r
		}
	}
}

// Close closes the files. Later queries fail.
func (d *Directory) Close() error {
	var err error
	for _, l := range d.lists {
		err = errors.Join(err, l.file.Close())
	}
	return err
}

// Lists returns the lists by name.
func (d *Directory) Lists() (all []List) {
	for i, l := range d.lists {
		all = append(all, l.list(l.name, d.undo[i]))
	}
	return all
}

func (a about) list(name string, undo bool) List {
	return List{
		Name: name, File: a.File, Imported: a.Imported, Updated: a.Updated, Places: a.Places, Listed: a.Listed, Undo: undo,
		Warnings: a.Warnings,
	}
}

// Place returns a place by its ID, even if it receives nobody. The error is fs.ErrNotExist if there is no such place.
func (d *Directory) Place(id string) (Place, error) {
	wanted, err := parseID(id)
	if err == nil {
		for _, l := range d.lists {
			for i := range l.rows {
				if r := &l.rows[i]; r.id == wanted && r.kept() {
					return l.place(i)
				}
			}
		}
	}
	return Place{}, fmt.Errorf("place %.20q: %w", id, fs.ErrNotExist)
}

// candidate is a place that matches a query.
type candidate struct {
	away      float32 // the square of the chord on the unit sphere; infinite if unknown
	list, row int32
	order     uint64 // the beginning of the town's name: the order of places at the same distance
	rank      uint32 // the order within a list
}

func (a candidate) compare(b candidate) int {
	return cmp.Or(cmp.Compare(a.away, b.away), cmp.Compare(a.order, b.order), cmp.Compare(a.list, b.list), cmp.Compare(a.rank, b.rank))
}

// last is a heap of candidates with the last in order on top.
type last []candidate

func (h last) Len() int           { return len(h) }
func (h last) Less(i, j int) bool { return h[i].compare(h[j]) > 0 }
func (h last) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *last) Push(c any)        { *h = append(*h, c.(candidate)) }
func (h *last) Pop() any          { panic("only Fix is used") }

// Find returns the places that match a query, beginning at the offset and at most that many, and the total number of matches.
func (d *Directory) Find(q Query, offset, most int) (hits []Hit, total int, err error) {
	wanted, err := d.matches(q)
	if err != nil {
		return nil, 0, err
	}
	var from [3]float32
	if q.From != nil {
		from = q.From.vector()
	}
	offset, most = max(offset, 0), max(most, 0)
	var first last
	for i, l := range d.lists {
		for j := range l.rows {
			r := &l.rows[j]
			if !r.listed() || !wanted(i, j) {
				continue
			}
			total++
			c := candidate{away: float32(math.Inf(1)), list: int32(i), row: int32(j), order: r.town, rank: r.rank}
			if q.From == nil {
				c.away = 0
			} else if r.located() {
				c.away = 0
				for k, v := range r.where {
					c.away += (v - from[k]) * (v - from[k])
				}
			}
			switch {
			case len(first) < offset+most:
				first = append(first, c)
				if len(first) == offset+most {
					heap.Init(&first)
				}
			case len(first) > 0 && c.compare(first[0]) < 0:
				first[0] = c
				heap.Fix(&first, 0)
			}
		}
	}
	slices.SortFunc(first, candidate.compare)
	for _, c := range first[min(offset, len(first)):] {
		p, err := d.lists[c.list].place(int(c.row))
		if err != nil {
			return nil, 0, err
		}
		h := Hit{Place: p, Distance: -1}
		if q.From != nil && p.Located {
			h.Distance = q.From.distance(p.At)
		}
		hits = append(hits, h)
	}
	return hits, total, nil
}

// matches returns a function that reports whether a listed place, given by its list and row, matches a query.
func (d *Directory) matches(q Query) (func(list, row int) bool, error) {
	var days []day
	if q.OpenNow {
		days = d.on(q.Now)
	}
	minute := q.Now.Hour()*60 + q.Now.Minute()
	town, postcode := hashTown(q.Town), parsePostcode(q.Postcode)
	if q.Postcode != "" && postcode == 0 {
		return func(int, int) bool { return false }, nil
	}
	var found [][]bool
	if strings.TrimSpace(q.Words) != "" {
		results, err := d.search(q.Words)
		if err != nil {
			return nil, err
		}
		for _, l := range d.lists {
			found = append(found, make([]bool, len(l.rows)))
		}
		for list, row := range results.Fullest() {
			found[list][row] = true
		}
	}
	return func(list, row int) bool {
		r := &d.lists[list].rows[row]
		switch {
		case !Terms(r.services).Has(q.Services), !Terms(r.care).Has(q.Care),
			!Terms(r.programmes).Has(q.Programmes), !Terms(r.modes).Has(q.Modes),
			r.audiences != 0 && !Terms(r.audiences).Has(q.Audiences),
			q.Languages && Terms(r.care)&(English|OtherLanguages) == 0,
			q.Free && !Terms(r.fees).Has(Free),
			q.Itinerant && r.flags&flagItinerant == 0,
			q.Town != "" && r.townHash != town,
			q.Postcode != "" && r.postcode != postcode,
			q.OpenNow && !days[list].open(r.hours, minute),
			found != nil && !found[list][row]:
			return false
		}
		return true
	}, nil
}

// on returns the hours of t's date, by list. Those of the last date are cached.
func (d *Directory) on(t time.Time) []day {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	year, month, date := t.Date()
	if wanted := [3]int{year, int(month), date}; d.days == nil || d.date != wanted {
		d.date, d.days = wanted, nil
		for _, l := range d.lists {
			d.days = append(d.days, l.hours.on(t))
		}
	}
	return d.days
}

func (d *Directory) search(words string) (*search.Results, error) {
	var indexes []*search.Index
	for _, l := range d.lists {
		indexes = append(indexes, l.words)
	}
	return search.Search(words, func(list, row int) bool { return d.lists[list].rows[row].listed() }, indexes...)
}

// Search returns at most that many places that are about the words, the best first and not the nearest, and how much of the words the
// first is about (see search.Hit). It is for a search that has other kinds of results, too.
func (d *Directory) Search(words string, most int) (places []Place, sure float64, err error) {
	results, err := d.search(words)
	if err != nil {
		return nil, 0, err
	}
	for i, h := range results.Best(most) {
		if i == 0 {
			sure = h.Sure
		}
		p, err := d.lists[h.Index].place(h.Doc)
		if err != nil {
			return nil, 0, err
		}
		places = append(places, p)
	}
	return places, sure, nil
}

// Postcode returns the middle of the places with a postcode. If there are none, it returns the middle of the places in its
// département, and exact is false. ok is false if there are none either.
func (d *Directory) Postcode(code string) (at Point, exact, ok bool) {
	wanted := parsePostcode(code)
	if wanted == 0 {
		return Point{}, false, false
	}
	var same, near [3]float64
	department := departmentOf(wanted)
	for _, l := range d.lists {
		for i := range l.rows {
			r := &l.rows[i]
			if !r.located() || r.postcode == 0 || departmentOf(r.postcode) != department {
				continue
			}
			for k, v := range r.where {
				near[k] += float64(v)
				if r.postcode == wanted {
					same[k] += float64(v)
				}
			}
		}
	}
	switch {
	case same != [3]float64{}:
		return pointOf(same), true, true
	case near != [3]float64{}:
		return pointOf(near), false, true
	}
	return Point{}, false, false
}

// departmentOf returns the département of a postcode from parsePostcode: its first two digits, or three overseas.
func departmentOf(postcode uint32) uint32 {
	d := (postcode - 1) / 1000
	if d >= 97 {
		return (postcode - 1) / 100
	}
	return d
}

const earth = 6_371_000 // its mean radius in metres

// distance returns the metres between two points.
func (p Point) distance(other Point) float64 {
	lat1, lat2 := p.Lat*math.Pi/180, other.Lat*math.Pi/180
	dLat, dLon := lat2-lat1, (other.Lon-p.Lon)*math.Pi/180
	h := math.Pow(math.Sin(dLat/2), 2) + math.Cos(lat1)*math.Cos(lat2)*math.Pow(math.Sin(dLon/2), 2)
	return 2 * earth * math.Asin(min(1, math.Sqrt(h)))
}

// pointOf returns the point in the direction of a vector.
func pointOf(v [3]float64) Point {
	return Point{
		Lat: math.Atan2(v[2], math.Hypot(v[0], v[1])) * 180 / math.Pi,
		Lon: math.Atan2(v[1], v[0]) * 180 / math.Pi,
	}
}
