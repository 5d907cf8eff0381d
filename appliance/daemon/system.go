package daemon

import (
	"io/fs"
	"strings"

	"passerelle/appliance/state"
)

// firmwareFile has the versions of the image's firmware packages, in one line (image/build).
const firmwareFile = "usr/share/passerelle/firmware"

// readSystem returns the versions of kernel and firmware of a machine with this root file system. A version that cannot be read
// is "".
func readSystem(root fs.FS) (s state.System) {
	for file, to := range map[string]*string{"proc/sys/kernel/osrelease": &s.Kernel, firmwareFile: &s.Firmware} {
		if text, err := fs.ReadFile(root, file); err == nil {
			*to = strings.TrimSpace(string(text))
		}
	}
	return s
}
