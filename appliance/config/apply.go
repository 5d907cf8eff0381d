package config

// Role says who changes the configuration, or operates the box. This package does not interpret it.
type Role string

// The roles, as text for the log. All roles except staff and lenders may change the whole configuration: root can write the file
// anyway, technicians configure the box, and somebody who has the memory card could do even more. A lender can change only their
// own donation, and only lend less. Staff work at the desk and change no settings.
const (
	RoleSignal      Role = "a signal"           // root's SIGHUP, after root wrote the file
	RoleCommandLine Role = "the command line"   // used by root
	RoleTechnician  Role = "a technician"       // signed in on the pages
	RoleCard        Role = "a file on the card" // read at boot
	RoleStaff       Role = "staff"              // signed in at the desk
	RoleLender      Role = "a lender"           // with the link of a donation
)

// Outcome is the result of a change of the configuration.
type Outcome string

// The outcomes.
const (
	Applied  Outcome = "applied"  // the box uses it
	Restart  Outcome = "restart"  // the box restarts itself, and uses it then
	Refused  Outcome = "refused"  // the box and the file keep the old one
	Conflict Outcome = "conflict" // the same, because the file has changed since it was read
)

// Result is the answer to a change. It contains no secret.
type Result struct {
	Outcome  Outcome  `json:"outcome"`
	Revision Revision `json:"revision,omitempty"` // the file's current revision; "" if it cannot be read
	Why      string   `json:"why,omitempty"`      // one line of text; if Applied: why the kernel does not use it yet
	Problems Problems `json:"problems,omitempty"` // if Refused: what is wrong, line by line
}
