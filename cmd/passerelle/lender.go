package main

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"passerelle/appliance/control"

	"rsc.io/qr"
)

func lender(ctx context.Context, c *cli, args []string) error {
	var box control.Client
	words, err := c.flags("lender", args, 1, func(f *flag.FlagSet) { socketFlag(f, &box) })
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usageError{fmt.Errorf("passerelle lender: name the donation, as in the configuration; passerelle status lists them")}
	}
	link, err := box.LenderLink(ctx, words[0])
	if err != nil {
		return err
	}
	code, err := qr.Encode(link, qr.M)
	if err != nil {
		return fmt.Errorf("draw the link: %w", err)
	}
	fmt.Fprintf(c.out, `%s

%s
Give this link to the lender of %q, and to nobody else: it shows the donation and can pause it.
It works on the box's own network, where the browser asks once whether to trust the box.
Previous links are revoked.
`, link, halfBlocks(code), words[0])
	return nil
}

// quiet is the quiet zone around a QR code (ISO/IEC 18004, 5.3.8), in modules.
const quiet = 4

// halfBlocks draws a QR code with two modules per character, black on white in any terminal's colours.
func halfBlocks(code *qr.Code) string {
	const blackOnWhite, reset = "\x1b[30;107m", "\x1b[0m"
	blocks := [2][2]string{{" ", "▄"}, {"▀", "█"}} // by upper and lower module
	black := func(x, y int) int {
		if code.Black(x, y) { // false outside the code
			return 1
		}
		return 0
	}
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString(blackOnWhite)
		for x := -quiet; x < code.Size+quiet; x++ {
			b.WriteString(blocks[black(x, y)][black(x, y+1)])
		}
		b.WriteString(reset + "\n")
	}
	return b.String()
}
