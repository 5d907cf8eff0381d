package slot

// Board is the layout of the card and the boards that boot it, as releases name it.
const Board = "raspberry-pi-arm64"

// The layout of a card (image/build), in bytes.
const (
	FirstAt  = 68 << 20  // of the first slot on the card
	SlotSize = 768 << 20 // of a slot
	BootAt   = 704 << 20 // of the kernel's container in a slot
)
