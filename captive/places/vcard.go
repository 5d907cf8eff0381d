package places

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"passerelle/captive/places/directory"
)

// vCard returns a place as a vCard, for a phone's contacts. It uses version 3.0 (RFC 2426), which old phones read, too.
func vCard(p directory.Place) string {
	var c card
	c.line("BEGIN:VCARD")
	c.line("VERSION:3.0")
	c.line("N:" + escape(p.Name) + ";;;;")
	c.line("FN:" + escape(p.Name))
	c.line("ORG:" + escape(p.Name))
	for _, phone := range p.Phones {
		c.line("TEL;TYPE=WORK,VOICE:" + escape(phone.Dial))
	}
	for _, address := range p.Emails {
		c.line("EMAIL;TYPE=INTERNET:" + escape(address))
	}
	c.line("ADR;TYPE=WORK:;" + escape(p.Complement) + ";" + escape(p.Address) + ";" + escape(p.Town) + ";;" + escape(p.Postcode) + ";France")
	if p.Located {
		c.line("GEO:" + degrees(p.At.Lat) + ";" + degrees(p.At.Lon))
	}
	for _, address := range p.Sites {
		if l, ok := webLink(address); ok {
			c.line("URL:" + string(l.Href))
		}
	}
	if p.Hours != "" {
		c.line("NOTE:" + escape(p.Hours))
	}
	if !p.Updated.IsZero() {
		c.line("REV:" + p.Updated.UTC().Format("2006-01-02T15:04:05Z"))
	}
	c.line("UID:" + p.ID)
	c.line("END:VCARD")
	return c.text.String()
}

// card is a vCard's text, made of content lines.
type card struct{ text strings.Builder }

// maxOctets is the greatest length of a line in bytes (RFC 2425, section 5.8.1), without its end.
const maxOctets = 75

// line writes a content line. A long one is folded between characters, not within one.
func (c *card) line(s string) {
	s = strings.ToValidUTF8(s, "")
	for room := maxOctets; len(s) > room; room = maxOctets - 1 { // the space at the beginning counts
		at := room
		for at > 0 && !utf8.RuneStart(s[at]) {
			at--
		}
		c.text.WriteString(s[:at] + "\r\n ")
		s = s[at:]
	}
	c.text.WriteString(s + "\r\n")
}

// escape returns a text as a value (RFC 2426, section 4): line ends, separators and backslashes in it are escaped. Other control
// characters are left out.
func escape(s string) string {
	var b strings.Builder
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		switch {
		case r == '\\' || r == ',' || r == ';':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r >= ' ' && r != 0x7f:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// degrees formats a coordinate with six decimals.
func degrees(d float64) string { return strconv.FormatFloat(d, 'f', 6, 64) }
