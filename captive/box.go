// Package captive serves residents: the first page, their session, the answers that open and close a phone's sign-in window,
// and the captive-portal API (RFC 8908). A resident without a session is captive, one with a session is authorized. The
// package requests sessions through the Box interface. It does not depend on the kernel, files or databases.
package captive

import (
	"context"
	"net/netip"

	"passerelle/appliance/state"
)

// Box is what the pages need from the appliance. All methods are safe for concurrent use and return within milliseconds.
type Box interface {
	// Site returns the box's current facts: a copy, cheap enough for every request.
	Site() state.Site
	// Session returns the resident's session, if one is running.
	Session(addr netip.Addr) (state.Session, bool)
	// Authorize starts a session for the resident, or returns the running one, extended if its Extends is true. Packets pass by
	// the time it returns. Its errors are those of package state, such as [state.ErrNotSharing].
	Authorize(ctx context.Context, addr netip.Addr) (state.Session, error)
	// End ends the resident's session and resets its connections. It is idempotent.
	End(ctx context.Context, addr netip.Addr) error
}
