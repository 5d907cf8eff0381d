package lend

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rsc.io/qr"

	"passerelle/captive/web"
	"passerelle/captive/web/webtest"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const secret = "trois petits chats"

func from(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 80, byte(n / 256), byte(n % 256)}) }

// TestRoomIsBounded: a device has one waiting offer, all devices together a few, and they never take the desk's places.
func TestRoomIsBounded(t *testing.T) {
	t.Parallel()
	r := &Room{}
	for i := range 500 {
		o, err := r.Add(Offer{Way: ByForm}, Network{"A", secret}, from(7), noon)
		if err != nil || o.Number < 10 || o.Number > 99 || i > 0 && len(r.Waiting(noon)) != 1 {
			t.Fatalf("%+v, %v, %d wait", o, err, len(r.Waiting(noon)))
		}
	}
	for i := range 500 {
		if _, err := r.Add(Offer{Way: ByForm}, Network{"A", secret}, from(i), noon); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	if n := len(r.Waiting(noon)); n != maxOffers {
		t.Errorf("%d of devices wait", n)
	}
	var last Offer
	for range 50 {
		var err error
		if last, err = r.Add(Offer{Way: ByDesk}, Network{"B", secret}, netip.Addr{}, noon); err != nil {
			t.Fatalf("the desk: %v", err)
		}
	}
	all := r.Waiting(noon)
	if len(all) != maxOffers+maxOfDesk || all[len(all)-1].ID != last.ID {
		t.Errorf("%d wait", len(all))
	}
	numbers := map[int]bool{}
	for _, o := range all {
		numbers[o.Number] = true
	}
	if len(numbers) != len(all) {
		t.Error("two offers have one number")
	}
}

// TestRoomForgets: a waiting offer is gone after an hour, an answered one an hour after the answer, and its password at once.
func TestRoomForgets(t *testing.T) {
	t.Parallel()
	r := &Room{}
	a, _ := r.Add(Offer{Way: ByForm}, Network{"A", secret}, from(1), noon)
	b, _ := r.Add(Offer{Way: ByForm}, Network{"B", secret}, from(2), noon.Add(50*time.Minute))
	r.Expire(noon.Add(time.Hour))
	if _, ok := r.Find(a.ID, noon.Add(time.Hour)); ok || len(r.all) != 1 {
		t.Error("an offer waits for longer than an hour")
	}
	at := noon.Add(70 * time.Minute)
	if _, n, err := r.Claim(b.ID, at); err != nil || n.Passphrase != secret {
		t.Fatal(err)
	}
	r.Settle(b.ID, Accepted, "/lender/x", "B", at)
	if r.all[0].network != (Network{}) {
		t.Error("the password of an answered offer is there")
	}
	if o, ok := r.Find(b.ID, at.Add(59*time.Minute)); !ok || o.Page != "/lender/x" {
		t.Errorf("the answer is %+v", o)
	}
	if _, ok := r.Find(b.ID, at.Add(time.Hour)); ok {
		t.Error("an answer is there after an hour")
	}
	c, _ := r.Add(Offer{Way: ByForm}, Network{"C", secret}, from(1), noon)
	if _, ok := r.Find(c.ID, noon.AddDate(-1, 0, 0)); ok {
		t.Error("a clock that was set back keeps a password for a year")
	}
	if text := fmt.Sprintf("%v %+v %#v %s", Network{"A", secret}, Network{"A", secret}, Network{"A", secret}, Network{"A", secret}); strings.Contains(text, "petits") {
		t.Errorf("it prints as %s", text)
	}
}

// TestClaimedOnce: if two desks accept an offer at once, only one succeeds.
func TestClaimedOnce(t *testing.T) {
	t.Parallel()
	r := &Room{}
	o, _ := r.Add(Offer{Way: ByForm}, Network{"A", secret}, from(1), noon)
	var wg sync.WaitGroup
	got := make(chan error, 16)
	for range cap(got) {
		wg.Go(func() {
			_, _, err := r.Claim(o.ID, noon)
			got <- err
		})
	}
	wg.Wait()
	close(got)
	claims := 0
	for err := range got {
		if err == nil {
			claims++
		} else if !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
	}
	if claims != 1 {
		t.Errorf("%d desks claim it", claims)
	}
	r.Release(o.ID)
	if _, _, err := r.Claim(o.ID, noon); err != nil {
		t.Errorf("after it was given back: %v", err)
	}
	r.Settle(o.ID, Refused, "", "", noon)
	r.Release(o.ID)
	if _, _, err := r.Claim(o.ID, noon); !errors.Is(err, ErrSettled) {
		t.Errorf("after it was answered: %v", err)
	}
	for i := range 60 {
		o, err := r.Add(Offer{Way: ByForm}, Network{}, from(i), noon)
		if err != nil {
			t.Fatal(err)
		}
		r.Settle(o.ID, Refused, "", "", noon)
	}
	if len(r.all) > maxSettled {
		t.Errorf("%d answers are kept", len(r.all))
	}
}

// TestTerms: forms say how much is lent and until when, by a choice or a date, with a clock that is right and with one that is not.
func TestTerms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		form, want string // want: the problems, or cap, last day and lender
		unknown    bool
	}{
		{form: "size=5000000000&until=0", want: "5000000000 2026-11-21 "},
		{form: "size=12000000000&until=30&lender=++%C3%89lise++", want: "12000000000 2026-12-21 Élise"},
		{form: "size=12000000000&until=date&date=2027-01-31", want: "12000000000 2027-01-31 "},
		{form: "size=12000000000&until=date&date=2026-11-20", want: "past"},
		{form: "size=12000000000&until=date&date=2028-01-01", want: "far"},
		{form: "size=12000000000&until=date", want: "until"},
		{form: "size=12000000000&until=1&date=2026-12-01", want: "until"},
		{form: "size=7&until=30", want: "size"},
		{form: "", want: "size until"},
		{form: "size=1000000000&until=30", unknown: true, want: "until"},
		{form: "size=1000000000&date=2026-12-31", unknown: true, want: "1000000000 2026-12-31 "},
		{form: "size=1000000000&until=7&lender=" + strings.Repeat("a", 41), want: "lender"},
		{form: "size=1000000000&until=7&lender=a%E2%80%AEb", want: "lender"},
	} {
		form, err := url.ParseQuery(c.form)
		if err != nil {
			t.Fatal(err)
		}
		var o Offer
		got := strings.Join(ReadTerms(form, &o, noon, !c.unknown), " ")
		if got == "" {
			got = fmt.Sprint(o.Cap, " ", o.Until, " ", o.Lender)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.form, got, c.want)
		}
	}
}

