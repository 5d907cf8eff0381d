package intake

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"passerelle/appliance/config"
)

// Byte order marks, which editors on Windows write (Unicode 17.0, 23.8).
var (
	utf8Mark        = []byte("\xef\xbb\xbf")
	utf16LittleMark = []byte("\xff\xfe")
	utf16BigMark    = []byte("\xfe\xff")
)

// decode returns a file's text in the encoding of TOML: UTF-8 without a byte order mark, with lines that end in LF. If the file has
// another encoding, wrong says what is wrong, and text is the best guess. If the file is not text, text is nil.
func decode(raw []byte) (text []byte, wrong string) {
	if len(raw) > config.MaxFile {
		return nil, fmt.Sprintf("%s: the file has more than %d bytes: it is no configuration", FileName, config.MaxFile)
	}
	text = raw
	switch {
	case bytes.HasPrefix(raw, utf8Mark):
		text = raw[len(utf8Mark):]
	case bytes.HasPrefix(raw, utf16LittleMark):
		text = fromUTF16(raw[2:], binary.LittleEndian)
	case bytes.HasPrefix(raw, utf16BigMark):
		text = fromUTF16(raw[2:], binary.BigEndian)
	}
	if at := bytes.IndexByte(text, 0); at >= 0 {
		return nil, fmt.Sprintf("%s:%d: the file is no text: save it as plain text, in UTF-8", FileName, lineOf(text, at))
	}
	if at := invalid(text); at >= 0 {
		wrong = fmt.Sprintf("%s:%d: an accented letter is written in Latin-1 (ANSI): save the file as UTF-8", FileName, lineOf(text, at))
		// Every byte is a character in Windows-1252.
		text, _ = charmap.Windows1252.NewDecoder().Bytes(text)
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(text, []byte("\r"), []byte("\n")), wrong
}

func fromUTF16(raw []byte, order binary.ByteOrder) []byte {
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = order.Uint16(raw[2*i:])
	}
	return []byte(string(utf16.Decode(units)))
}

// invalid returns the offset of the first byte that is not UTF-8, -1 if there is none.
func invalid(text []byte) int {
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}

func lineOf(text []byte, at int) int { return 1 + bytes.Count(text[:at], []byte("\n")) }
