package state

// System has the versions of what runs below the box, as they are known.
type System struct {
	Kernel   string `json:"kernel,omitempty"`   // its release, as `uname -r` says it
	Firmware string `json:"firmware,omitempty"` // of board and radio, as the image has it; "" without the image
}
