package outside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"passerelle/captive/web/webtest"
)

var share = flag.String("share", "", "the `DIR` shared with the virtual machine; without one its tests do not run")

// patience bounds each of the technician's waits, and loading is how long a page may take to load. Emulated machines are slow.
const (
	patience = 5 * time.Minute
	loading  = 30 * time.Second
)

// TestWalk lets a technician who has never seen the box set it up, from its screen to its poster.
func TestWalk(t *testing.T) {
	if *share == "" {
		t.Skip("needs the virtual machine: run it with `make test-vm`")
	}
	t.Parallel()
	screen := awaitScreen(t)
	if screen == "" {
		t.Skip("the machine ended, and had no new box")
	}
	p := &person{t: t, name: "walk"}
	var code string
	defer func() { // even after a failure
		text, err := json.Marshal(Report{Failed: t.Failed(), Presses: p.presses, Code: code})
		path := filepath.Join(*share, ReportFile)
		if err := errors.Join(err, os.WriteFile(path+".part", text, 0o644), os.Rename(path+".part", path)); err != nil {
			t.Error(err)
		}
	}()

	address := regexp.MustCompile(`https://192\.168\.\S+`).FindString(screen)
	word := regexp.MustCompile(`type the code (\S+)`).FindStringSubmatch(screen)
	if address == "" || word == nil {
		t.Fatalf("the screen does not say where to begin:\n%s", screen)
	}
	p.ctx, _ = webtest.NewBrowser(t, chromedp.WindowSize(1280, 900))
	p.do(network.Enable(), network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": "fr-FR"}))

	began := time.Now()
	p.open(address)
	p.click(`#details-button`) // the browser does not know the box's certificate
	p.click(`#proceed-link`)
	p.see(`#code`, "code")
	p.fill(`#code`, word[1])
	p.fill(`#password`, "trois petits chats")
	p.click(`main form button`)

	p.see(`[name="box.name"]`, "centre")
	p.fill(`[name="box.name"]`, "Écluses: le Lavoir")
	p.fill(`[name="centre.address"]`, "3, quai du Lavoir")
	p.fill(`[name="centre.postcode"]`, "71300")
	p.fill(`[name="centre.town"]`, "Montceau-les-Mines")
	p.on()
	p.see(`[name="line"]:checked`, "line")
	p.says("Internet marche ici, maintenant")
	p.click(`[value="prepaid"]`)
	p.on()
	p.see(`[name="place"]:checked`, "hotspot")
	p.click(`[value="closed"]`)
	p.fill(`[name="hotspot.password"]`, "l'eau; et \"le\" vent")
	p.on()
	p.see(`[name="preset"]:checked`, "limits")
	p.on()
	p.see(`[action^="/admin/setup/summary"]`, "summary")
	p.says("10 Go")
	p.on()
	p.see(`.sign`, "starts")
	p.see(`.sign.good`, "done")
	p.says("La box partage Internet")
	t.Logf("%d presses and %v until the box shares", p.presses, time.Since(began).Round(time.Second))
	p.click(`a[href^="/admin/poster"]`)
	p.see(`svg.code`, "poster")
	t.Logf("%d presses and %v until the poster is there", p.presses, time.Since(began).Round(time.Second))
	code = p.code()
}

// awaitScreen waits for the screen of a new box, and returns "" if the machine ends without one.
func awaitScreen(t *testing.T) string {
	for {
		text, err := os.ReadFile(filepath.Join(*share, Screen))
		if err == nil {
			return string(text)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(*share, Ended)); err == nil {
			return ""
		}
		time.Sleep(time.Second)
	}
}

// person is somebody at a browser. Presses of keys and buttons are counted.
type person struct {
	t       *testing.T
	ctx     context.Context
	name    string // of the screenshots
	presses int
	shots   int
}

func (p *person) do(actions ...chromedp.Action) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		p.shoot("failed")
		p.t.Fatalf("after %d presses: %v", p.presses, err)
	}
}

// open types an address. The page may be the browser's warning.
func (p *person) open(url string) {
	p.t.Helper()
	p.presses++
	p.do(chromedp.ActionFunc(func(ctx context.Context) error {
		_, _, _, err := page.Navigate(url).Do(ctx)
		return err
	}))
}

func (p *person) click(selector string) {
	p.t.Helper()
	p.presses++
	p.do(chromedp.Click(selector, chromedp.ByQuery))
}

// fill types into an empty field.
func (p *person) fill(selector, text string) {
	p.t.Helper()
	p.presses++
	p.do(chromedp.SendKeys(selector, text, chromedp.ByQuery))
}

// on presses the button that leads to the next page.
func (p *person) on() {
	p.t.Helper()
	p.click(`main form>button:not([hidden])`)
}

// see waits for a page, and takes a screenshot of it. If the browser shows an error page instead, it is reloaded, which counts as a
// press. The warning about the certificate is such a page, too. It stays until the next page has loaded.
func (p *person) see(selector, name string) {
	p.t.Helper()
	began := time.Now()
	for deadline := began.Add(patience); ; {
		var there, lost, warned bool
		err := chromedp.Run(p.ctx,
			chromedp.Evaluate(fmt.Sprintf("document.readyState == 'complete' && document.querySelector(%q) != null", selector), &there),
			chromedp.Evaluate(`location.protocol == "chrome-error:"`, &lost),
			chromedp.Evaluate(`document.querySelector("#proceed-link") != null`, &warned))
		switch { // an error may mean that another page is about to load
		case there:
			p.shoot(name)
			return
		case time.Now().After(deadline):
			p.shoot("failed")
			p.t.Fatalf("after %d presses there is no %s: %v", p.presses, selector, err)
		case lost && time.Since(began) > loading:
			p.t.Log("the page was lost: a press loads it again")
			p.presses++
			began = time.Now()
			if warned {
				p.do(chromedp.Evaluate(`document.querySelector("#proceed-link").click()`, nil))
			} else {
				p.do(chromedp.ActionFunc(func(ctx context.Context) error { return page.Reload().Do(ctx) }))
			}
		}
		time.Sleep(time.Second)
	}
}

// says fails the test unless the page has a text.
func (p *person) says(text string) {
	p.t.Helper()
	var all string
	p.do(chromedp.Text(`main`, &all, chromedp.ByQuery))
	if !strings.Contains(all, text) {
		p.t.Errorf("the page does not say %q:\n%s", text, all)
	}
}

// shoot saves a screenshot of the page in the folder SCREENSHOTS, if that is set.
func (p *person) shoot(name string) {
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		return
	}
	p.shots++
	var picture []byte
	if err := chromedp.Run(p.ctx, chromedp.FullScreenshot(&picture, 100)); err != nil {
		p.t.Error(err)
		return
	}
	if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%s-%02d-%s.png", p.name, p.shots, name)), picture, 0o644); err != nil {
		p.t.Error(err)
	}
}

// code reads the poster's first QR code from the screen.
func (p *person) code() string {
	p.t.Helper()
	var codes []*cdp.Node
	p.do(chromedp.EmulateViewport(1280, 900, chromedp.EmulateScale(2)), chromedp.Nodes(`svg.code`, &codes, chromedp.ByQueryAll))
	var shot []byte
	p.do(chromedp.Screenshot([]cdp.NodeID{codes[0].NodeID}, &shot, chromedp.ByNodeID))
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := webtest.ReadCode(picture)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}
