// Package decide is the heart of the box: from an Observation, one pure function returns one State and what that State
// allows. It owns the States, their order of precedence and the reasons given for them. It reads no clock, no kernel and
// no file, so that every case can be written down as a table.
package decide

// State is what the box is doing, in one word. The first row of the table in [Decide] that applies is the State.
type State string

// The States, in their order of precedence.
const (
	Starting  State = "starting"  // until the first plan has been applied
	Fault     State = "fault"     // the plan cannot be applied
	Setup     State = "setup"     // no technician has configured the box, or the button asked for it
	Paused    State = "paused"    // the button, staff or a technician paused it, or lenders all that is open
	Closed    State = "closed"    // outside opening hours
	Exhausted State = "exhausted" // every open donation's cap is spent
	Offline   State = "offline"   // no open donation's uplink works
	Sharing   State = "sharing"   // residents reach the internet
)

// States lists every State in its order of precedence.
var States = []State{Starting, Fault, Setup, Paused, Closed, Exhausted, Offline, Sharing}
