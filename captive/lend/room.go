package lend

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Way is how an offer was made.
type Way string

// The ways.
const (
	ByForm Way = "form" // the lender's own phone sent it
	ByDesk Way = "desk" // somebody at the desk typed it, or photographed a code
)

// Answer is how an offer was answered.
type Answer string

// The answers. An offer that waits has none.
const (
	Accepted Answer = "accepted"
	Refused  Answer = "refused"
)

// Network is the Wi-Fi network of a phone. Only [Room.Claim] returns its password.
type Network struct {
	SSID       string // in the configuration's form
	Passphrase string
}

// String returns the SSID without the password, so that no log contains it.
func (n Network) String() string { return n.SSID }

// GoString is String.
func (n Network) GoString() string { return n.String() }

// Offer is a connection that somebody offers to lend, without its password.
type Offer struct {
	ID       string // secret: with it one can see how the offer was answered
	Number   int    // 10 to 99; the lender says it at the desk
	Way      Way
	Network  string    // the name of its Wi-Fi network
	Lender   string    // the name that the lender gave; "" for none
	Cap      uint64    // bytes; 0 if the desk must choose
	Until    string    // the last day, YYYY-MM-DD; "" if the desk must choose
	At       time.Time // when it was made
	Answer   Answer
	Settled  time.Time // when it was answered; zero if it was not
	Page     string    // Accepted: the path of the lender's page
	Donation string    // Accepted: the donation's name
}

// Errors of a Room.
var (
	ErrFull    = errors.New("too many offers wait")
	ErrNone    = errors.New("there is no such offer, or it is gone")
	ErrBusy    = errors.New("somebody else is answering this offer")
	ErrSettled = errors.New("this offer has been answered")
)

// Bounds of a Room. Devices that make up addresses can only fill the devices' part: the desk's offers have a part of their own.
const (
	Life       = time.Hour // of a waiting offer, and then of an answered one
	maxOffers  = 12        // waiting offers of devices
	maxOfDesk  = 4         // waiting offers of the desk; a new one replaces the oldest
	maxSettled = 32        // answered offers; a new one replaces the oldest
)

// entry is an offer with its secret.
type entry struct {
	Offer
	network Network    // empty once it is answered
	from    netip.Addr // the device; invalid for the desk
	claimed bool       // somebody is answering it
}

// Room is where offers wait for the desk, in memory only. Its methods are safe for concurrent use. The zero value is empty.
type Room struct {
	mu  sync.Mutex
	all []*entry // the oldest first
}

// Add adds an offer, and returns it with its ID, number and time. An offer from a form replaces a waiting one of the same device. The
// error is ErrFull.
func (r *Room) Add(o Offer, n Network, from netip.Addr, now time.Time) (Offer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	mine := func(e *entry) bool { return e.Answer == "" && !e.claimed && e.Way == o.Way && e.from == from }
	if o.Way == ByForm {
		r.all = slices.DeleteFunc(r.all, mine)
		if r.count(ByForm) >= maxOffers {
			return Offer{}, ErrFull
		}
	} else if r.count(ByDesk) >= maxOfDesk {
		i := slices.IndexFunc(r.all, mine)
		if i < 0 {
			return Offer{}, ErrFull
		}
		r.all = slices.Delete(r.all, i, i+1)
	}
	o.ID, o.Number, o.At, o.Network = rand.Text(), r.number(), now, n.SSID
	r.all = append(r.all, &entry{Offer: o, network: n, from: from})
	return o, nil
}

// number returns a number that no other offer has.
func (r *Room) number() int {
	for {
		n, err := rand.Int(rand.Reader, big.NewInt(90))
		if err != nil {
			panic(fmt.Sprintf("lend: %v", err)) // crypto/rand never fails: see rand.Reader
		}
		number := 10 + int(n.Int64())
		if !slices.ContainsFunc(r.all, func(e *entry) bool { return e.Number == number }) {
			return number
		}
	}
}

func (r *Room) count(w Way) (n int) {
	for _, e := range r.all {
		if e.Answer == "" && e.Way == w {
			n++
		}
	}
	return n
}

// Waiting returns the offers that wait, the oldest first.
func (r *Room) Waiting(now time.Time) (all []Offer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	for _, e := range r.all {
		if e.Answer == "" {
			all = append(all, e.Offer)
		}
	}
	return all
}

// Find returns an offer that waits, or that was answered within the last hour.
func (r *Room) Find(id string, now time.Time) (Offer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	if e := r.find(id); e != nil {
		return e.Offer, true
	}
	return Offer{}, false
}

// Claim claims an offer in order to answer it: nobody else can claim it until Settle or Release. The error is ErrNone, or, with the
// offer in its current state, ErrBusy or ErrSettled.
func (r *Room) Claim(id string, now time.Time) (Offer, Network, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	e := r.find(id)
	switch {
	case e == nil:
		return Offer{}, Network{}, ErrNone
	case e.Answer != "":
		return e.Offer, Network{}, ErrSettled
	case e.claimed:
		return e.Offer, Network{}, ErrBusy
	}
	e.claimed = true
	return e.Offer, e.network, nil
}

// Release gives up the claim on an offer, which waits again.
func (r *Room) Release(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.find(id); e != nil {
		e.claimed = false
	}
}

// Settle answers a claimed offer, and forgets its password. page and donation are set for an accepted offer.
func (r *Room) Settle(id string, a Answer, page, donation string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.find(id)
	if e == nil {
		return
	}
	e.Answer, e.Page, e.Donation, e.Settled, e.claimed, e.network = a, page, donation, now, false, Network{}
	settled := func(e *entry) bool { return e.Answer != "" }
	for n := len(r.all) - r.count(ByForm) - r.count(ByDesk); n > maxSettled; n-- {
		i := slices.IndexFunc(r.all, settled)
		r.all = slices.Delete(r.all, i, i+1)
	}
}

// Expire removes offers that have waited for an hour, or were answered an hour ago.
func (r *Room) Expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
}

// expire is Expire with r.mu held. A claimed offer is being answered, and stays. Offers from an hour or more in the future, after the
// clock was set back, are removed, too.
func (r *Room) expire(now time.Time) {
	r.all = slices.DeleteFunc(r.all, func(e *entry) bool {
		since := e.At
		if e.Answer != "" {
			since = e.Settled
		}
		age := now.Sub(since)
		return !e.claimed && (age >= Life || age <= -Life)
	})
}

func (r *Room) find(id string) *entry {
	for _, e := range r.all {
		if e.ID == id {
			return e
		}
	}
	return nil
}
