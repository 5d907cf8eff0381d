package plan

import (
	"slices"

	"passerelle/netctl"
)

// nonOverlapping are the channels of 2.4 GHz that don't interfere with each other. Channel 13 isn't one of them: a
// network there would interfere with 11, where many are, and phones sold in America don't see it; nor is 14, for
// 802.11b in Japan only.
var nonOverlapping = []int{1, 6, 11}

// Costs of a channel. One network of full signal on the same channel costs 1000.
const (
	costNetwork = 1000
	costSegment = 250  // of a network in the same 80 MHz segment, but not on the same channel
	costBusy    = 3000 // of a channel whose survey is 100 % busy
	costPower   = 100  // of each dB below the highest allowed transmit power

	// Another channel must be better by this much, and by a quarter, to switch: measurements differ from scan to scan,
	// and each switch costs every phone some seconds.
	costMove = 500
)

// Signal of a network in dBm, between which its weight grows.
const (
	signalNone = -95 // noise
	signalFull = -55 // a stronger network takes no more airtime
)

// ChooseChannel returns the number of the band's best channel for a network, from a scan and a survey. It keeps the
// channel in use now (0: none) unless another one is clearly better. It returns 0 if the regulatory domain allows none
// of the band's channels without radar detection (DFS).
//
// The cost is lost airtime. A network takes some of every channel that it overlaps, more the stronger its signal is, up
// to the level where everybody defers to it; the survey measures what it really takes.
func ChooseChannel(band netctl.Band, networks []netctl.ScanResult, surveys []netctl.Survey, now int) int {
	var best, current netctl.Channel
	var bestCost, currentCost int
	list := candidates(band)
	power := 0
	for _, c := range list {
		power = max(power, c.Power)
	}
	for _, c := range list {
		cost := (power - c.Power) * costPower
		for _, h := range networks {
			cost += overlap(c, h.MHz) * rssiWeight(h.Signal) / costNetwork
		}
		for _, b := range surveys {
			if b.MHz == c.MHz && b.Busy > 0 {
				cost += int(min(b.Busy, 1) * costBusy)
			}
		}
		if best.Number == 0 || cost < bestCost {
			best, bestCost = c, cost
		}
		if c.Number == now {
			current, currentCost = c, cost
		}
	}
	if current.Number != 0 && currentCost-bestCost <= max(costMove, currentCost/4) {
		return current.Number
	}
	return best.Number
}

// candidates returns the channels to choose from, the preferred first among equals.
func candidates(band netctl.Band) []netctl.Channel {
	var usual, allowed []netctl.Channel
	for _, c := range band.Channels {
		if !c.Allowed {
			continue
		}
		allowed = append(allowed, c)
		// On 5 GHz, the channels between and above the 80 MHz segments are for cars (802.11p): phones don't scan them.
		first := netctl.Segment80(c.Number)
		if slices.Contains(nonOverlapping, c.Number) || first != 0 && (c.Number-first)%4 == 0 {
			usual = append(usual, c)
		}
	}
	if len(usual) > 0 {
		return usual
	}
	return allowed
}

// overlap returns how much airtime a full-signal network at the other frequency takes from the channel.
func overlap(c netctl.Channel, mhz int) int {
	number, band := netctl.ChannelNumber(mhz)
	if band == netctl.Band24 {
		const width = 22 // MHz of the mask of a signal (IEEE 802.11-2020, 15.4.5.5)
		return costNetwork * max(0, width-max(c.MHz-mhz, mhz-c.MHz)) / width
	}
	switch {
	case mhz == c.MHz:
		return costNetwork
	case number != 0 && netctl.Segment80(number) != 0 && netctl.Segment80(number) == netctl.Segment80(c.Number):
		return costSegment
	}
	return 0
}

// rssiWeight returns the weight of a network with that signal, in dBm.
func rssiWeight(signal int) int {
	return costNetwork * (min(max(signal, signalNone), signalFull) - signalNone) / (signalFull - signalNone)
}
