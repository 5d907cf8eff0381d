package directory

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// Bounds on a file.
const (
	MaxFile   = 200_000_000 // bytes of a CSV file
	maxRecord = 64 << 10    // bytes of a record
	maxWaste  = 50_000_000  // bytes that are read again in search of the end of records with an unmatched quotation mark
)

// Errors of a csvReader.
var (
	errTooBig  = errors.New("the file has more than 200 MB")
	errNotText = errors.New("it is not a text file")
	errSheet   = errors.New("it is a spreadsheet or an archive: open it, and save the table as CSV (UTF-8)")
	errCut     = errors.New("the file is cut off in its last line: copy or download it again")
)

// csvReader reads records as the standard's exporters write them. The official one puts cells in quotation marks and escapes nothing,
// so encoding/csv refuses its files, even with LazyQuotes. Other programs escape as in RFC 4180.
//
// There are two ways to split a line: strictly by RFC 4180, or leniently, where a quotation mark ends a cell only before a separator or
// the end of the line. A line is a whole record if it splits into as many cells as the header has. If it is not whole, the following
// lines are joined to it: strictly by RFC 4180, or else leniently as long as none of them is whole by itself. If that does not help,
// the line is left out, and reading continues with the next.
type csvReader struct {
	lines   lineReader
	comma   byte
	columns int    // cells that a record has
	ahead   []line // lines that were read, but not used yet
	wasted  int    // bytes that were joined in vain
}

// record is a record, or the reason why a line is not one.
type record struct {
	line    int // from 1
	cells   []string
	problem string   // why the line is left out; "" if the record is whole
	repairs []string // warnings about what was repaired
}

// next returns the next record. The error is io.EOF at the end of the file.
func (r *csvReader) next() (record, error) {
	for {
		l, err := r.line(0)
		if err != nil {
			return record{}, err
		}
		if !l.long && (l.text == "" || r.columns > 1 && strings.TrimSpace(l.text) == "") {
			r.ahead = r.ahead[1:]
			continue
		}
		rec, used, err := r.record(l)
		if err != nil {
			return record{}, err
		}
		r.ahead = r.ahead[used:]
		return rec, nil
	}
}

// record reads the record that begins with a line, and returns how many lines it used.
func (r *csvReader) record(l line) (rec record, used int, err error) {
	rec.line = l.number
	if l.long {
		rec.problem = "it has more than 64 kB: the line is left out"
		return rec, 1, nil
	}
	if l.latin {
		rec.repairs = append(rec.repairs, "it is not UTF-8: it is read as Windows-1252")
	}
	rec.cells, used, err = r.strict(l)
	if err != nil || rec.cells != nil {
		return rec, used, err
	}
	rec.cells, used, err = r.lenient(l)
	if err != nil || rec.cells != nil {
		rec.repairs = append(rec.repairs, "quotation marks in cells are not escaped: those before a separator end a cell")
		return rec, used, err
	}
	if !l.ended {
		return rec, 1, errCut
	}
	cells, _ := splitLine(l.text, r.comma)
	rec.problem = fmt.Sprintf("it has %d cells, the header has %d: the line is left out", len(cells), r.columns)
	return rec, 1, nil
}

// strict reads a record by RFC 4180. cells is nil if the lines are not such a record.
func (r *csvReader) strict(l line) (cells []string, used int, err error) {
	var cell []byte
	inside := false // within a cell in quotation marks
	size := 0
	defer func() {
		if cells == nil {
			r.wasted += size
		}
	}()
	for used = 1; ; used++ {
		text := l.text
		size += len(text)
		for first := true; first || text != ""; first = false {
			if !inside {
				if !strings.HasPrefix(text, `"`) {
					var found bool
					var plain string
					plain, text, found = strings.Cut(text, string(r.comma))
					cells = append(cells, plain)
					if !found {
						break
					}
					if text == "" { // the last cell is empty
						cells = append(cells, "")
						break
					}
					continue
				}
				inside, text, cell = true, text[1:], cell[:0]
			}
			i := strings.IndexByte(text, '"')
			if i < 0 {
				cell = append(append(cell, text...), '\n')
				break
			}
			cell, text = append(cell, text[:i]...), text[i+1:]
			switch {
			case strings.HasPrefix(text, `"`):
				cell, text = append(cell, '"'), text[1:]
				if text == "" { // the line ends in the cell
					cell = append(cell, '\n')
				}
				continue
			case text == "":
				cells, inside = append(cells, string(cell)), false
			case text[0] == r.comma:
				cells, inside = append(cells, string(cell)), false
				if text = text[1:]; text == "" {
					cells = append(cells, "")
				}
			default:
				return nil, 0, nil // a quotation mark that is not escaped
			}
		}
		if !inside {
			return r.fit(cells), used, nil
		}
		if len(cells) >= r.columns || size > maxRecord || r.wasted > maxWaste {
			return nil, 0, nil
		}
		if l, err = r.line(used); errors.Is(err, io.EOF) || err == nil && l.long {
			return nil, 0, nil
		}
		if err != nil {
			return nil, 0, err
		}
	}
}

// lenient reads a record with quotation marks that are not escaped. cells is nil if the lines are not such a record.
func (r *csvReader) lenient(l line) (cells []string, used int, err error) {
	text := l.text
	for used = 1; ; used++ {
		var open bool
		cells, open = splitLine(text, r.comma)
		if fit := r.fit(cells); fit != nil && !open {
			return fit, used, nil
		}
		if !open || len(cells) > r.columns || len(text) > maxRecord || r.wasted > maxWaste {
			return nil, 0, nil
		}
		next, err := r.line(used)
		if errors.Is(err, io.EOF) || err == nil && (next.long || r.whole(next.text)) {
			return nil, 0, nil
		}
		if err != nil {
			return nil, 0, err
		}
		r.wasted += len(text)
		text += "\n" + next.text
	}
}

