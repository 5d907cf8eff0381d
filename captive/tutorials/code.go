package tutorials

import (
	"fmt"
	"html/template"
	"strings"

	"rsc.io/qr"
)

// code returns the QR code of a text as a drawing, with the margin that code readers need (ISO/IEC 18004: 4 modules). Screen readers
// skip the drawing, since the text is next to it. It is "" for a text that is too long.
func code(text string) template.HTML {
	c, err := qr.Encode(text, qr.L)
	if err != nil {
		return ""
	}
	var d strings.Builder
	for y := range c.Size {
		fmt.Fprintf(&d, "M0 %d.5", y)
		for x := 0; x < c.Size; {
			from, black := x, c.Black(x, y)
			for x < c.Size && c.Black(x, y) == black {
				x++
			}
			if black {
				fmt.Fprintf(&d, "h%d", x-from)
			} else if x < c.Size {
				fmt.Fprintf(&d, "m%d 0", x-from)
			}
		}
	}
	return template.HTML(fmt.Sprintf(`<svg viewBox="-4 -4 %[1]d %[1]d" aria-hidden="true" shape-rendering="crispEdges"><path d="%[2]s"/></svg>`,
		c.Size+8, d.String()))
}
