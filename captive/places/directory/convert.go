package directory

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds on a place, in characters and in items of a list.
const (
	maxName    = 200
	maxLine    = 300
	maxSummary = 1000
	maxDetail  = 5000
	maxItems   = 12
)

// converter converts records to places. It repairs values that have one plausible meaning, and warns about them.
type converter struct {
	at    [columns]int // the cell of each column; -1: the file has none
	names [columns]string
	warn  warnings
	now   time.Time
	zone  *time.Location
	hours map[string]error     // what is wrong with a text of hours; nil for nothing
	seen  []map[string]meaning // a cache of the values in the file, by enumeration: a few values occur thousands of times

	line int // of the record
}

// note warns about a column of the record.
func (c *converter) note(col column, kind, format string, values ...any) {
	c.warn.add(c.line, c.names[col], kind, fmt.Sprintf(format, values...))
}

// place converts a record to a place. It returns false for a record without a name, which is left out.
func (c *converter) place(cells []string) (Place, bool) {
	get := func(col column) string {
		if c.at[col] < 0 {
			return ""
		}
		return cells[c.at[col]]
	}
	text := func(col column, most int) string { return c.text(col, get(col), most) }

	p := Place{
		Name: text(colName, maxName), Parent: text(colParent, maxName),
		Address: text(colAddress, maxLine), Complement: text(colComplement, maxLine),
		Postcode: text(colPostcode, 10), Town: text(colTown, maxName),
		Summary: c.paragraphs(colSummary, get(colSummary), maxSummary),
		Detail:  c.paragraphs(colDetail, get(colDetail), maxDetail),
		Source:  text(colSource, maxName), Hours: text(colHours, maxSummary),
	}
	id := strings.TrimSpace(get(colID))
	if p.Name == "" {
		if id != "" || p.Address != "" || p.Town != "" {
			c.note(colName, "name", "it has no name: the place is left out")
		}
		return Place{}, false
	}
	if id == "" {
		c.note(colID, "id", "it is missing: one is made of the name and the address")
		id = strings.Join([]string{p.Name, p.Address, p.Postcode, p.Town}, "\n")
	}
	p.ID = hashID(id)
	if len(p.Postcode) == 4 && isNumber(p.Postcode) {
		c.note(colPostcode, "short", "%q has lost its zero: it is read as %q", p.Postcode, "0"+p.Postcode)
		p.Postcode = "0" + p.Postcode
	}
	p.At, p.Located = c.point(get(colLatitude), get(colLongitude))
	p.Types = c.types(get(colTypes))
	p.Phones = c.phones(get(colPhones))
	p.Emails = c.emails(get(colEmails))
	p.Sites = c.sites(colSites, get(colSites))
	for _, link := range []struct {
		col column
		to  *string
	}{{colBooking, &p.Booking}, {colAccessSheet, &p.AccessSheet}} {
		if all := c.sites(link.col, get(link.col)); len(all) > 0 {
			*link.to = all[0]
		}
	}
	p.Updated = c.date(get(colUpdated))
	p.Itinerant = slices.ContainsFunc(splitList(get(colItinerant)), func(v string) bool { return plain(v) == "itinerant" })
	c.checkHours(p.Hours)
	excludes := true
	for i, e := range enumerations {
		if !c.terms(&p, i, get(e.column)) {
			excludes = false
		}
	}
	if !excludes {
		p.Audiences.Terms = 0
	}
	for _, label := range splitList(get(colOtherLabels)) {
		if label = c.text(colOtherLabels, label, maxName); label != "" && len(p.Labels.Other) < maxItems {
			p.Labels.Other = append(p.Labels.Other, label)
		}
	}
	p.Receives = !p.Access.Terms.Has(NoPublic)
	return p, true
}

// hashID returns a place's ID. It is a hash, since identifiers of merged places have up to 2,704 bytes.
func hashID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}

// text cleans a text of one line, and cuts it to at most that many characters.
func (c *converter) text(col column, s string, most int) string {
	s = strings.Join(strings.Fields(c.visible(col, s)), " ")
	if len(s) > most && utf8.RuneCountInString(s) > most {
		c.note(col, "long", "it has more than %d characters: the rest is left out", most)
		s = string([]rune(s)[:most-1]) + "…"
	}
	return s
}

// paragraphs is text with several lines.
func (c *converter) paragraphs(col column, s string, most int) string {
	if !strings.ContainsAny(s, "\r\n") {
		return c.text(col, s, most)
	}
	var lines []string
	for _, l := range strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if most == 0 {
			c.note(col, "long", "it is too long: the lines after the first ones are left out")
			break
		}
		if l = c.text(col, l, most); l != "" {
			lines = append(lines, l)
			most -= utf8.RuneCountInString(l)
		}
	}
	return strings.Join(lines, "\n")
}

