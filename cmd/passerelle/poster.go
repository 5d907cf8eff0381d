package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"passerelle/appliance/config"
	"passerelle/appliance/control"
	"passerelle/captive/admin"
	"passerelle/captive/poster"
)

func posterCommand(ctx context.Context, c *cli, args []string) error {
	var path, size, languages string
	var box control.Client
	words, err := c.flags("poster", args, 1, func(f *flag.FlagSet) {
		f.StringVar(&size, "size", string(poster.A4), "the `SIZE`: a4, a6 (a table card) or stickers (a sheet of eight on A4)")
		f.StringVar(&languages, "lang", "", "the `LANGUAGES` of its pages: of fr, en, es and pt (default: those that the box offers)")
		f.StringVar(&path, "config", defaultConfig, "the configuration `FILE`")
		socketFlag(f, &box)
	})
	switch {
	case err != nil:
		return err
	case len(words) == 0:
		return usageError{errors.New("passerelle poster: name the PDF to write")}
	case !slices.Contains(poster.Sizes, poster.Size(size)):
		return usageError{fmt.Errorf("passerelle poster: unknown size %q; the sizes are a4, a6 and stickers", size)}
	}
	conf, err := config.File{Path: path}.Load()
	if err != nil {
		return usageError{err}
	}
	var codes []string
	if languages == "" {
		codes = slices.DeleteFunc(slices.Clone(conf.Box.Languages), func(code string) bool { return !poster.InPDF(code) })
	} else {
		codes = strings.Split(languages, ",")
	}
	for _, code := range codes {
		if !poster.InPDF(code) {
			return usageError{fmt.Errorf("passerelle poster: a PDF can be in fr, en, es or pt, not in %q; "+
				"https://%s/admin/poster prints it in all languages", code, conf.Box.Hostname)}
		}
	}
	if len(codes) == 0 {
		return usageError{fmt.Errorf("passerelle poster: the fonts of a PDF have no letters of the languages that the box offers; "+
			"https://%s/admin/poster prints it in all languages", conf.Box.Hostname)}
	}
	fingerprint := fingerprintOf(ctx, box, conf)
	sheets, err := poster.New(admin.PosterBox(conf, fingerprint, time.Now()), codes...)
	if err != nil {
		return err
	}
	var file bytes.Buffer
	if err := poster.PDF(&file, poster.Size(size), sheets); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if conf.Hotspot.Password != "" {
		mode = 0o600 // it is on the poster
	}
	if err := renameio.WriteFile(words[0], file.Bytes(), mode); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s: %s in %s\n", words[0], plural(len(sheets), "page"), strings.Join(codes, ", "))
	if fingerprint == "" && poster.Size(size) != poster.Stickers {
		fmt.Fprintln(c.out, "It lacks the fingerprint of the box's certificate: passerelle does not run here with this configuration.")
	}
	if conf.Hotspot.SSID == "" {
		fmt.Fprintf(c.out, "%s names no network (hotspot.ssid), so there is no code to join it.\n", path)
	}
	return nil
}

// fingerprintOf returns the fingerprint of the certificate of the box that runs here. It is "" if none runs, or if it is not the
// configured box.
func fingerprintOf(ctx context.Context, box control.Client, conf *config.Config) string {
	s, err := box.Status(ctx)
	if err != nil || s.Centre != conf.Box.Name || !slices.Contains(s.Admin.Pages, "https://"+conf.Box.Hostname+"/admin/") {
		return ""
	}
	return s.Admin.Fingerprint
}
