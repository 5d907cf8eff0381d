package main

import (
	"bytes"
	"fmt"

	"passerelle/appliance/state"
)

// describeSystem names the versions of kernel and firmware. An older daemon does not report them.
func describeSystem(b *bytes.Buffer, s state.System) {
	if s.Kernel == "" {
		return
	}
	fmt.Fprintf(b, "kernel %s", s.Kernel)
	if s.Firmware != "" {
		fmt.Fprintf(b, "; firmware: %s", s.Firmware)
	}
	b.WriteString("\n\n")
}
