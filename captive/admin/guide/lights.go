package guide

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"passerelle/captive/web"
	"passerelle/hw"
)

// Drawn is the length of each drawing. It is enough to show the longest pattern at full length.
const Drawn = 7 * time.Second

// Sizes of the drawings. One unit across is 10 ms.
const (
	unit       = 10 * time.Millisecond
	lampHeight = 30
)

// Lamp draws the first seconds of a pattern as SVG. Time runs from left to right, and bars show when the light is on. The drawing
// is decorative, since Rhythm says the same in words.
func Lamp(p hw.Pattern) template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="lamp" viewBox="0 0 %d %d" preserveAspectRatio="none" aria-hidden="true"><path class="dark" d="M0 12h%dv6H0z"/>`,
		Drawn/unit, lampHeight, Drawn/unit)
	for at := time.Duration(0); at < Drawn; {
		c, left := p.At(at)
		until := min(Drawn, at+min(left, Drawn)) // a pattern that never changes has an unlimited time left; avoid an overflow
		if c != hw.Dark {
			fmt.Fprintf(&b, `<path class="%s" d="M%s 0h%sv%dh-%sz"/>`, c, across(at), across(until-at), lampHeight, across(until-at))
		}
		at = until
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// across formats a time as a length in units.
func across(d time.Duration) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(d)/float64(unit)), ".0")
}

// flash is how long the light is on, and how long it is dark afterwards.
type flash struct{ lit, dark time.Duration }

// flashesOf returns the flashes of one cycle of a pattern that changes. The cycle starts with the first lit step.
func flashesOf(p hw.Pattern) (all []flash) {
	start := 0
	for start < len(p) && p[start].Colour == hw.Dark {
		start++
	}
	for i := range p {
		switch s := p[(start+i)%len(p)]; {
		case s.Colour != hw.Dark && (len(all) == 0 || all[len(all)-1].dark > 0):
			all = append(all, flash{lit: s.For})
		case s.Colour != hw.Dark:
			all[len(all)-1].lit += s.For
		default:
			all[len(all)-1].dark += s.For
		}
	}
	return all
}

// slowest is the shortest time for which people see the light as on, not as a flash.
const slowest = 500 * time.Millisecond

// Rhythm describes a pattern in words, without its colours.
func Rhythm(w *web.Words, p hw.Pattern) string {
	if p.Length() == 0 {
		if p[0].Colour == hw.Dark {
			return w.T("guide.rhythm.dark")
		}
		return w.T("guide.rhythm.steady")
	}
	all := flashesOf(p)
	first, last := all[0], all[len(all)-1]
	switch {
	case !sameLit(all):
		return w.T("guide.rhythm.runs", "list", runs(w, all))
	case len(all) == 1 && first.lit == first.dark && first.lit >= slowest:
		return w.T("guide.rhythm.slow", "lit", seconds(w, first.lit), "dark", seconds(w, first.dark))
	case len(all) == 1 && first.lit == first.dark:
		return w.T("guide.rhythm.fast", "flashes", w.Count("flash", int(time.Second/p.Length())))
	case last.dark > last.lit:
		return w.T("guide.rhythm.flashes", "flashes", w.Count("flash", len(all)), "period", seconds(w, p.Length()))
	}
	panic(fmt.Sprintf("guide: no words for the pattern %v", p)) // TestRhythms has all patterns
}

// sameLit reports whether all flashes have the same length.
func sameLit(all []flash) bool {
	for _, f := range all {
		if f.lit != all[0].lit {
			return false
		}
	}
	return true
}

// runs describes flashes of two lengths in words: the number of successive flashes of each length.
func runs(w *web.Words, all []flash) string {
	short := all[0].lit
	for _, f := range all {
		short = min(short, f.lit)
	}
	var list []string
	for i := 0; i < len(all); {
		n := 1
		for i+n < len(all) && all[i+n].lit == all[i].lit {
			n++
		}
		what := "flash-long"
		if all[i].lit == short {
			what = "flash-short"
		}
		list = append(list, w.Count(what, n))
		i += n
	}
	return strings.Join(list, w.T("guide.rhythm.comma")+" ")
}

// Colours names the colours of a pattern, in the order in which they are shown; "" for none.
func Colours(w *web.Words, p hw.Pattern) string {
	var names []string
	seen := map[hw.Colour]bool{}
	for _, s := range p {
		if s.Colour != hw.Dark && !seen[s.Colour] {
			seen[s.Colour] = true
			names = append(names, w.T("guide.colour."+s.Colour.String()))
		}
	}
	return strings.Join(names, w.T("guide.rhythm.comma")+" ")
}

// seconds formats a whole number of seconds in words.
func seconds(w *web.Words, d time.Duration) string { return w.Count("second", int(d/time.Second)) }

// Held says in words how long the button is held for an entry of hw.AllHolds.
func Held(w *web.Words, h hw.Hold) string {
	switch {
	case h.From == 0:
		return w.T("guide.held.under", "to", seconds(w, h.To))
	case h.To == 0:
		return w.T("guide.held.over", "from", seconds(w, h.From))
	}
	return w.T("guide.held.between", "from", fmt.Sprint(int(h.From/time.Second)), "to", seconds(w, h.To))
}
