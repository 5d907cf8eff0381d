package guest

import (
	"context"
	"fmt"
	"slices"

	"passerelle/netctl/netlab"
	"passerelle/netctl/wpa"
)

// The radio's interface on every host with a radio, and the folder of hostapd's or wpa_supplicant's control socket.
const (
	radioName  = netlab.HotspotInterface
	controlDir = "/run/radio"
)

// listen waits until a host's hostapd or wpa_supplicant opens its control socket, connects to it, and subscribes to events.
func listen(ctx context.Context, h *netlab.Host, program *netlab.Proc) (*wpa.Conn, error) {
	for {
		// Answers arrive at a socket in the host's folder. The program sees that folder under the same path, unlike its /run.
		c, err := wpa.Dial(h.Path(controlDir+"/"+radioName), h.Path("/"))
		if err == nil {
			if err = c.Attach(ctx); err == nil {
				return c, nil
			}
			c.Close() // the program has opened its socket, but is busy with its radio
		}
		select {
		case <-program.Exited():
			return nil, fmt.Errorf("%w: it ended: %s", err, program.Output())
		default:
		}
		if pause(ctx, pollInterval) != nil {
			return nil, fmt.Errorf("%w: %s", err, program.Output())
		}
	}
}

// await returns the next event of one of these kinds.
func await(ctx context.Context, c *wpa.Conn, kinds ...wpa.Kind) (wpa.Event, error) {
	var seen []wpa.Event
	for {
		select {
		case e := <-c.Events():
			if slices.Contains(kinds, e.Kind) {
				return e, nil
			}
			seen = append(seen, e)
		case <-ctx.Done():
			return wpa.Event{}, fmt.Errorf("wait for %v: %w; seen: %v", kinds, ctx.Err(), seen)
		}
	}
}
