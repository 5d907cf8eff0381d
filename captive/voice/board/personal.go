package board

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// What a text must not contain, in the order of the page.
const (
	Phone = "phone"
	Mail  = "mail"
	Link  = "link"
	Name  = "name"
)

// Finding is a part of a text that says who its author is, or how to reach them.
type Finding struct {
	What string // Phone, Mail, Link or Name
	Part string // as written in the text
}

// Personal returns what a text says about its author: telephone numbers, mail addresses, links, and what reads like a signature, at most
// one of each. The board shows none of these, since everybody reads it. Personal has false positives and false negatives: it knows the
// usual forms, including those that hide from programs ("zéro six …", "(at)"), but no names. So staff read each text before it is
// shown.
func Personal(text string) (found []Finding) {
	f := fold(text)
	for _, look := range []struct {
		what string
		find func() (part string, ok bool)
	}{
		{Phone, f.phone},
		{Mail, func() (string, bool) { return f.first(mails) }},
		{Link, func() (string, bool) { return f.first(links) }},
		{Name, func() (string, bool) { return signature(text) }},
	} {
		if part, ok := look.find(); ok {
			found = append(found, Finding{look.what, strings.TrimSpace(part)})
		}
	}
	return found
}

// folded is a text reduced to a form that can be compared: lower-case letters without accents, ASCII digits and marks.
type folded struct {
	text     string
	original string
	at       []int // for each byte of text, the offset of its rune in the original; the last element is the original's length
}

// fold reduces a text. Digits of all scripts, also circled, full-width or emoji digits, become ASCII.
func fold(original string) folded {
	f := folded{original: original}
	var b strings.Builder
	for i, r := range original {
		for _, d := range norm.NFKD.String(string(r)) {
			if unicode.In(d, unicode.Mn, unicode.Me, unicode.Cf) { // accents, keycaps, invisible characters
				continue
			}
			before := b.Len()
			b.WriteRune(foldRune(d))
			for range b.Len() - before {
				f.at = append(f.at, i)
			}
		}
	}
	f.text, f.at = b.String(), append(f.at, len(original))
	return f
}

func foldRune(r rune) rune {
	switch {
	case r == '\n':
		return r
	case r < utf8.RuneSelf:
		return unicode.ToLower(r)
	case r == '’', r == '‘', r == 'ʼ':
		return '\''
	case r == '。', r == '·', r == '•':
		return '.'
	case unicode.Is(unicode.Pd, r):
		return '-'
	case unicode.IsSpace(r):
		return ' '
	case r >= '❶' && r <= '❾':
		return '1' + r - '❶'
	case r >= '➀' && r <= '➈':
		return '1' + r - '➀'
	case unicode.Is(unicode.Nd, r):
		return '0' + digit(r)
	}
	return unicode.ToLower(r)
}

// digit returns the value of a decimal digit. Unicode assigns the ten digits of a script in one ascending range, from zero.
func digit(r rune) rune {
	for _, in := range unicode.Nd.R16 {
		if r >= rune(in.Lo) && r <= rune(in.Hi) {
			return (r - rune(in.Lo)) % 10
		}
	}
	for _, in := range unicode.Nd.R32 {
		if r >= rune(in.Lo) && r <= rune(in.Hi) {
			return (r - rune(in.Lo)) % 10
		}
	}
	return 0
}

// part returns the original of a part of the folded text.
func (f folded) part(start, end int) string {
	from := f.at[start]
	to := f.at[end]
	if to == from { // the end is within the letters that one rune was folded to
		_, size := utf8.DecodeRuneInString(f.original[from:])
		to += size
	}
	return f.original[from:to]
}

// first returns the match of the first pattern that matches.
func (f folded) first(patterns []*regexp.Regexp) (part string, ok bool) {
	for _, p := range patterns {
		if m := p.FindStringIndex(f.text); m != nil {
			return f.part(m[0], m[1]), true
		}
	}
	return "", false
}

const dot = `\s*(?:\.|,|\bpoint\b|\bdot\b|\bpunto\b|\bponto\b|\bкрапка\b)\s*`

// Patterns of addresses, in a folded text.
var (
	mails = compile(
		`[\w.+-]+@[\w-]+(?:\.[\w-]+)*`,
		`(?:^|[\s:(])@ ?[a-z_][\w.]{2,}`, // a name in a social network
		`[\w.+-]+\s+@\s+[\w-]+`+dot+`[a-z]{2,}`,
		`[\w.+-]+\s*[(\[{<]\s*(?:@|at|arobase?|arroba)\s*[)\]}>]\s*[\w-]+(?:`+dot+`[a-z]{2,4}\b)?`,
		`[\w.+-]+\s+(?:arobase?|arroba|at)\s+[\w-]+`+dot+`[a-z]{2,}`,
		`[\w.+-]+\s+(?:arobase?|arroba)\s+(?:`+providers+`)\b`,
		`(?:`+providers+`)(?:`+dot+`|\s+)(?:com|fr|net|es|pt)\b`,
		`\bproton(?:mail)?`+dot+`(?:me|com|ch)\b`,
	)
	links = compile(
		`\bhttps?\s*:\S*`,
		`\bwww\b\S*`,
		`\b(?:wa|t|m)\.me\b\S*`,
		`\b[a-z\d-]{2,}\s?\.\s?(?:fr|com|net|org)\b\S*`,
		`\b[a-z\d-]{2,}\.(?:eu|info|io|app|ly|gl|tv|gouv|ua|uk|be|paris|bzh)\b\S*`,
		`\b[a-z\d-]+\.[a-z]{2,}/\w\S*`,
		`\b[a-z\d-]+\s+(?:point|dot|punto|ponto)\s+(?:fr|com|net|org|eu)\b`,
		`\b[\w-]+\s*[(\[]\s*(?:\.|dot|point)\s*[)\]]\s*[a-z]{2,}\b`,
	)
)

