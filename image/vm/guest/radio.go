package guest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"passerelle/netctl/netlab"
)

// phys is the folder of the free radios. Free are the radios in the machine's own network namespace.
const phys = "/sys/class/ieee80211"

// pollInterval is the interval between two checks in a wait.
const pollInterval = 50 * time.Millisecond

// moveMu is held while an interface in the machine's own namespace is named "moving", on its way into a host. It is needed because
// names are unique in a namespace.
var moveMu sync.Mutex

// TakeRadio moves one of the machine's radios into a host, where its interface gets the name and is down. The radio returns when the
// host's world is closed. If no radio is free, TakeRadio waits until one returns.
func TakeRadio(ctx context.Context, h *netlab.Host, name string) error {
	moveMu.Lock()
	defer moveMu.Unlock()
	phy, link, err := freeRadio(ctx)
	if err != nil {
		return fmt.Errorf("take a radio for %s: %w", h.Name(), err)
	}
	// An earlier host may have changed the hardware address to one that another radio uses now.
	err = errors.Join(netlink.LinkSetDown(link), netlink.LinkSetHardwareAddr(link, link.Attrs().PermHWAddr),
		netlink.LinkSetName(link, "moving"))
	if err == nil {
		err = run(ctx, "iw", "phy", phy, "set", "netns", "name", h.Namespace())
	}
	if err == nil {
		link, err = h.Netlink().LinkByName("moving")
	}
	if err == nil {
		err = h.Netlink().LinkSetName(link, name)
	}
	if err != nil {
		return fmt.Errorf("move radio %s to %s: %w", phy, h.Name(), err)
	}
	return nil
}

// GiveRadio moves the radio of an interface, with all its interfaces, from one host to another, where they are down. It is like
// unplugging an adapter from the first host and plugging it into the second.
func GiveRadio(ctx context.Context, from, to *netlab.Host, name string) error {
	number, err := from.Run(ctx, "cat", "/sys/class/net/"+name+"/phy80211/index")
	if err != nil {
		return err
	}
	return run(ctx, "ip", "netns", "exec", from.Namespace(),
		"iw", "phy#"+strings.TrimSpace(number), "set", "netns", "name", to.Namespace())
}

// BlockRadio switches the radio of a host's interface off or on with rfkill.
func BlockRadio(ctx context.Context, h *netlab.Host, name string, off bool) error {
	value := "0"
	if off {
		value = "1"
	}
	_, err := h.Run(ctx, "sh", "-c", fmt.Sprintf(
		`for s in /sys/class/net/%s/phy80211/rfkill*/soft; do echo %s >"$s"; done`, name, value))
	return err
}

// freeRadio returns a free radio and its interface. It waits for one until ctx ends.
func freeRadio(ctx context.Context) (phy string, link netlink.Link, err error) {
	for {
		found, err := filepath.Glob(phys + "/*/device/net/*")
		if err != nil {
			return "", nil, err
		}
		if len(found) > 0 {
			link, err := netlink.LinkByName(filepath.Base(found[0]))
			return phyOf(found[0]), link, err
		}
		if err := pause(ctx, pollInterval); err != nil {
			return "", nil, fmt.Errorf("none is free: %w", err)
		}
	}
}

// phyOf returns the radio's name from a path PHYS/NAME/device/net/INTERFACE.
func phyOf(path string) string {
	return filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(path))))
}

// run runs a command in the machine's own namespaces.
func run(ctx context.Context, argv ...string) error {
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("run %q: %w: %s", argv, err, out)
	}
	return nil
}

// pause waits for d. If the context ends before, it returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
