package outside

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"rsc.io/qr"

	"passerelle/captive/web/webtest"
)

// TestLendAtTheDesk: a lender comes to the desk with a phone. The person at the desk is signed in, takes a photo of the phone's code,
// chooses 12 gigabytes, and accepts.
func TestLendAtTheDesk(t *testing.T) {
	if *share == "" {
		t.Skip("needs the virtual machine: run it with `make test-vm`")
	}
	t.Parallel()
	offer := awaitOffer(t)
	if offer == nil {
		t.Skip("the machine ended, and nobody came to lend")
	}
	p := &person{t: t, name: "lend"}
	report := func(name string) {
		text, err := json.Marshal(Report{Failed: t.Failed(), Presses: p.presses})
		path := filepath.Join(*share, name)
		if err := errors.Join(err, os.WriteFile(path+".part", text, 0o644), os.Rename(path+".part", path)); err != nil {
			t.Error(err)
		}
	}
	defer report(OfferReport) // even after a failure

	word := regexp.MustCompile(`type the code (\S+)`).FindStringSubmatch(offer.Screen)
	if word == nil {
		t.Fatalf("the screen has no code:\n%s", offer.Screen)
	}
	code, err := qr.Encode(offer.Code, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	code.Scale = 8
	photo := filepath.Join(t.TempDir(), "photo.png")
	if err := os.WriteFile(photo, code.PNG(), 0o600); err != nil {
		t.Fatal(err)
	}
	p.ctx, _ = webtest.NewBrowser(t, chromedp.WindowSize(400, 800))
	p.do(network.Enable(), network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}))
	p.open("https://192.168.1.2/admin/")
	p.click(`#details-button`) // the browser does not know the box's certificate
	p.click(`#proceed-link`)
	p.see(`#code`, "code")
	p.fill(`#code`, word[1])
	p.fill(`#password`, "trois petits chats")
	p.click(`main form button`)
	p.see(`a[href^="/admin/content"]`, "signed-in")
	p.presses = 0
	report(DeskReady)

	began := time.Now()
	p.click(`a[href^="/admin/content"]`)
	p.see(`a[href^="/admin/loans"]`, "content")
	p.click(`a[href^="/admin/loans"]`)
	p.see(`#file`, "loans")
	p.says("quels sites s’ouvrent par sa connexion")
	p.presses++ // the photo
	p.do(chromedp.SetUploadFiles(`#file`, []string{photo}, chromedp.ByQuery))
	p.click(`form[enctype] button`)
	p.see(`button[value="accept"]`, "loan")
	p.fill(`#lender`, offer.Lender)
	p.click(`[name="size"][value="12000000000"]`)
	p.click(`button[value="accept"]`)
	p.see(`svg.code`, "accepted")
	t.Logf("%d presses and %v until the loan is accepted", p.presses, time.Since(began).Round(time.Second))
}

// awaitOffer waits for an Offer. It returns nil if the machine ends without one.
func awaitOffer(t *testing.T) *Offer {
	for {
		text, err := os.ReadFile(filepath.Join(*share, OfferFile))
		if err == nil {
			o := &Offer{}
			if err := json.Unmarshal(text, o); err != nil {
				t.Fatal(err)
			}
			return o
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(*share, Ended)); err == nil {
			return nil
		}
		time.Sleep(time.Second)
	}
}
