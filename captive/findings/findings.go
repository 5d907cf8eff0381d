// Package findings has the words for what the doctor finds: the steps, verdicts and codes of state.Diagnosis, for the pages of a box and
// of a fleet's hub. It depends neither on how something is found nor on the pages.
package findings

import (
	"embed"

	"passerelle/captive/web"
)

//go:embed words/*.toml
var files embed.FS

// Share returns a share with these words, for the catalogs of pages.
func Share() web.Share { return web.Share{Name: "findings", Files: files} }
