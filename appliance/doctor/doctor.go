// Package doctor diagnoses the box. It runs steps that check the kernel, the uplinks and the box's own services. It owns the order of
// the steps, where a chain of steps stops, how long each may take, and the verdict and the English text of each result. It must not
// know how a fact is read: the daemon passes it Sources.
//
// The steps of a donation's uplink (a line) depend on each other: after a fault the later ones are not checked, since they would only
// repeat it. In the same way the hotspot's other steps depend on the hotspot. Disk, clock, radio, caps and lights depend on nothing
// and are always checked.
//
//	box
//	interface ─ link ─ address ─ gateway ─ resolver ─ names ─ tcp ─ page     for each donation
//	hotspot ─ answers, portal, dhcp
//	radio, disk, clock, cap (of each donation), lights
//
// Only the uplinks in use are tested beyond their gateway, or all open ones if none is in use. What the tests send and receive counts
// towards the cap, like everything on the uplink, and is reported. If a cap is spent, no TCP connection is made.
package doctor

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"passerelle/appliance/state"
	"passerelle/netctl"
	"passerelle/netctl/dhcp"
	"passerelle/netctl/names"
	"passerelle/netctl/uplink"
)

// Timeouts. The longest chain, of an uplink whose servers and pages are all silent, takes 22 s.
const (
	limit       = 28 * time.Second // for a whole search
	askWait     = 2 * time.Second  // for an answer of a name server
	connectWait = 4 * time.Second  // for connections, which are tried in parallel
	pageWait    = 4 * time.Second  // for each page
	ownWait     = 2 * time.Second  // for an answer of one of the box's own services
	diskWait    = 10 * time.Second // for the write test of the disk
	arpTries    = 3
)

// Kernel reads the kernel's state.
type Kernel interface {
	// Lines returns the uplinks for the interfaces' names in the configuration. Hotspot returns the interface that residents join,
	// and the box's address on it.
	Lines(names []string) ([]uplink.Status, error)
	Hotspot() (link uplink.Status, box netip.Prefix, err error)
	// Gateway sends an ARP request for the gateway's address, and waits for the answers.
	Gateway(ctx context.Context, line uplink.Status) (netctl.Claim, error)
	// Clock returns how far the clock may be off. ok is false while no time server disciplines it.
	Clock() (most time.Duration, ok bool)
}

// Internet sends requests through an uplink. device is the uplink's interface in the kernel.
type Internet interface {
	Ask(ctx context.Context, device string, server netip.Addr, name string) (names.Answer, bool, names.Traffic)
	Reach(ctx context.Context, device string, to netip.AddrPort) (bool, names.Traffic)
	Load(ctx context.Context, device string, addr netip.Addr, page uplink.Page) (uplink.Seen, bool, names.Traffic)
}

// Services are the box's own services. They are queried at the addresses to which the firewall rules lead residents.
type Services interface {
	NameServers() NameServers
	Ask(ctx context.Context, s NameServer, name string) (names.Answer, error)
	// Portal requests what a phone without a session does: the page with which it tests for captive portals, and the API of RFC 8908.
	Portal(ctx context.Context) (Portal, error)
	// Leases returns how many addresses are leased, and the size of the pool.
	Leases() (taken, size int, err error)
	// Offer sends a DHCP request for an address like a phone that joins, but does not take the address. The error is dhcp.ErrClosed
	// if no DHCP server runs, and dhcp.ErrSilent if none answers until ctx ends.
	Offer(ctx context.Context) (dhcp.Offer, error)
}

// NameServers are the box's own name servers.
type NameServers struct {
	Online  NameServer // for residents who are online
	Guests  NameServer // for other residents, while an uplink can be used
	Captive NameServer // answers every name with the box's address
}

// NameServer is one of the box's name servers.
type NameServer struct {
	Child string
	At    netip.AddrPort
}

// Portal is what a phone gets from the captive portal.
type Portal struct {
	Status   int    // HTTP status of the answer to the phone's test
	Location string // where the answer redirects to
	First    string // the first page, where it should redirect to
	API      error  // what is wrong with the API's answer; nil if it is right
}

// Disk is the disk with the state folder, and the result of the write test.
type Disk struct {
	Free, Total uint64 // bytes
	ReadOnly    bool   // the kernel has mounted it read-only
	Errors      uint64 // errors that the file system has counted
	Took        time.Duration
	Write       error // the error of the write test
	Full        bool  // the write test failed because the disk is full
}

// Machine is the box's hardware.
type Machine interface {
	// Disk writes a test file in the state folder, and removes it. It may block as long as the disk does.
	Disk() Disk
	// Lights returns the names of the lights and of the button in use, and the errors of those that cannot be used.
	Lights() (names []string, problems []error)
}

// Sources provide the facts. Their methods are safe for concurrent use.
type Sources struct {
	Kernel   Kernel
	Internet Internet
	Services Services
	Machine  Machine
	Status   func() state.Status
	Zones    func() []uplink.Zone
	Pages    []uplink.Page
	Now      func() time.Time
	SSIDs    func() []string // lenders' Wi-Fi networks, in the order of the donations; "" for a donation without one
}

// Doctor runs one search at a time. Make one with New; its methods are safe for concurrent use.
type Doctor struct {
	src    Sources
	starts chan struct{}

	mu   sync.Mutex
	last *search
	disk bool // a write test of the disk has not ended yet
}

// New returns a doctor. It works only while Run runs.
func New(s Sources) *Doctor { return &Doctor{src: s, starts: make(chan struct{}, 1)} }

// String returns the task's name in the daemon's log.
func (*Doctor) String() string { return "doctor" }

// Run runs searches until ctx ends.
func (d *Doctor) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.starts:
			d.mu.Lock()
			s := d.last
			d.mu.Unlock()
			s.run(ctx, d)
		}
	}
}

// Start starts a search, unless one is running.
func (d *Doctor) Start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last != nil && d.last.running() {
		return
	}
	d.last = newSearch(d.src)
	d.starts <- struct{}{} // does not block: Run has received the previous one
}

// Diagnosis returns the results so far of the running search, or else those of the last one. ok is false if there was none yet.
func (d *Doctor) Diagnosis() (out state.Diagnosis, ok bool) {
	d.mu.Lock()
	s := d.last
	d.mu.Unlock()
	if s == nil {
		return out, false
	}
	return s.diagnosis(), true
}

// Search waits for the running search, or for a new one, and returns its result. The error is ctx's.
func (d *Doctor) Search(ctx context.Context) (state.Diagnosis, error) {
	d.Start()
	d.mu.Lock()
	s := d.last
	d.mu.Unlock()
	select {
	case <-s.done:
		return s.diagnosis(), nil
	case <-ctx.Done():
		return state.Diagnosis{}, ctx.Err()
	}
}

// testDisk runs the write test of the disk, unless an earlier test still blocks. ok is false if there is no result in time.
func (d *Doctor) testDisk(ctx context.Context) (out Disk, ok bool) {
	d.mu.Lock()
	waits := d.disk
	d.disk = true
	d.mu.Unlock()
	if waits {
		return out, false
	}
	tested := make(chan Disk, 1)
	go func() { // it may outlive the search: a write that blocks on a broken card cannot be cancelled
		x := d.src.Machine.Disk()
		d.mu.Lock()
		d.disk = false
		d.mu.Unlock()
		tested <- x
	}()
	timer := time.NewTimer(diskWait)
	defer timer.Stop()
	select {
	case out = <-tested:
		return out, true
	case <-timer.C:
	case <-ctx.Done():
	}
	return out, false
}
