package config

// Role is who changes the configuration, or runs the box. This package does not interpret it.
type Role string

// The roles, as text for the log. All but staff and lenders may change all of the configuration: root can write the file anyway,
// technicians configure the box, and who holds the card could do more. A lender changes one donation only, and only downwards.
// Staff run the centre's day and change nothing of it.
const (
	RoleSignal      Role = "a signal"           // root's SIGHUP, after root wrote the file
	RoleCommandLine Role = "the command line"   // root's
	RoleTechnician  Role = "a technician"       // logged in on the pages
	RoleCard        Role = "a file on the card" // taken at boot
	RoleStaff       Role = "staff"              // logged in at the desk
	RoleLender      Role = "a lender"           // by the link of a donation: only to lend less of it
)

// Outcome is the result of a change of the configuration.
type Outcome string

// The outcomes.
const (
	Applied  Outcome = "applied"  // the box uses it
	Restart  Outcome = "restart"  // the box restarts itself, and uses it then
	Refused  Outcome = "refused"  // the box and the file keep the old one
	Conflict Outcome = "conflict" // likewise, since the file has changed since it was read
)

// Result is the answer to a change. It contains no secret.
type Result struct {
	Outcome  Outcome  `json:"outcome"`
	Revision Revision `json:"revision,omitempty"` // of the file now; "" if it cannot be read
	Why      string   `json:"why,omitempty"`      // one line of text; if Applied: why the kernel has not followed yet
	Problems Problems `json:"problems,omitempty"` // if Refused: what is wrong, line by line
}
