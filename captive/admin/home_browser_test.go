package admin

import (
	"io"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/captive/admin/login"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// A technician pauses one donation and resumes it in a real browser with scripts off, on a narrow screen. Then the page is judged
// twice: when all is well, and with everything wrong that can be.
func TestHomeWithoutScripts(t *testing.T) {
	labtest.Root(t, webtest.Shell)
	t.Parallel()
	b := newFakeBox()
	var err error
	if b.logins, err = login.Open(t.TempDir(), time.Now); err != nil {
		t.Fatal(err)
	}
	code := b.logins.Code()
	handler := newServer(b, io.Discard)
	handler.Day = aDay(b)
	v := visit(t, handler, 320)
	v.enters("/admin/login", code, `.loans`)
	v.fits()
	v.press(`.loans button[value="pause"]`, `.loans button[value="resume"]`)
	paused := v.text(`.loan`)
	v.press(`.loans button[value="resume"]`, `.loans button[value="pause"]`)
	resumed := v.text(`.loan`)
	if !strings.Contains(paused, "En pause, par la personne qui règle la box") || !strings.Contains(resumed, "Utilisée maintenant") {
		t.Errorf("the donation is %q, then %q", paused, resumed)
	}

	for _, step := range []func(){func() {}, func() { spoil(b, handler) }, func() {
		b.change(func(box *state.Status, d *state.Donation) {
			box.State, box.Why, box.Clock.Trusted = state.Offline, "eth0 has a link but no default route", false
			d.Works, d.Chosen, d.Why, box.Donations[1].PausedBy = false, false, "eth0 has a link but no default route", itsLender
			b.offers = "fr en es uk"
		})
	}} {
		step()
		v.judgedIn("/admin/", "fr", true)
		v.judgedIn("/admin/", "en", true)
	}
	v.stayed()
}
