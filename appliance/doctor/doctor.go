// Package doctor finds what is wrong: a chain of steps over what the kernel, the line and the box's own services say. It owns
// the order of the steps, where the chain stops, how long each may take, and the verdict and the English text of each. It must
// not know how a fact is read: the daemon passes it Sources.
//
// The steps of a line depend on each other: after a fault the later ones are not checked, since they would only repeat it. The
// hotspot's steps likewise depend on the hotspot. Disk, clock, radio, caps and lights depend on nothing and are always checked.
//
//	box
//	interface ─ link ─ address ─ gateway ─ resolver ─ names ─ tcp ─ page     for each line
//	hotspot ─ answers, portal, dhcp
//	radio, disk, clock, cap (of each donation), lights
//
// Only the line in use is asked beyond its gateway, or every open one if none is. All that this sends counts on the cap, as
// everything on the line does, and is reported; when a cap is spent, no connection is made at all.
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

// Limits of time. The longest way, of a line whose servers and pages are all silent, takes 22 s.
const (
	limit       = 28 * time.Second // of a search
	askWait     = 2 * time.Second  // for an answer of a name server
	connectWait = 4 * time.Second  // for connections, which are tried side by side
	pageWait    = 4 * time.Second  // for each page
	ownWait     = 2 * time.Second  // for the box's own services
	diskWait    = 10 * time.Second // for a test that is written
	arpTries    = 3
)

// Kernel reads what the kernel has.
type Kernel interface {
	// Lines returns the uplinks of the names, and Hotspot the interface that residents join.
	Lines(names []string) ([]uplink.Status, error)
	Hotspot() (link uplink.Status, box netip.Prefix, err error)
	// Gateway asks for the gateway's address by ARP, and waits for the answers.
	Gateway(ctx context.Context, line uplink.Status) (netctl.Claim, error)
	// Clock returns how far the clock may be off; ok is false while no time server disciplines it.
	Clock() (most time.Duration, ok bool)
}

// Internet asks through a line, by its interface in the kernel.
type Internet interface {
	Ask(ctx context.Context, device string, server netip.Addr, name string) (names.Answer, bool, names.Traffic)
	Reach(ctx context.Context, device string, to netip.AddrPort) (bool, names.Traffic)
	Load(ctx context.Context, device string, addr netip.Addr, page uplink.Page) (uplink.Seen, bool, names.Traffic)
}

// Services are the box's own, asked at the addresses to which the rules lead residents.
type Services interface {
	NameServers() NameServers
	Ask(ctx context.Context, s NameServer, name string) (names.Answer, error)
	// Portal requests what a phone that is not admitted does: the page by which it tests for the internet, and RFC 8908's API.
	Portal(ctx context.Context) (Portal, error)
	// Leases returns how many addresses are leased, of how many.
	Leases() (taken, size int, err error)
	// Offer asks for an address as a phone that joins would, and does not take it. The error is dhcp.ErrClosed if no DHCP server
	// runs, and dhcp.ErrSilent if none answers until ctx ends.
	Offer(ctx context.Context) (dhcp.Offer, error)
}

// NameServers are the box's.
type NameServers struct {
	Online  NameServer // for residents who are online
	Guests  NameServer // for the others, while a line may be used
	Captive NameServer // leads every name to the box
}

// NameServer is one of the box's name servers.
type NameServer struct {
	Child string
	At    netip.AddrPort
}

// Portal is what a phone gets.
type Portal struct {
	Status   int    // of the answer to its test
	Location string // that it is led to
	First    string // the first page, where it should be led
	API      error  // why the API's answer is not right
}

// Disk is the state folder's.
type Disk struct {
	Free, Total uint64
	ReadOnly    bool   // as the kernel says
	Errors      uint64 // of the file system
	Took        time.Duration
	Write       error // of the test; Full if the disk is
	Full        bool
}

// Machine is the box's hardware.
type Machine interface {
	// Disk writes a test in the state folder, and removes it. It may block as long as the disk does.
	Disk() Disk
	// Lights returns the names of the lights and of the button in use, and why others are not.
	Lights() (names []string, problems []error)
}

// Sources are where facts come from. Their methods are safe for concurrent use.
type Sources struct {
	Kernel   Kernel
	Internet Internet
	Services Services
	Machine  Machine
	Status   func() state.Status
	Zones    func() []uplink.Zone
	Pages    []uplink.Page
	Now      func() time.Time
	SSIDs    func() []string // lenders' networks, in the order of the donations; "" for a line that is none
}

// Doctor runs one search at a time. Make one with New; its methods are safe for concurrent use.
type Doctor struct {
	src    Sources
	starts chan struct{}

	mu   sync.Mutex
	last *search
	disk bool // a test of the disk still waits
}

// New returns a doctor. Run makes it work.
func New(s Sources) *Doctor { return &Doctor{src: s, starts: make(chan struct{}, 1)} }

// String names the task in the daemon's log.
func (*Doctor) String() string { return "doctor" }

// Run carries out searches until ctx ends.
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

// Start begins a search, unless one is running.
func (d *Doctor) Start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last != nil && d.last.running() {
		return
	}
	d.last = newSearch(d.src)
	d.starts <- struct{}{} // the one before has been taken
}

// Diagnosis returns the running search as far as it is, else the last one. ok is false if there is none.
func (d *Doctor) Diagnosis() (out state.Diagnosis, ok bool) {
	d.mu.Lock()
	s := d.last
	d.mu.Unlock()
	if s == nil {
		return out, false
	}
	return s.diagnosis(), true
}

// Search waits for a search: the running one, or a new one. The error is ctx's.
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

// testDisk tests the disk, unless the test before still waits for it. ok is false if it was not done in time.
func (d *Doctor) testDisk(ctx context.Context) (out Disk, ok bool) {
	d.mu.Lock()
	waits := d.disk
	d.disk = true
	d.mu.Unlock()
	if waits {
		return out, false
	}
	tested := make(chan Disk, 1)
	go func() { // it may outlive the search: nothing ends a write that a broken card holds up
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
