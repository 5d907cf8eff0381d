package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"rsc.io/qr"

	"passerelle/appliance/admin"
	"passerelle/appliance/config"
)

// lenderLink is what the daemon answers to POST /lender.
type lenderLink struct {
	Link string `json:"link"`
}

// issueLinks answers POST /lender?donation=NAME on the control socket with a new link for the donation.
func issueLinks(tokens admin.Tokens, current func() *config.Config, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, name := current(), r.FormValue("donation")
		var names []string
		known := false
		for _, d := range c.Donations {
			names = append(names, strconv.Quote(d.Name))
			known = known || d.Name == name
		}
		if !known {
			http.Error(w, fmt.Sprintf("there is no donation %q; the configuration has %s", name, strings.Join(names, ", ")), http.StatusNotFound)
			return
		}
		path, err := admin.IssueLink(tokens, name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(lenderLink{"https://" + c.Box.Hostname + path}); err != nil {
			log.Debug("a lender's link was not taken", "error", err)
		}
	}
}

func lender(ctx context.Context, c *cli, args []string) error {
	var socket string
	words, err := c.flags("lender", args, 1, func(f *flag.FlagSet) {
		f.StringVar(&socket, "socket", defaultSocket, "the daemon's control socket")
	})
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return wrong{fmt.Errorf("passerelle lender: name the donation as the configuration does; passerelle status lists them")}
	}
	body, err := ask(ctx, socket, http.MethodPost, "/lender?"+url.Values{"donation": {words[0]}}.Encode())
	if err != nil {
		return err
	}
	var l lenderLink
	if err := json.Unmarshal(body, &l); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	code, err := qr.Encode(l.Link, qr.M)
	if err != nil {
		return fmt.Errorf("draw the link: %w", err)
	}
	fmt.Fprintf(c.out, `%s

%s
Give this link to the lender of %q, and to nobody else: it shows the donation and can pause it.
It works on the box's own network, where the browser asks once whether to trust the box.
Links given before it work no more.
`, l.Link, halfBlocks(code), words[0])
	return nil
}

// quiet is the margin that a QR code wants around it (ISO/IEC 18004, 5.3.8), in modules.
const quiet = 4

// halfBlocks draws a QR code with two modules in a character, black on white whatever the terminal's colours are.
func halfBlocks(code *qr.Code) string {
	const blackOnWhite, reset = "\x1b[30;107m", "\x1b[0m"
	blocks := [2][2]string{{" ", "▄"}, {"▀", "█"}} // by upper and lower module
	black := func(x, y int) int {
		if code.Black(x, y) { // none outside the code
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
