// Package state is what others may know of the box: its State, its Status, the Site for pages, a resident's Session, and the
// problems that somebody must fix. It imports no other package of the box. The loop fills it in; pages, lights, programs and tests
// read it without knowing the loop. It has no data of a single resident, except for the Session that is shown to that resident.
package state

// State is what the box does, in one word: the first row that applies in the table of decide.Decide.
type State string

// The States, in their order of precedence.
const (
	Starting  State = "starting"  // until the first plan has been applied
	Fault     State = "fault"     // the plan cannot be applied
	Setup     State = "setup"     // no technician has configured the box, or the button requested set-up
	Paused    State = "paused"    // the button, staff or a technician paused it, or lenders paused all open donations
	Closed    State = "closed"    // outside opening hours
	Exhausted State = "exhausted" // every open donation's cap is spent
	Offline   State = "offline"   // no open donation's uplink works
	Sharing   State = "sharing"   // residents reach the internet
)

// States lists every State in its order of precedence.
var States = []State{Starting, Fault, Setup, Paused, Closed, Exhausted, Offline, Sharing}
