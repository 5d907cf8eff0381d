package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"passerelle/netctl/netlab"
)

// ownNetwork runs a program in the network namespace of process 1.
var ownNetwork = []string{"nsenter", "--net=/proc/1/ns/net"}

// StartBoxOnMachine starts the daemon in the machine's own network namespace, as on a board, because only there it may change
// kernel-wide settings. The interfaces of the scene's box to residents and to its first lender are moved there and renamed to hotspot
// and line. line is configured as the system would. Files, and everything except the network, are those of the scene's box.
func StartBoxOnMachine(ctx context.Context, s *netlab.Scene, hotspot, line, configuration string) (*Box, error) {
	lender := s.Lenders[0]
	for from, to := range map[string]string{netlab.HotspotInterface: hotspot, lender.Interface: line} {
		if _, err := s.Box.Run(ctx, "ip", "link", "set", from, "name", to, "netns", "1"); err != nil {
			return nil, fmt.Errorf("move %s to the machine's own network: %w", from, err)
		}
	}
	err := errors.Join(
		run(ctx, "ip", "link", "set", line, "up"),
		run(ctx, "ip", "address", "add", lender.Box.String(), "dev", line),
		run(ctx, "ip", "route", "add", "default", "via", lender.Gateway.String(), "dev", line),
	)
	if err != nil {
		return nil, err
	}
	return startBox(ctx, s.Box, ownNetwork, configuration)
}

// Parameter reads a numeric sysctl of the machine's own network, by its path below /proc/sys.
func Parameter(path string) (uint64, error) {
	text, err := readWord("/proc/sys/" + path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

// SetParameter writes a numeric sysctl of the machine's own network, by its path below /proc/sys.
func SetParameter(path string, value uint64) error {
	return os.WriteFile("/proc/sys/"+path, []byte(strconv.FormatUint(value, 10)), 0)
}
