package main

import (
	"bytes"
	"cmp"
	"fmt"
	"text/tabwriter"
	"time"

	"passerelle/captive/tutorials/lessons"
)

// describeFacts lists tutorials with the day on which their facts were looked up: only the stale ones, or all. With sources, each is
// followed by the pages that were consulted.
func describeFacts(library *lessons.Library, now time.Time, sources, stale bool) []byte {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.StripEscape)
	listed := 0
	for _, l := range library.Lessons() {
		if stale && !l.Stale(now) {
			continue
		}
		listed++
		if listed == 1 {
			fmt.Fprintln(w, "LESSON\tLANGUAGE\tCHECKED\tPACK")
		}
		checked := "never"
		if !l.Checked.IsZero() {
			checked = l.Checked.Format(time.DateOnly)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", l.Slug, l.Language, checked, cmp.Or(l.Pack, "-"))
		if sources {
			for _, s := range l.Sources {
				fmt.Fprintf(w, "\xff  %s\xff\n", s)
			}
		}
	}
	w.Flush()
	if stale && listed == 0 {
		fmt.Fprintf(&b, "The facts of all lessons were looked up within %d years.\n", lessons.CheckFor)
	}
	return b.Bytes()
}
