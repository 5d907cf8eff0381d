// Package outside is what runs outside of the virtual machine of `make test-vm`, beside it: a PC with a browser, on the network
// that the machine's cable leads to. The tests in the machine (package guest) and this one meet in the folder that both share:
//
//	walk/screen   the status of a new box, as its technician reads it: written in the machine
//	walk/report   a Report, when the technician is done, or has failed
//	ended         the machine has ended
//
// A file there is whole once it has its name.
package outside

// Report is what the PC tells the tests in the machine.
type Report struct {
	Failed  bool
	Presses int    // keys and clicks until the poster was there; what is typed into a field counts one
	Code    string // the text of the poster's first QR code
}

// The names in the shared folder.
const (
	Screen     = "walk/screen"
	ReportFile = "walk/report"
	Ended      = "ended"
)
