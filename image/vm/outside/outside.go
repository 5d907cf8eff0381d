// Package outside is what runs next to the virtual machine of `make test-vm`: a PC with a browser, on the network that the machine's
// cable leads to. It and the tests in the machine (package guest) communicate by files in a shared folder:
//
//	walk/screen   the status of a new box, as its technician reads it; written in the machine
//	walk/report   a Report, when the technician is done, or has failed
//	walk/offer    an Offer: a lender comes to the desk with a phone; written in the machine
//	walk/ready    a Report, when the person at the desk is signed in
//	walk/lent     a Report, when the loan is accepted, or has failed
//	ended         the machine has ended
//
// A file is complete as soon as it has its name.
package outside

// Report is what the PC tells the tests in the machine.
type Report struct {
	Failed  bool
	Presses int    // keys and clicks until the poster was shown, or the loan was accepted; typing into a field counts as one
	Code    string // the text of the poster's first QR code
}

// Offer is what the person at the desk needs for a lender's loan.
type Offer struct {
	Screen string // the box's status, as its technician reads it
	Lender string // the lender's name
	Code   string // the text of the QR code that the phone shows
}

// The names of the files in the shared folder.
const (
	OfferFile   = "walk/offer"
	DeskReady   = "walk/ready"
	OfferReport = "walk/lent"

	Screen     = "walk/screen"
	ReportFile = "walk/report"
	Ended      = "ended"
)
