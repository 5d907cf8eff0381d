package main

import (
	"bytes"
	"cmp"
	"fmt"

	"passerelle/appliance/fleet/rollout"
	"passerelle/appliance/fleet/updates"
	"passerelle/appliance/state"
)

// waits says why a part of an update is not done now.
func waits(word string) string {
	switch updates.Wait(word) {
	case updates.Residents:
		return "residents are online"
	case updates.Hours:
		return "it is outside the hours of [fleet]"
	case updates.Clock:
		return "the clock is not trusted, so that the hours of [fleet] are not known"
	case updates.Quiet:
		return "the box is open: it waits until it closes, for the night, or until it is switched on"
	}
	switch rollout.Wait(word) {
	case rollout.Later:
		return "the federation installs it on a few boxes first"
	case rollout.Halted:
		return "it went wrong on other boxes, and the federation has halted it"
	}
	return word
}

// describeUpdates says which release is running, and which one will replace it.
func describeUpdates(b *bytes.Buffer, u state.Updates) {
	const unknown = "a system that is none of the releases it has seen"
	switch {
	case !u.Read:
		b.WriteString("releases: the slots have not been read yet\n")
	case u.Other == "":
		fmt.Fprintf(b, "releases: %s is running\n", cmp.Or(u.Version, unknown))
	default:
		fmt.Fprintf(b, "releases: %s is running, %s is in the other slot\n", cmp.Or(u.Version, unknown), u.Other)
	}
	if u.FellBack != "" {
		version := "the other system"
		if u.FellBack != "?" {
			version = "release " + u.FellBack
		}
		fmt.Fprintf(b, "  the box went back from %s: %s\n", version, cmp.Or(u.FellBackWhy, "it never started"))
	}
	switch {
	case u.Ready && u.Starts != "" && u.Auto:
		fmt.Fprintf(b, "  release %s is ready; it is not started now: %s\n", cmp.Or(u.Other, u.Newest), waits(u.Starts))
	case u.Ready && u.Auto:
		fmt.Fprintf(b, "  release %s is ready, and about to be started\n", cmp.Or(u.Other, u.Newest))
	case u.Ready:
		fmt.Fprintf(b, "  release %s is ready; to start it: passerelle slot other\n", cmp.Or(u.Other, u.Newest))
	case u.Newest != "" && !u.Current && u.Size != 0:
		fmt.Fprintf(b, "  release %s: %s of %s are in their place\n", u.Newest, round(u.Done), round(u.Size))
	case u.Newest != "" && !u.Current && (u.Fetches == string(rollout.Later) || u.Fetches == string(rollout.Halted)):
		fmt.Fprintf(b, "  release %s is not installed yet: %s\n", u.Newest, waits(u.Fetches))
	case u.Current:
		b.WriteString("  that is the newest one\n")
	}
	if u.From == "" {
		b.WriteString("  they come on a USB stick only: no address is configured\n")
	}
	if u.Error != "" {
		fmt.Fprintf(b, "  the last attempt failed: %s\n", u.Error)
	}
}
