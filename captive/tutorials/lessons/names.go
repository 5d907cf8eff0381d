package lessons

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// methodBzip2 is the compression method bzip2 of a zip (APPNOTE.TXT, section 4.4.5), for which archive/zip has no decompressor.
const methodBzip2 = 12

var methodNames = map[uint16]string{
	1: "Shrink", 6: "Implode", 9: "Deflate64", 14: "LZMA", 20: "Zstandard", 93: "Zstandard", 95: "XZ", 96: "JPEG", 97: "WavPack",
	98: "PPMd", 99: "AES encryption",
}

func methodName(method uint16) string {
	if name := methodNames[method]; name != "" {
		return name
	}
	return fmt.Sprintf("the method %d", method)
}

// archiveKind returns the kind of a file that is not a zip, for files that people take for one; "" if it is not known.
func archiveKind(f io.ReaderAt) string {
	head := make([]byte, 512)
	n, _ := f.ReadAt(head, 0)
	head = head[:n]
	for _, kind := range []struct {
		name string
		is   func([]byte) bool
	}{
		{"7z archive", begins("7z\xbc\xaf\x27\x1c")}, {"RAR archive", begins("Rar!\x1a\x07")}, {"tar archive", at(257, "ustar")},
		{"gzip archive (.gz, .tgz)", begins("\x1f\x8b")}, {"bzip2 archive (.bz2)", begins("BZh")}, {"XZ archive (.xz)", begins("\xfd7zXZ")},
		{"Zstandard archive (.zst)", begins("\x28\xb5\x2f\xfd")}, {"PDF", begins("%PDF-")},
		{"Word document of an old kind", begins("\xd0\xcf\x11\xe0")},
	} {
		if kind.is(head) {
			return kind.name
		}
	}
	return ""
}

// unicodePath is the ID of the extra field with a name in UTF-8, and the checksum of the name that it replaces (APPNOTE.TXT, section
// 4.6.9).
const unicodePath = 0x7075

// zipNames returns the names of a zip's files in UTF-8, with slashes. Names without a mark that they are UTF-8 are in the code page of
// the program that wrote them: 850 for Windows' Explorer in western Europe, 1252 for others.
func zipNames(files []*zip.File) []string {
	names := make([]string, len(files))
	var odd [][]byte
	for i, f := range files {
		names[i] = f.Name
		if name, ok := unicodeName(f); ok {
			names[i] = name
		} else if !utf8.ValidString(f.Name) {
			odd = append(odd, []byte(f.Name))
		}
	}
	page := codePage(odd)
	for i, name := range names {
		if !utf8.ValidString(name) {
			if decoded, err := page.NewDecoder().String(name); err == nil {
				name = decoded
			}
		}
		names[i] = strings.ReplaceAll(name, `\`, "/") // some Windows programs violate section 4.4.17
	}
	return names
}

// unicodeName returns the name in a file's extra field.
func unicodeName(f *zip.File) (name string, ok bool) {
	for extra := f.Extra; len(extra) >= 4; {
		id, size := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if len(extra) < 4+size {
			return "", false
		}
		field := extra[4 : 4+size]
		if id == unicodePath && size > 5 && field[0] == 1 && binary.LittleEndian.Uint32(field[1:]) == crc32.ChecksumIEEE([]byte(f.Name)) {
			return string(field[5:]), utf8.Valid(field[5:])
		}
		extra = extra[4+size:]
	}
	return "", false
}

// codePage returns the code page in which the names have more letters of French and neighbouring languages.
func codePage(names [][]byte) encoding.Encoding {
	const letters = "éèêëàâäçîïôöûùüñáíóúÉÈÊÀÂÇÎÔœŒ°«»’"
	count := func(page *charmap.Charmap) (n int) {
		for _, name := range names {
			for _, b := range name {
				if b >= 0x80 && strings.ContainsRune(letters, page.DecodeByte(b)) {
					n++
				}
			}
		}
		return n
	}
	if count(charmap.CodePage850) >= count(charmap.Windows1252) {
		return charmap.CodePage850
	}
	return charmap.Windows1252
}

// maxDecoded bounds a text that is converted to UTF-8. A longer one stays as it is.
const maxDecoded = 8 << 20

// isTextFile says whether files of an extension are texts, which the box serves as UTF-8.
func isTextFile(ending string) bool {
	media := fileTypes[ending].media
	return strings.Contains(media, "charset=utf-8") || ending == ".json" || ending == ".toml" || ending == ".svg"
}

// toUTF8 converts a text to UTF-8: from UTF-16 if it has that byte order mark, a page from the encoding that it declares, anything else
// from Windows-1252, which extends Latin-1. A text that is valid UTF-8, or that cannot be converted, is returned unchanged.
func toUTF8(text []byte, ending string) []byte {
	var from encoding.Encoding = charmap.Windows1252
	switch {
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		from = unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM)
	case utf8.Valid(text):
		return text
	case ending == ".html", ending == ".htm":
		if said, name, _ := charset.DetermineEncoding(text[:min(len(text), 1024)], ""); name != "utf-8" && name != "replacement" {
			from = said
		}
	}
	decoded, err := from.NewDecoder().Bytes(text)
	if err != nil || !utf8.Valid(decoded) {
		return text
	}
	return decoded
}
