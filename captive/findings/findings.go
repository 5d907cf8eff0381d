// Package findings has the words for what the doctor finds: steps, verdicts and codes of state.Diagnosis, for the pages of a box and
// of a fleet's hub. It must not know how something is found, nor the pages.
package findings

import (
	"embed"

	"passerelle/captive/web"
)

//go:embed words/*.toml
var files embed.FS

// Share has the words, for the catalogs of pages.
func Share() web.Share { return web.Share{Name: "findings", Files: files} }
