// Package guide is what the desk's printable guide says and draws: the light of each State and the button, from the patterns and
// times that package hw plays, so that guide and light cannot differ; and what the law asks of who offers Wi-Fi, with the day
// when each text was looked up. The words for the drawings are in its own words folder. It must not know the page, nor the box.
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

// Share has the guide's words, for the catalogs of the desk's and of technicians' pages.
func Share() web.Share { return web.Share{Name: "guide", Files: files} }

// LawLanguages are the languages that the law's part is written in. It is about France, so French is the first.
var LawLanguages = []string{"fr", "en"}

// Law is what the law asks, in one language.
type Law struct {
	Title string
	Note  []string // what this is, and what it is not
	Parts []LawPart
}

// LawPart is the texts about one question.
type LawPart struct {
	Title string
	Texts []LawText
}

// LawText is a text, in our own words.
type LawText struct {
	Name    string   // with its number and date; "" for what is not about a text
	Lines   []string // what it says
	Checked string   // the day when it was looked up, as a sentence
	Sources string   // the word for them
	From    []Source
}

// Source is a page that was read.
type Source struct{ URL, Site string }

// LawIn returns the law's part in a language, or in French.
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

// lines are the paragraphs of a text.
func (t words) lines(language string) []string {
	return strings.Split(strings.TrimSpace(t.in(language)), "\n")
}

// lawFile is law.toml.
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

// readFile reads law.toml. The error names what the program does not know.
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

// mustRead returns the law's part in a language. The file is a part of the program.
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

// siteOf returns the host of an address, as people name it.
func siteOf(address string) string {
	_, rest, _ := strings.Cut(address, "://")
	host, _, _ := strings.Cut(rest, "/")
	return strings.TrimPrefix(host, "www.")
}
