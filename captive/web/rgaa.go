package web

import (
	"strconv"
	"strings"
)

// rgaa says how far the residents' pages meet the criteria of RGAA 4.1, the French method to check accessibility
// (https://accessibilite.numerique.gouv.fr/methode/criteres-et-tests/): a text for each of its 13 topics, with a sign for each
// criterion of the topic.
//
//	m  met: a test checks it at each change, on the pages of the box (TestAccessibilityNumbers names it)
//	x  not met
//	-  does not apply: the box's own pages have no scripts, films, games or documents to download
//	?  needs a person's judgement, and nobody from outside has judged it
//
// Criteria 12.1 and 12.5 are not met: no page has a menu, there is no site map, and the search is on one page only.
var rgaa = [13]string{
	"mm?--?-?-",      // images
	"m?",             // frames
	"?mm",            // colours
	"-------------",  // films and sound: only packs have some
	"-----??-",       // tables: the results of opinions
	"?m",             // links
	"----?",          // scripts
	"m?mmm?????",     // what every page must have
	"?m??",           // structure
	"?????mm???m?--", // presentation
	"m????????????",  // forms
	"x?--xmmmm--",    // navigation
	"mm----mm?---",   // reading
}

// Numbers returns the number of criteria of RGAA 4.1, of all and of each sign, as text.
func (Accessibility) Numbers() (n struct{ All, Met, Unmet, None, Open string }) {
	all := strings.Join(rgaa[:], "")
	count := func(sign string) string { return strconv.Itoa(strings.Count(all, sign)) }
	n.All, n.Met, n.Unmet, n.None, n.Open = strconv.Itoa(len(all)), count("m"), count("x"), count("-"), count("?")
	return n
}
