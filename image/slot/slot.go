// Package slot knows the two slots on the box's card, which of them is booted, and how the box falls back to the old system if a
// new one does not work. It owns the slot state on the card: its format, its transitions, and its writing. It must not know what
// is in a slot, who fills one, nor what makes a box healthy.
//
// # The slot state
//
// U-Boot chooses the slot, and must be able to do so when nothing else works. The state is stored as two copies of 4096 bytes, at
// 1 and 2 MiB of the card. That is before the first partition: the same power cut could damage a file system, and any PC could
// damage the FAT partition. Each copy has the format of U-Boot's `env export -c -s 0x1000`: the CRC-32 of the other 4092 bytes,
// then key=value pairs with a NUL after each, then a NUL. The valid copy with the higher serial is in effect. The other copy is
// the next to be written, so a write that is torn by a power cut leaves the state as it was. While the slot is proven, a boot
// writes nothing.
//
//	key     value
//	serial  decimal; see below
//	slot    a or b: the slot to boot
//	good    a or b: the slot that last proved itself
//	tries   boots of slot that are left until it must have proved itself; only while slot is not good
//	failed  a or b: the slot that used up its tries, if there is one
//
// The boot script does what [State.Boot] says. It boots a proven slot, an unproven slot as long as it has tries, and then the
// good slot again.
//
// U-Boot counts in hexadecimal (setexpr), and the state is decimal. Both agree on a number as long as no digit exceeds 9. So a
// serial that is written here ends in 0, and U-Boot adds at most one for each try and one for the fallback.
package slot

import (
	"errors"
	"fmt"
)

// Name is the name of a slot: "a" or "b", "" for none.
type Name string

// The slots, and their partitions of the card.
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
	// MaxTries is how many tries a slot may have. Together with the fallback, U-Boot then adds less than ten to a serial.
	MaxTries = 8
	// maxSerial has eight digits, as many as U-Boot's numbers on a 32-bit board. It is enough for five million switches.
	maxSerial = 99_999_999
)

// State is the slot state.
type State struct {
	Serial uint32 // of the copy that it was read from
	Slot   Name   // the slot to boot
	Good   Name   // the slot that last proved itself
	Tries  int    // boots left of a slot that is not good; otherwise 0
	Failed Name   // the slot that did not prove itself, "" if there is none
}

// initial is the state of a card without a valid copy. The boot script assumes the same.
var initial = State{Slot: A, Good: A}

// Proven tells whether the slot to boot has proved itself.
func (s State) Proven() bool { return s.Slot == s.Good }

// Boot returns the state after the boot script, which then boots Slot. The script writes the state only if it changed.
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

// MarkGood returns the state after the running slot has proved itself. Nothing changes if the other slot is to be booted next,
// because that was chosen later.
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

// Choose returns the state in which a slot is booted next. It must prove itself within that many boots. The good slot needs no
// proof.
func (s State) Choose(to Name, tries int) State {
	if s.Slot, s.Tries = to, tries; s.Proven() {
		s.Tries = 0
	}
	return s.Replace(to)
}

// Replace returns the state before something else is installed in a slot. If the slot had failed, that is forgotten, because it
// was a failure of the old content.
func (s State) Replace(n Name) State {
	if s.Failed == n {
		s.Failed = ""
	}
	return s
}

// check returns why a state cannot be written, nil if it can.
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