// visible removes invisible characters, some of which may hide or reorder other text, and restores quotation marks, which the
// official exporter replaces by full-width ones.
func (c *converter) visible(col column, s string) string {
	if isPlainASCII(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == 0:
			c.note(col, "nul", "it has bytes that are zero: they are left out")
			return -1
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case r == '＂':
			return '"'
		case r < ' ', r >= 0x7f && r < 0xa0, // C0 and C1
			unicode.Is(unicode.Bidi_Control, r), r == 0x200b, r >= 0x2060 && r <= 0x206f, r == 0xfeff: // no width
			return -1
		}
		return r
	}, s)
}

func isPlainASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// regions are the bounds of France and its overseas territories: the least and greatest latitude, then longitude.
var regions = [][4]float64{
	{41, 51.5, -5.5, 10},       // metropolitan France
	{15.7, 16.6, -62, -60.9},   // Guadeloupe
	{17.8, 18.2, -63.3, -62.7}, // Saint-Martin, Saint-Barthélemy
	{14.3, 15, -61.4, -60.7},   // Martinique
	{2, 6, -55, -51},           // Guyane
	{-21.5, -20.7, 55, 56},     // La Réunion
	{-13.2, -12.5, 44.9, 45.5}, // Mayotte
	{46.7, 47.2, -56.6, -56},   // Saint-Pierre-et-Miquelon
	{-14.5, -13, -178.4, -176}, // Wallis-et-Futuna
	{-28, -7, -155, -134},      // Polynésie française
	{-23, -19, 163, 168.5},     // Nouvelle-Calédonie
}

func inFrance(lat, lon float64) bool {
	return slices.ContainsFunc(regions, func(r [4]float64) bool {
		return r[0] <= lat && lat <= r[1] && r[2] <= lon && lon <= r[3]
	})
}

// point reads a position.
func (c *converter) point(latitude, longitude string) (at Point, ok bool) {
	latitude, longitude = strings.TrimSpace(latitude), strings.TrimSpace(longitude)
	if latitude == "" && longitude == "" {
		c.note(colLatitude, "missing", "it is missing: the place has no position")
		return Point{}, false
	}
	read := func(col column, s string) float64 {
		v, err := strconv.ParseFloat(strings.Replace(s, ",", ".", 1), 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			c.note(col, "number", "%s is not a number: the place has no position", quoted(s))
			return math.NaN()
		}
		if strings.Contains(s, ",") {
			c.note(col, "comma", "%s has a decimal comma: it is read as %v", quoted(s), v)
		}
		return v
	}
	lat, lon := read(colLatitude, latitude), read(colLongitude, longitude)
	switch {
	case math.IsNaN(lat) || math.IsNaN(lon):
		return Point{}, false
	case lat == 0 && lon == 0:
		c.note(colLatitude, "zero", "0,0 is in the sea: the place has no position")
		return Point{}, false
	case inFrance(lat, lon):
		return Point{lat, lon}, true
	case inFrance(lon, lat):
		c.note(colLatitude, "swapped", "%v,%v is not in France, %v,%v is: latitude and longitude are swapped", lat, lon, lon, lat)
		return Point{lon, lat}, true
	}
	c.note(colLatitude, "far", "%v,%v is not in France: the place has no position", lat, lon)
	return Point{}, false
}

// types reads the kinds of place.
func (c *converter) types(cell string) (labels []string) {
	for _, code := range splitList(cell) {
		label, ok := types[strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToUpper(code))]
		if !ok {
			label = c.text(colTypes, code, maxName)
			c.note(colTypes, "unknown", "%s is not in the standard: it is kept as it is", quoted(code))
		}
		if label != "" && !slices.Contains(labels, label) && len(labels) < maxItems {
			labels = append(labels, label)
		}
	}
	return labels
}

func newConverter(now time.Time) *converter {
	c := &converter{now: now, zone: time.UTC, hours: make(map[string]error)}
	if zone, err := time.LoadLocation("Europe/Paris"); err == nil {
		c.zone = zone
	}
	for range enumerations {
		c.seen = append(c.seen, make(map[string]meaning))
	}
	return c
}

// terms reads the column of the enumeration i. It returns false if a value says that nobody is excluded.
func (c *converter) terms(p *Place, i int, cell string) (excludes bool) {
	e := enumerations[i]
	excludes = true
	for _, value := range c.values(i, cell) {
		m, ok := c.seen[i][value]
		if !ok {
			if m, ok = meaningOf(i, value); ok {
				c.seen[i][value] = m
			}
		}
		switch {
		case !ok:
			c.note(e.column, "unknown", "%s is not in the standard: it is kept as it is", quoted(value))
			other := &e.set(p).Other
			if value = c.text(e.column, value, maxName); value != "" && len(*other) < maxItems {
				*other = append(*other, value)
			}
		case m.terms == 0:
			excludes = false
		default:
			enumerations[m.enumeration].set(p).Terms |= m.terms
		}
	}
	return excludes
}

