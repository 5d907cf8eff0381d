package plan

import (
	"slices"

	"passerelle/netctl"
)

// apart are the channels of 2.4 GHz that don't disturb each other. Channel 13 isn't one of them: a network there would
// disturb and be disturbed by 11, where many are, and phones bought in America don't hear it; nor is 14, for 802.11b in
// Japan only.
var apart = []int{1, 6, 11}

// Costs of a channel. That of one network as loud as can be, right there, is 1000.
const (
	costNetwork = 1000
	costBlock   = 250  // of a network in the same 80 MHz, but not on the channel itself
	costBusy    = 3000 // of a channel that's found busy all the time
	costPower   = 100  // of each dB that may be sent less than on the best channel

	// Another channel has to be better by this much, and by a quarter, for the network to move: what is measured
	// differs from scan to scan, and each move costs every phone some seconds.
	costMove = 500
)

// Signals of a network, in dBm, between which it matters more and more.
const (
	signalNone = -95 // noise
	signalFull = -55 // whoever is louder can't take more of the time
)

// ChooseChannel returns the number of the band's channel that a network is best begun on, from the networks heard in
// the air and how busy the channels were found. It keeps the channel used now (0: none) unless another one is clearly
// better. It returns 0 if the country allows none of the band's channels without listening for radar first.
//
// What counts is the time in the air that is left. A network takes some from every channel that it overlaps, the more
// the better it's heard, up to where everybody waits for it; what it really takes, the survey says.
func ChooseChannel(band netctl.Band, heard []netctl.Heard, busy []netctl.Busy, now int) int {
	var best, current netctl.Channel
	var bestCost, currentCost int
	list := candidates(band)
	power := 0
	for _, c := range list {
		power = max(power, c.Power)
	}
	for _, c := range list {
		cost := (power - c.Power) * costPower
		for _, h := range heard {
			cost += overlap(c, h.MHz) * loudness(h.Signal) / costNetwork
		}
		for _, b := range busy {
			if b.MHz == c.MHz && b.Share > 0 {
				cost += int(min(b.Share, 1) * costBusy)
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

// candidates are the channels to choose from, the first preferred among equals.
func candidates(band netctl.Band) []netctl.Channel {
	var usual, allowed []netctl.Channel
	for _, c := range band.Channels {
		if !c.Allowed {
			continue
		}
		allowed = append(allowed, c)
		// On 5 GHz, those between and above the blocks are cars' (802.11p): phones don't look there.
		first := block(c.Number)
		if slices.Contains(apart, c.Number) || first != 0 && (c.Number-first)%4 == 0 {
			usual = append(usual, c)
		}
	}
	if len(usual) > 0 {
		return usual
	}
	return allowed
}

// overlap returns how much of the time of a network in the channel one at the other frequency takes, were it loud.
func overlap(c netctl.Channel, mhz int) int {
	number, band := netctl.ChannelNumber(mhz)
	if band == netctl.Band24 {
		const width = 22 // MHz of the mask of a signal (IEEE 802.11-2020, 15.4.5.5)
		return costNetwork * max(0, width-max(c.MHz-mhz, mhz-c.MHz)) / width
	}
	switch {
	case mhz == c.MHz:
		return costNetwork
	case number != 0 && block(number) != 0 && block(number) == block(c.Number):
		return costBlock
	}
	return 0
}

// loudness returns how much a network of that signal, in dBm, counts.
func loudness(signal int) int {
	return costNetwork * (min(max(signal, signalNone), signalFull) - signalNone) / (signalFull - signalNone)
}
