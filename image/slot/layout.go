package slot

// Board is the name, in releases, of the card's layout and the boards that boot it.
const Board = "raspberry-pi-arm64"

// The layout of a card (image/build), in bytes.
const (
	FirstAt  = 68 << 20  // offset of the first slot on the card
	SlotSize = 768 << 20 // size of a slot
	BootAt   = 704 << 20 // offset of the kernel's container in a slot
)