// meaningOf returns the meaning of a value of the enumeration i. Values of version 0.1 have an explanation after a colon.
func meaningOf(i int, value string) (meaning, bool) {
	m, ok := meanings()[i][plain(value)]
	if before, _, found := strings.Cut(value, ":"); !ok && found {
		m, ok = meanings()[i][plain(before)]
	}
	return m, ok
}

// values splits a cell of terms. A comma counts as a separator only if every part is a known term, since some terms contain commas.
func (c *converter) values(i int, cell string) []string {
	values := splitList(cell)
	if len(values) != 1 || !strings.Contains(cell, ",") {
		return values
	}
	if _, ok := meaningOf(i, cell); ok {
		return values
	}
	parts := splitBy(cell, ",")
	for _, part := range parts {
		if _, ok := meaningOf(i, part); !ok {
			return values
		}
	}
	return parts
}

// splitList splits a cell at the standard's separator, or if it has none, at that of version 0.1.
func splitList(cell string) []string {
	if strings.Contains(cell, "|") {
		return splitBy(cell, "|")
	}
	return splitBy(cell, ";")
}

// splitBy splits a cell at any of the separators. The parts are trimmed, and empty ones left out.
func splitBy(cell, separators string) (parts []string) {
	for _, part := range strings.FieldsFunc(cell, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

var email = regexp.MustCompile(`^[\p{L}0-9._%+'-]+@[\p{L}0-9-]+(\.[\p{L}0-9-]+)*\.\p{L}{2,}$`)

// emails reads e-mail addresses.
func (c *converter) emails(cell string) (all []string) {
	for _, s := range splitBy(cell, "|;, \t\r\n") {
		s = strings.TrimPrefix(s, "mailto:")
		if len(s) > maxLine || !email.MatchString(s) {
			c.note(colEmails, "email", "%s is not an e-mail address: it is left out", quoted(s))
			continue
		}
		if !slices.Contains(all, s) && len(all) < maxItems {
			all = append(all, s)
		}
	}
	return all
}

var hostName = regexp.MustCompile(`^([\p{L}0-9_-]+\.)+\p{L}{2,}(:\d+)?$`)

// sites reads addresses of web pages: http and https, nothing else.
func (c *converter) sites(col column, cell string) (all []string) {
	separators := "| \t\r\n"
	if strings.Contains(cell, ";http") || strings.Contains(cell, ",http") || strings.Contains(cell, ";www") {
		separators += ";,"
	}
	for _, s := range splitBy(cell, separators) {
		u, err := url.Parse(s)
		if err == nil && u.Scheme == "" {
			if u, err = url.Parse("https://" + strings.TrimLeft(s, "/")); err == nil && hostName.MatchString(u.Host) {
				c.note(col, "scheme", "%s has no https://: it is added", quoted(s))
			}
		}
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || !hostName.MatchString(u.Host) || len(s) > maxLine*2 {
			c.note(col, "site", "%s is not the address of a web page: it is left out", quoted(s))
			continue
		}
		if s = u.String(); !slices.Contains(all, s) && len(all) < maxItems {
			all = append(all, s)
		}
	}
	return all
}

// dateForms are the other forms in which dates are written: with a time and a zone, by JavaScript, by people.
var dateForms = []string{
	"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05",
	"2006-01-02 15:04:05", "Mon Jan 02 2006 15:04:05 GMT-0700", "02/01/2006",
}

// date reads the date of a place's last change; zero if it is not known.
func (c *converter) date(cell string) time.Time {
	cell = strings.TrimSpace(cell)
	if cell == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.DateOnly, cell)
	if err != nil {
		s, _, _ := strings.Cut(cell, " (") // "(heure d’été d’Europe centrale)"
		for _, form := range dateForms {
			var at time.Time
			if at, err = time.ParseInLocation(form, s, c.zone); err != nil {
				continue
			}
			year, month, day := at.In(c.zone).Date()
			t = time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
			c.note(colUpdated, "form", "%s is read as %s", quoted(cell), t.Format(time.DateOnly))
			break
		}
	}
	switch {
	case err != nil:
		c.note(colUpdated, "date", "%s is not a date: it is left out", quoted(cell))
		return time.Time{}
	case t.After(c.now.AddDate(0, 0, 1)) || t.Year() < 1990:
		c.note(colUpdated, "far", "%s cannot be the date of a change: it is left out", quoted(cell))
		return time.Time{}
	}
	return t
}

// checkHours warns about hours that cannot be relied on.
func (c *converter) checkHours(text string) {
	err, known := c.hours[text]
	if !known {
		_, err = readHours(text)
		c.hours[text] = err
	}
	if err != nil {
		c.note(colHours, err.Error(), "%s: %v", quoted(text), err)
	}
}

// quoted quotes a value for a warning: on one line, shortened, and without control characters for a terminal.
func quoted(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:59]) + "…"
	}
	return strconv.Quote(s)
}
