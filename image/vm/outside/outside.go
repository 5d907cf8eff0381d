// Package outside is what runs outside of the virtual machine of `make test-vm`, beside it: a PC with a browser, on the network
// that the machine's cable leads to. The tests in the machine (package guest) and this one meet in the folder that both share:
//
//	walk/screen   the status of a new box, as its technician reads it: written in the machine
//	walk/report   a Report, when the technician is done, or has failed
//	walk/offer    an Offer: somebody comes to the desk with a phone that lends; written in the machine
//	walk/ready    a Report, when the person at the desk is signed in
//	walk/lent     a Report, when the loan is accepted, or has failed
//	ended         the machine has ended
//
// A file there is whole once it has its name.
package outside

// Report is what the PC tells the tests in the machine.
type Report struct {
	Failed  bool
	Presses int    // keys and clicks until the poster was there, or the loan was accepted; what is typed into a field counts one
	Code    string // the text of the poster's first QR code
}

// Offer is what somebody brings to the desk who lends.
type Offer struct {
	Screen string // the box's status, as its technician reads it
	Lender string // what the lender is called
	Code   string // the text of the QR code that the phone shows
}

// The names in the shared folder.
const (
	OfferFile   = "walk/offer"
	DeskReady   = "walk/ready"
	OfferReport = "walk/lent"

	Screen     = "walk/screen"
	ReportFile = "walk/report"
	Ended      = "ended"
)
