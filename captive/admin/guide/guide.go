// Package guide has content for the desk's printable guide. It draws the light of each State and describes the button, from the
// same patterns and times that package hw uses, so that guide and hardware cannot differ. It also has what the law requires of
// those who offer Wi-Fi, with the day when each text was looked up. The words for the drawings are in its own words folder. The
// package must not know about the page or the box.
package guide

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/BurntSushi/toml"

	"passerelle/captive/web"
)

//go:embed words/*.toml law.toml
var files embed.FS

// Share returns the guide's words, for the catalogs of staff's and of technicians' pages.
func Share() web.Share { return web.Share{Name: "guide", Files: files} }

// LawLanguages are the languages of the part about the law. It is about French law, so French comes first.
var LawLanguages = []string{"fr", "en"}

// Law is the part about the law, in one language.
type Law struct {
	Title string
	Note  []string // what this is, and what it is not
	Parts []LawPart
}

// LawPart holds the texts about one question.
type LawPart struct {
	Title string
	Texts []LawText
}

// LawText summarizes a legal text in our own words.
type LawText struct {
	Name    string   // the text's name, with its number and date; "" for a paragraph that is not about a text
	Lines   []string // what it says
	Checked string   // a sentence with the day when it was looked up
	Sources string   // the word for "sources"
	From    []Source
}

// Source is a web page on which the text was looked up.
type Source struct{ URL, Site string }

// LawIn returns the part about the law in a language, or in French if it does not exist in that language.
func LawIn(language string) Law {
	if language == "en" {
		return inEnglish()
	}
	return inFrench()
}

var (
	inFrench  = sync.OnceValue(func() Law { return mustRead("fr") })
	inEnglish = sync.OnceValue(func() Law { return mustRead("en") })
)

// words is a text in both languages.
type words struct{ FR, EN string }

// in returns the text in a language.
func (t words) in(language string) string {
	if language == "en" {
		return t.EN
	}
	return t.FR
}

// lines returns the paragraphs of a text.
func (t words) lines(language string) []string {
	return strings.Split(strings.TrimSpace(t.in(language)), "\n")
}

// lawFile is the structure of law.toml.
type lawFile struct {
	FR, EN struct{ Title, Note, Checked, Sources, Day string }
	Part   []struct {
		words
		Text []struct {
			words
			Name    words
			Checked time.Time
			Sources []string
		}
	}
}

// readFile reads law.toml. An unknown key is an error.
func readFile() (f lawFile, err error) {
	text, err := fs.ReadFile(files, "law.toml")
	if err != nil {
		return f, err
	}
	meta, err := toml.Decode(string(text), &f)
	if unknown := meta.Undecoded(); err == nil && len(unknown) > 0 {
		err = fmt.Errorf("law.toml: unknown key %s", unknown[0])
	}
	return f, err
}

// mustRead returns the part about the law in a language. It panics on an error, since the file is embedded in the program.
func mustRead(language string) Law {
	f, err := readFile()
	if err != nil {
		panic(err)
	}
	frame, typeset := f.FR, web.Language(language).Typeset
	if language == "en" {
		frame = f.EN
	}
	law := Law{Title: typeset(frame.Title), Note: strings.Split(typeset(strings.TrimSpace(frame.Note)), "\n")}
	for _, p := range f.Part {
		part := LawPart{Title: typeset(p.in(language))}
		for _, t := range p.Text {
			text := LawText{Name: typeset(t.Name.in(language)), Sources: typeset(frame.Sources)}
			for _, line := range t.lines(language) {
				text.Lines = append(text.Lines, typeset(line))
			}
			if !t.Checked.IsZero() {
				text.Checked = typeset(strings.ReplaceAll(frame.Checked, "{day}", t.Checked.Format(frame.Day)))
			}
			for _, address := range t.Sources {
				text.From = append(text.From, Source{URL: address, Site: siteOf(address)})
			}
			part.Texts = append(part.Texts, text)
		}
		law.Parts = append(law.Parts, part)
	}
	return law
}

// siteOf returns the host of a URL, without "www.".
func siteOf(address string) string {
	_, rest, _ := strings.Cut(address, "://")
	host, _, _ := strings.Cut(rest, "/")
	return strings.TrimPrefix(host, "www.")
}