// whole reports whether a line is a record by itself. A first cell that only ends with a quotation mark is the end of a cell that began
// on an earlier line.
func (r *csvReader) whole(text string) bool {
	cells, open := splitLine(text, r.comma)
	if open || r.fit(cells) == nil {
		return false
	}
	end, _, _ := strings.Cut(text, string(r.comma))
	return strings.HasPrefix(end, `"`) || !strings.HasSuffix(end, `"`)
}

// fit returns the cells if they are as many as the header's, without superfluous empty ones at the end; else nil.
func (r *csvReader) fit(cells []string) []string {
	for len(cells) > r.columns && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1]
	}
	if len(cells) != r.columns {
		return nil
	}
	return cells
}

// splitLine splits a text into cells leniently. A cell that begins with a quotation mark ends with the next one before a separator or
// the end of the text. open reports that the last cell has no such end.
func splitLine(text string, comma byte) (cells []string, open bool) {
	for {
		if !strings.HasPrefix(text, `"`) {
			plain, rest, found := strings.Cut(text, string(comma))
			cells = append(cells, plain)
			if !found {
				return cells, false
			}
			text = rest
			continue
		}
		end := 1
		for {
			i := strings.IndexByte(text[end:], '"')
			if i < 0 {
				return append(cells, text[1:]), true
			}
			end += i + 1
			if end == len(text) {
				return append(cells, text[1:end-1]), false
			}
			if text[end] == comma {
				break
			}
		}
		cells = append(cells, text[1:end-1])
		text = text[end+1:]
	}
}

// line returns line i ahead of the current position, counted from 0.
func (r *csvReader) line(i int) (line, error) {
	for len(r.ahead) <= i {
		l, err := r.lines.next()
		if err != nil {
			return line{}, err
		}
		r.ahead = append(r.ahead, l)
	}
	return r.ahead[i], nil
}

// line is a line of a file, as UTF-8, without its end.
type line struct {
	number int // from 1
	text   string
	latin  bool // it was not UTF-8
	long   bool // it is longer than a record may be; text is empty
	ended  bool // it has a line end
}

// lineReader reads lines that end with \n or \r\n, or with \r if the first line does. Any other \r belongs to the text: the official
// exporter leaves some in cells.
type lineReader struct {
	in     *bufio.Reader
	end    byte // of a line: '\n' or '\r'
	number int
	buffer []byte
}

// newLineReader returns a reader of a file's lines. UTF-16 is recognised by its byte order mark.
func newLineReader(in io.Reader) (*lineReader, error) {
	b := bufio.NewReaderSize(in, maxRecord)
	head, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		b.Discard(3)
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		b = bufio.NewReaderSize(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Reader(b), maxRecord)
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("\xd0\xcf\x11\xe0")):
		return nil, errSheet
	}
	r := &lineReader{in: b, end: '\n'}
	head, err = b.Peek(maxRecord)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if i := bytes.IndexAny(head, "\r\n"); i >= 0 && head[i] == '\r' && !bytes.HasPrefix(head[i:], []byte("\r\n")) {
		r.end = '\r'
	}
	return r, nil
}

// next returns the next line. The error is io.EOF at the end of the file.
func (r *lineReader) next() (line, error) {
	r.number++
	l := line{number: r.number}
	r.buffer = r.buffer[:0]
	for !l.ended {
		part, err := r.in.ReadSlice(r.end)
		if err == nil {
			part, l.ended = part[:len(part)-1], true
		}
		if l.long = l.long || len(r.buffer)+len(part) > maxRecord; !l.long {
			r.buffer = append(r.buffer, part...)
		}
		if errors.Is(err, io.EOF) && (len(r.buffer) > 0 || l.long) {
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return line{}, err
		}
	}
	if l.long {
		return l, nil
	}
	text := r.buffer
	if r.end == '\n' {
		text = bytes.TrimSuffix(text, []byte("\r"))
	}
	if !utf8.Valid(text) {
		l.latin = true
		text, _ = charmap.Windows1252.NewDecoder().Bytes(text) // no error: the decoder has a rune for every byte
	}
	l.text = string(text)
	return l, nil
}

// separators are the characters that may separate cells.
var separators = []byte{',', ';', '\t'}

// header reads the first line that is not empty, and chooses the separator that gives the most known columns.
func (r *csvReader) header() ([]string, error) {
	for {
		l, err := r.line(0)
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		if err != nil {
			return nil, err
		}
		if strings.IndexByte(l.text, 0) >= 0 || l.long {
			return nil, errNotText
		}
		r.ahead = r.ahead[1:]
		if strings.TrimSpace(l.text) == "" {
			continue
		}
		var best []string
		most := -1
		for _, comma := range separators {
			cells, _ := splitLine(l.text, comma)
			known := 0
			for _, name := range cells {
				if _, ok := columnOf(name); ok {
					known++
				}
			}
			if known > most {
				best, most, r.comma = cells, known, comma
			}
		}
		for len(best) > 1 && strings.TrimSpace(best[len(best)-1]) == "" { // a separator at the end
			best = best[:len(best)-1]
		}
		r.columns = len(best)
		return slices.Clip(best), nil
	}
}
