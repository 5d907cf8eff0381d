// Package testdata holds fictional fixtures that tests of several packages share.
package testdata

import _ "embed"

// Box is a configuration. Tests edit it for their needs.
//
//go:embed box.toml
var Box string