const providers = `\bgmail|\bhotmail|\boutlook|\byahoo|\bwanadoo|\blaposte|\borange|\bfree|\bsfr|\bicloud|\blive|\bmsn|\bbbox|\bgmx|\bukr`

func compile(patterns ...string) (all []*regexp.Regexp) {
	for _, p := range patterns {
		all = append(all, regexp.MustCompile(p))
	}
	return all
}

// Patterns of the parts of a signature, in the original text: names begin with a capital, or are in a script without capitals.
const (
	nameWord = `(?:\p{Lu}|\p{Lo})[\p{L}\p{M}'’-]*`
	fullName = nameWord + `\.?(?:[ \x{a0}]+(?:(?:de|du|la|le|el|ben|da|dos|van)[ \x{a0}]+)?` + nameWord + `\.?){0,2}`
	anyName  = `[\p{L}\p{M}'’-]+(?:[ \x{a0}]+[\p{L}\p{M}'’-]+){0,2}`
	atEnd    = `[^\p{L}\d]*$`
	before   = `(?:^|[^\p{L}\d])`

	closing = `(?i:cordialement|amicalement|sinc[èe]rement|respectueusement|bien [àa] vous|bises|bisous|salutations` +
		`|regards|best wishes|cheers|yours|yours truly|un saludo|saludos|atentamente|cumprimentos|atenciosamente|abraços?` +
		`|з повагою|مع تحياتي|تحياتي|مع الشكر)`
	thanks = `(?i:merci|merci d['’]avance|merci beaucoup|bonne journée|bonne soirée|[àa] bientôt|thanks|thank you|gracias` +
		`|obrigad[oa]|дякую|شكرا)`
)

// signatures are the patterns of signatures. Their group is the name.
var signatures = compile(
	before+closing+`[\s,،.;:!–—-]+(`+anyName+`)`+atEnd,
	before+thanks+`\s*[,،.;:!–—\n-]\s*(`+fullName+`)`+atEnd,
	`(?:^|[\n.!?…,،;]\s*)[-–—]\s*(`+fullName+`)`+atEnd,
	`—\s*(`+fullName+`)`+atEnd,
	`[.!?…,،]\s*\n\s*(`+fullName+`)`+atEnd,
	before+`(?i:je\s+m\s?['’]?\s?appel+e)\s+(\p{L}+)`,
	before+`(?i:(?:mon|my|mi|meu)\s+(?:pr[ée]nom|nom|name|nombre|nome)\s+(?:est|is|es|é|c['’]est)|me llamo|me chamo|chamo-me)\s+(\p{L}+)`,
	before+`(?i:мене звати|моє ім['’ʼ]я|мене звуть)\s+(\p{L}+)`,
	before+`(?:أنا )?اسمي\s+(\p{L}+)`,
	before+`(?i:moi,? c['’]est)\s+(`+fullName+`)`,
	before+`(?i:je suis)\s+(`+nameWord+`)`,
	before+`(?i:soy|sou [ao])\s+(`+nameWord+`)`,
	before+`(?:M\.|Mr\.?|Mme\.?|Mlle\.?|MR|MME|Monsieur|Madame|Mademoiselle|Dr\.?|Mrs\.?|Ms\.?|Sra?\.)\s*(`+nameWord+`)`,
	before+`(?:mr|mme|mlle)\.?\s+(\p{L}{3,})`,
	before+`(?i:pr[ée]nom|nom|name|nombre|nome)\s*:\s*(\p{L}+)`,
	before+`(?i:de la part de|signée?)\s*[:,]?\s*(`+nameWord+`)`,
)

// noNames are words that occur where a name would, but are not names.
var noNames = words(`merci beaucoup bonne bon bonjour bonsoir à a au aux tous toutes tout vous et ou pour de d’avance avec en sur
	urgent gratuit gratuitement disponible lundi mardi mercredi jeudi vendredi samedi dimanche janvier février mars avril mai juin
	juillet août septembre octobre novembre décembre semaine week-end matin soir après-midi svp stp les le la un une voisins
	l’équipe monsieur madame mesdames messieurs mademoiselle bricolage qui que à-bientôt thanks please good retraité retraitée
	disponibles étudiant étudiante libre thank you gracias obrigado obrigada дякую شكرا`)

func words(list string) map[string]bool {
	all := make(map[string]bool)
	for _, w := range strings.Fields(list) {
		all[w] = true
	}
	return all
}

// people matches the endings of words for the people of a country or a town, which some write with a capital: "je suis Français".
var people = regexp.MustCompile(`(?:ais|aise|ois|oise|ien|ienne|ain|aine|éen|éenne|ol|ole)$`)

// signature returns a part of the text that reads like a signature, or an introduction.
func signature(text string) (part string, ok bool) {
	for _, p := range signatures {
		m := p.FindStringSubmatchIndex(text)
		if m == nil {
			continue
		}
		whole, name := text[m[0]:m[1]], strings.ToLower(strings.ReplaceAll(text[m[2]:m[3]], "'", "’"))
		if !isName(name) || strings.Contains(strings.ToLower(whole), "je suis") && people.MatchString(name) {
			continue
		}
		return strings.TrimLeft(whole, " \n.!?…,،;"), true
	}
	return "", false
}

// isName says whether words, in lower case, may be a name: none of them is in noNames, except particles such as "le" after the first
// word.
func isName(lower string) bool {
	for i, w := range strings.Fields(lower) {
		if i > 0 && len(w) <= 2 {
			continue
		}
		if noNames[strings.Trim(w, ".")] {
			return false
		}
	}
	return true
}