// photo returns a picture of a QR code on a table, with that width and height in pixels.
func photo(t testing.TB, text string, width, height int) *image.Gray {
	t.Helper()
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	p := image.NewGray(image.Rect(0, 0, width, height))
	side := min(width, height) / 2
	for y := range height {
		for x := range width {
			c := uint8(150 + (x*7+y*13)%23) // the table
			mx, my := (x-width/4)*(code.Size+8)/side-4, (y-height/4)*(code.Size+8)/side-4
			if x >= width/4 && y >= height/4 && x < width/4+side && y < height/4+side {
				if c = 235; code.Black(mx, my) {
					c = 40
				}
			}
			p.Pix[y*p.Stride+x] = c
		}
	}
	return p
}

func asJPEG(t testing.TB, p image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, p, &jpeg.Options{Quality: 60}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asPNG(t testing.TB, p image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// cat returns a picture without a code: round eyes, and fur.
func cat() image.Image {
	p := image.NewRGBA(image.Rect(0, 0, 800, 600))
	for y := range 600 {
		for x := range 800 {
			c := color.RGBA{uint8(120 + (x*x+y)%60), uint8(90 + (y*3+x)%50), 40, 255}
			for _, eye := range []image.Point{{300, 250}, {500, 250}} {
				if d := (x-eye.X)*(x-eye.X) + (y-eye.Y)*(y-eye.Y); d < 1600 {
					c = color.RGBA{20, uint8(200 - d/10), 30, 255}
				}
			}
			p.SetRGBA(x, y, c)
		}
	}
	return p
}

// bomb returns a PNG of a few bytes that claims to have that many pixels, with four channels of 16 bits if deep.
func bomb(width, height uint32, deep bool) []byte {
	head := []byte{'I', 'H', 'D', 'R', byte(width >> 24), byte(width >> 16), byte(width >> 8), byte(width), byte(height >> 24), byte(height >> 16), byte(height >> 8), byte(height), 8, 0, 0, 0, 0}
	if deep {
		head[12], head[13] = 16, 6
	}
	sum := crc32.ChecksumIEEE(head)
	b := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), head...)
	return append(b, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
}

// segment returns a segment of a JPEG: a marker, the length and the content (ISO/IEC 10918-1, B.1.1.4).
func segment(marker byte, content string) []byte {
	return append([]byte{0xff, marker, byte((len(content) + 2) >> 8), byte(len(content) + 2)}, content...)
}

// withSegment returns a JPEG with a segment more, the first one.
func withSegment(photo []byte, marker byte, content string) []byte {
	return slices.Concat(photo[:2], segment(marker, content), photo[2:])
}

// exif is the content of an APP1 segment with what looks like the head of a progressive frame, as in a preview.
const exif = "Exif\x00\x00II*\x00\xff\xd8\xff\xc2\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00\xff\xd9"

// cmykBomb returns a JPEG of a few bytes that claims to have that many pixels of four components.
func cmykBomb(sof byte, width, height int) []byte {
	size := string([]byte{8, byte(height >> 8), byte(height), byte(width >> 8), byte(width), 4})
	return slices.Concat([]byte("\xff\xd8"), segment(0xee, "Adobe\x00\x64\x00\x00\x00\x00\x00"),
		segment(sof, size+"\x01\x11\x00\x02\x11\x00\x03\x11\x00\x04\x11\x00"),
		segment(0xda, "\x04\x01\x00\x02\x00\x03\x00\x04\x00\x00\x3f\x00"))
}

const lent = "WIFI:T:WPA;S:iPhone d’Élise;P:trois petits chats;H:false;;"

// TestReadCode: a photo's code is read; a file that is not a picture, too large, damaged or without a code gets its error.
func TestReadCode(t *testing.T) {
	good := asJPEG(t, photo(t, lent, 1600, 1200))
	six := asJPEG(t, photo(t, lent, 3000, 2000))
	progressive := bytes.Replace(six, []byte{0xff, 0xc0}, []byte{0xff, 0xc2}, 1)
	for name, c := range map[string]struct {
		photo []byte
		want  string
		err   error
	}{
		"a JPEG":                     {good, lent, nil},
		"a screenshot":               {asPNG(t, photo(t, lent, 828, 1792)), lent, nil},
		"8 MP":                       {asJPEG(t, photo(t, lent, 3264, 2448)), lent, nil},
		"in colours":                 {asPNG(t, inColours(photo(t, lent, 600, 600))), lent, nil},
		"another kind of QR code":    {asPNG(t, photo(t, "https://www.example.fr/menu", 600, 600)), "https://www.example.fr/menu", nil},
		"50 MP":                      {asJPEG(t, image.NewGray(image.Rect(0, 0, 8160, 6144))), "", ErrLarge},
		"a cat":                      {asJPEG(t, cat()), "", ErrNoCode},
		"all white":                  {asPNG(t, image.NewGray(image.Rect(0, 0, 9, 9))), "", ErrNoCode},
		"one pixel":                  {asPNG(t, image.NewGray(image.Rect(0, 0, 1, 1))), "", ErrNoCode},
		"half a photo":               {good[:len(good)/2], "", ErrPicture},
		"its head":                   {good[:20], "", ErrPicture},
		"nothing":                    {nil, "", ErrPicture},
		"a text":                     {[]byte(lent), "", ErrPicture},
		"a GIF":                      {[]byte("GIF89a\x01\x00\x01\x00\x80\x00\x00"), "", ErrPicture},
		"a bomb":                     {bomb(100_000, 100_000, false), "", ErrLarge},
		"a bomb in one row":          {bomb(1<<31-1, 1, false), "", ErrLarge},
		"a bomb of deep colours":     {bomb(2800, 2800, true), "", ErrLarge},
		"a bomb of printing inks":    {cmykBomb(0xc0, 2800, 2800), "", ErrLarge},
		"a progressive bomb of inks": {cmykBomb(0xc2, 1500, 1500), "", ErrLarge},
		"a small one of inks":        {cmykBomb(0xc2, 1000, 1000), "", ErrPicture},
		"a bomb without pixels":      {bomb(2800, 2800, false), "", ErrPicture},
		"a progressive JPEG of 6 MP": {progressive, "", ErrLarge},
		"such a one with a preview":  {withSegment(progressive, 0xe1, strings.ReplaceAll(exif, "\xc2", "\xc0")), "", ErrLarge},
		"6 MP with a preview":        {withSegment(six, 0xe1, exif), lent, nil},
		"6 MP with appended data":    {append(slices.Clip(six), exif...), lent, nil},
	} {
		got, err := ReadCode(c.photo)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	reading <- struct{}{}
	defer func() { <-reading }()
	if _, err := ReadCode(good); !errors.Is(err, ErrReading) {
		t.Errorf("while another is read: %v", err)
	}
}

// TestMemoryOfPhotos: a picture that claims to be huge is refused before its pixels take memory.
func TestMemoryOfPhotos(t *testing.T) {
	for _, b := range [][]byte{bomb(100_000, 100_000, false), bomb(2800, 2800, true), bomb(1<<31-1, 1<<31-1, true)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readCode(b)
		runtime.ReadMemStats(&after)
		if bytes := after.TotalAlloc - before.TotalAlloc; err == nil || bytes > 1_000_000 {
			t.Errorf("%d bytes are allocated: %v", bytes, err)
		}
	}
}

func inColours(p *image.Gray) image.Image {
	c := image.NewNRGBA(p.Rect)
	for i, v := range p.Pix {
		c.Pix[4*i], c.Pix[4*i+1], c.Pix[4*i+2], c.Pix[4*i+3] = v, v/2+100, v, 255
	}
	return c
}

// FuzzReadCode: no file makes the program panic.
func FuzzReadCode(f *testing.F) {
	f.Add(asPNG(f, photo(f, lent, 300, 300)))
	f.Add(asJPEG(f, photo(f, lent, 300, 300)))
	f.Add(bomb(10, 10, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		if text, err := readCode(b); err != nil && text != "" {
			t.Errorf("%q and %v", text, err)
		}
	})
}

// FuzzFrame: the frame that is found is the one that image/jpeg reads.
func FuzzFrame(f *testing.F) {
	good := asJPEG(f, photo(f, lent, 100, 100))
	f.Add(good)
	f.Add(good[:20])
	f.Add(withSegment(good, 0xe1, exif))
	f.Add(withSegment(good, 0xfe, exif))
	f.Add(bytes.Replace(good, []byte{0xff, 0xc0}, []byte{0xff, 0xff, 0xff, 0xc2}, 1))
	f.Add(slices.Concat(good[:2], []byte("between\xff\x00\xff\xd0"), good[2:]))
	f.Add([]byte("\xff\xd8\xff\xe1\x00\x00\xff\xc2"))
	f.Fuzz(func(t *testing.T, b []byte) {
		at := frame(b)
		if at >= 0 && (at < 1 || b[at-1] != 0xff) {
			t.Fatalf("there is no marker at %d", at)
		}
		if _, err := jpeg.DecodeConfig(bytes.NewReader(b)); err != nil {
			return
		}
		if at < 0 {
			t.Fatal("no frame is found")
		}
		b = slices.Clone(b)
		b[at] = 0xc3 // a lossless frame, which image/jpeg does not decode
		if _, err := jpeg.DecodeConfig(bytes.NewReader(b)); err == nil {
			t.Errorf("image/jpeg reads another frame than the one at %d", at)
		}
	})
}

// TestRender: every page is complete, and escaped, in every language.
func TestRender(t *testing.T) {
	t.Parallel()
	l := New(Options{Room: &Room{}, Now: time.Now, Name: func() string { return "<b>" }})
	catalog := web.NewCatalog(l.Share())
	for _, code := range []string{"fr", "en", "ar", "es", "pt", "uk"} {
		w := catalog.Language(code)
		f := web.Frame{Words: w, Title: "T", Centre: `L’<b>"atelier"</b> & co`, Hostname: "partage.internal", Path: "/"}
		o := Offer{ID: "x", Number: 42, Network: "<b>", Lender: "<i>", Cap: 12e9, Until: "2026-12-21"}
		terms := NewTerms(w, url.Values{LenderField: {`"><i>`}}, noon, true)
		accepted, refused := o, o
		accepted.Answer, accepted.Page, refused.Answer = Accepted, "/lender/x", Refused
		up := web.Link{Href: "/admin/", Text: "<b>"}
		words := []string{
			"gone", "busy", "settled", "picture", "large", "no-code", "reading", "no-file", "not-wifi", "open", "own", "network",
			"password", "unplugged", "listen", "qr-cut", "qr-long", "qr-wep", "qr-login", "qr-both", "qr-kind", "qr-password",
		}
		pages := []web.Page{
			startPage{Frame: f, Sizes: []string{Means(w, 12e9)}, Name: "<b>", Form: FormPath},
			FormPage{Frame: f, Terms: terms, Network: "<i>"},
			FormPage{Frame: f, Terms: NewTerms(w, nil, noon, false), Problems: []string{"network", "password", "size", "until", "past", "far", "lender", "own", "full", "often"}},
			WaitPage{Frame: f, Offer: o, Means: "<b>", Day: "<i>"}, WaitPage{Frame: f, Offer: accepted}, WaitPage{Frame: f, Offer: refused},
			OverPage{Frame: f, Donation: "<b>", Gave: "<i>", Day: "<b>"},
			DeskPage{Frame: f, Up: up},
			DeskPage{Frame: f, Up: up, Waiting: []OfferCard{{Offer: o, Means: "<b>"}, {Offer: Offer{ID: "y"}}}, Plugged: []Plugged{{Works: true}, {}}, Heard: []Heard{{"<b>", true}, {"<i>", false}}, Offers: "<b>"},
			LoanPage{Frame: f, Terms: terms, Up: up, Offer: o, Same: "<b>"}, LoanPage{Frame: f, Terms: terms, Up: up, Cable: "usb"},
		}
		for _, word := range words {
			pages = append(pages, DeskPage{Frame: f, Up: up, Problem: word, Network: `"><i>`, Listened: true, Offers: "x"})
		}
		for _, word := range []string{"accepted", "same", "known", "refused", "failed"} {
			pages = append(pages, DonePage{Frame: f, Up: up, Word: word, Donation: "<b>", Link: "https://<i>", Size: 40, Modules: "M0 0", Detail: "<b>"})
		}
		for _, p := range pages {
			d, err := web.NewDocument(p)
			if err != nil {
				t.Errorf("%s: %v", code, err)
				continue
			}
			answer := httptest.NewRecorder()
			d.Serve(answer, httptest.NewRequest("GET", "/", nil), 200)
			page, policy := answer.Body.String(), answer.Header().Get("Content-Security-Policy")
			if len(page) > 60_000 {
				t.Errorf("%s in %s has %d bytes", p.Template(), code, len(page))
			}
			for _, flaw := range webtest.Flaws(code, page, policy) {
				t.Errorf("%s: %s", p.Template(), flaw)
			}
		}
	}
	if doors(catalog.Language("fr"))[0].Href != Path || !slices.Contains(Sizes, UsualSize) || !slices.Contains(Spans, usualSpan) {
		t.Error("a form starts with what it does not offer")
	}
}
