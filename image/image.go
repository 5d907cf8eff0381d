// Package image has the text of the daemon's systemd unit, for the tests that run the daemon as its service does. It owns how the
// daemon runs on a board, and must not know what the daemon does there.
package image

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// Unit is the text of passerelle.service.
//
//go:embed passerelle.service
var Unit string

// capabilities are the capabilities (capabilities(7)) that the unit may give.
var capabilities = map[string]uintptr{
	"CAP_CHOWN": unix.CAP_CHOWN, "CAP_KILL": unix.CAP_KILL, "CAP_SETGID": unix.CAP_SETGID, "CAP_SETUID": unix.CAP_SETUID,
	"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "CAP_NET_RAW": unix.CAP_NET_RAW,
}

var given = regexp.MustCompile(`(?m)^AmbientCapabilities=(.*)$`)

// Capabilities returns the numbers of the capabilities that the unit gives to the daemon. It fails for one that is not in the map
// capabilities.
func Capabilities() (all []uintptr, err error) {
	for _, line := range given.FindAllStringSubmatch(Unit, -1) {
		for _, name := range strings.Fields(line[1]) {
			n, known := capabilities[name]
			if !known {
				return nil, fmt.Errorf("passerelle.service gives %s, which nothing tests", name)
			}
			all = append(all, n)
		}
	}
	return all, nil
}
