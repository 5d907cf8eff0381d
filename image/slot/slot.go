// Package slot knows the two systems on the box's card, which of them is booted, and how a new one that does not work gives
// way to the old one. It owns the slot state on the card: its form, its transitions, and its writing. It must not know what
// is in a slot, who fills one, nor what makes a box healthy.
//
// # The slot state
//
// U-Boot chooses the slot, and it must be able to do so when nothing else works. The state is in two copies of 4096 bytes, at
// 1 and 2 MiB of the card, before the first partition: a file system could be damaged by the same power cut, and the FAT
// partition by any PC. Each copy has the form of U-Boot's `env export -c -s 0x1000`: the CRC-32 of the other 4092 bytes, then
// key=value with a NUL after each, then a NUL. Of the valid copies the one with the higher serial holds; the other one is
// the next to be written. So a write that a power cut tears leaves the state as it was. While the slot is proven, nothing is
// written at a boot.
//
//	key     value
//	serial  decimal; see below
//	slot    a or b: the slot to boot
//	good    a or b: the slot that last proved itself
//	tries   boots of slot that are left until it must have proved itself; only while slot is not good
//	failed  a or b: the slot that used up its tries, if there is one
//
// The boot script does what [State.Boot] says: a proven slot is booted, an unproven one as long as it has tries, and then the
// good one again.
//
// U-Boot counts in hexadecimal (setexpr), and the state is decimal. Both agree on a number as long as no digit goes beyond
// 9: so what is written here has a serial that ends in 0, and U-Boot adds at most one for each try and one for the return.
package slot

import (
	"errors"
	"fmt"
)

// Name is a slot's: "a" or "b", "" for none.
type Name string

// The slots, and where they are on the card.
const (
	A Name = "a" // partition 2
	B Name = "b" // partition 3
)

// Other returns the other slot.
func (n Name) Other() Name {
	if n == A {
		return B
	}
	return A
}

// Partition returns the number of the slot's partition.
func (n Name) Partition() int {
	if n == A {
		return 2
	}
	return 3
}

func (n Name) valid() bool { return n == A || n == B }

// Bounds of a state's numbers.
const (
	// MaxTries is how many tries a slot may have: with the return, U-Boot then adds less than ten to a serial.
	MaxTries = 8
	// maxSerial has eight digits, as many as U-Boot's numbers on a 32-bit board: five million switches.
	maxSerial = 99_999_999
)

// State is the slot state.
type State struct {
	Serial uint32 // of the copy that it was read from
	Slot   Name   // the slot to boot
	Good   Name   // the slot that last proved itself
	Tries  int    // boots left of a slot that is not good; else 0
	Failed Name   // the slot that did not prove itself, "" if there is none
}

// initial is the state of a card without a valid copy, as the boot script takes it.
var initial = State{Slot: A, Good: A}

// Proven tells whether the slot to boot has proved itself.
func (s State) Proven() bool { return s.Slot == s.Good }

// Boot returns the state after the boot script, which then boots Slot. It has written the state only if that is another one.
func (s State) Boot() State {
	switch {
	case s.Proven():
		return s
	case s.Tries > 0:
		s.Tries--
	default:
		s.Failed, s.Slot = s.Slot, s.Good
	}
	s.Serial++
	return s
}

// MarkGood returns the state after the running slot has proved itself. Nothing changes if another slot is to be booted next:
// it was chosen later.
func (s State) MarkGood(running Name) State {
	if s.Slot != running || s.Proven() {
		return s
	}
	s.Good, s.Tries = running, 0
	if s.Failed == running {
		s.Failed = ""
	}
	return s
}

// Choose returns the state in which a slot is booted next, at most so many times until it must have proved itself. The good
// slot needs no proof.
func (s State) Choose(to Name, tries int) State {
	if s.Slot, s.Tries = to, tries; s.Proven() {
		s.Tries = 0
	}
	return s.Replace(to)
}

// Replace returns the state before something else is installed in a slot: that it failed was said of what was there.
func (s State) Replace(n Name) State {
	if s.Failed == n {
		s.Failed = ""
	}
	return s
}

// check returns why a state cannot be written.
func (s State) check() error {
	switch {
	case !s.Slot.valid(), !s.Good.valid(), s.Failed != "" && !s.Failed.valid():
		return fmt.Errorf("slots %q, good %q, failed %q: each is a or b", s.Slot, s.Good, s.Failed)
	case s.Tries < 0 || s.Tries > MaxTries, s.Proven() && s.Tries != 0:
		return fmt.Errorf("slot %q cannot have %d tries", s.Slot, s.Tries)
	case s.Serial > maxSerial:
		return errors.New("the serial is used up")
	}
	return nil
}

// written returns the state with the serial that the next copy gets.
func (s State) written() State {
	s.Serial = (s.Serial/10 + 1) * 10
	return s
}
