package guest

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Watchdog returns the state of the machine's watchdog (softdog): "active" or "inactive". It is an error if the watchdog ever timed
// out, which would have reset a board.
func Watchdog(ctx context.Context) (state string, err error) {
	log, err := exec.CommandContext(ctx, "dmesg").Output()
	if err != nil {
		return "", fmt.Errorf("read the kernel's log: %w", err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "softdog: Triggered") {
			return "", fmt.Errorf("the watchdog timed out: %s", strings.TrimSpace(line))
		}
	}
	return readWord("/sys/class/watchdog/watchdog0/state")
}
