package places

import (
	"html/template"
	"strings"

	"passerelle/captive/search"
	"passerelle/captive/web"
)

// The weights of a number's words, and the greatest number of numbers shown.
const (
	inKeyword, inTitle, inText, inKeywordApart = 12, 8, 3, 2

	maxNumbers = 3
)

// numberIndex is a search index of the national numbers' words in all languages, since people do not only write in the language of
// the page.
type numberIndex struct {
	numbers []Number
	words   *search.Index
}

func newNumberIndex(numbers []Number) *numberIndex {
	var b search.Builder
	for _, n := range numbers {
		b.Document()
		b.AddPhrase(n.Number, inKeyword, inKeywordApart)
		for _, words := range n.Keywords {
			for _, keyword := range words {
				b.AddPhrase(keyword, inKeyword, inKeywordApart)
			}
		}
		for _, title := range n.Title {
			b.Add(title, search.Whole, inTitle)
		}
		for _, text := range n.Text {
			b.Add(text, search.Whole, inText)
		}
	}
	return &numberIndex{numbers, b.Index()}
}

// search finds numbers.
func (x *numberIndex) search(w *web.Words, query string, most int) web.Found {
	found := web.Found{Title: w.T("number.title"), Pictogram: "phone"}
	results, _ := search.Search(query, nil, x.words) // in memory: no error
	for i, hit := range results.Best(min(most, maxNumbers)) {
		if i == 0 {
			found.Sure = hit.Sure
		}
		n := x.numbers[hit.Doc]
		title, lang := n.Title.in(w)
		text, _ := n.Text.in(w)
		found.Tiles = append(found.Tiles, web.Tile{
			Href: "/places/numbers", At: n.anchor(), Title: n.Number + "\u00a0: " + title, Text: text, Lang: lang,
			Picture: template.HTML(`<span class="pictogram">` + string(web.Pictogram("phone")) + `</span>`),
		})
	}
	return found
}

// anchor returns the number's fragment on the page of numbers.
func (n Number) anchor() string { return "n" + strings.ReplaceAll(n.Number, " ", "") }
