package poster

import (
	"bytes"
	"image"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"passerelle/appliance/config"
	"passerelle/appliance/hours"
	"passerelle/captive/web/webtest"
	"passerelle/netctl/netlab/labtest"
)

// now is Saturday 21 November 2026, 15:10.
var now = time.Date(2026, 11, 21, 15, 10, 0, 0, time.UTC)

const fingerprint = "92:CE:1F:46:61:F5:AC:10 7B:5F:23:EE:F1:EE:B3:0F B2:02:39:61:CE:1C:6F:70 CB:8C:2E:AC:17:96:95:26"

// boxes returns boxes with usual and with awkward names.
func boxes(t *testing.T) map[string]Box {
	t.Helper()
	week, err := hours.Parse("Mo-Fr 09:00-12:00,14:00-18:00; Sa 09:00-12:30")
	if err != nil {
		t.Fatal(err)
	}
	days, err := hours.Parse("Mo 09:00-12:00,14:00-18:00; Tu 10:00-19:00; We 09:00-12:00; Th 08:30-17:45; Fr 14:00-18:00; Sa 09:00-12:30")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]Box{
		"open":    {Centre: "Centre social des Lilas", SSID: "Les Lilas partagent", Hostname: "partage.internal", Hours: week},
		"hostile": {Centre: "L’Étape", SSID: `";\,: 🌉 "é;`, Password: `";\,:\\;;";"`, Hostname: "partage.internal"},
		"long": {
			Centre: "Maison de quartier et centre socioculturel intercommunal Pierre-et-Marie-Curie-d", SSID: `;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;`,
			Password: strings.Repeat(`\`, 63), Hostname: "partage-de-la-maison-du-quartier.internal", Hours: days,
		},
		"unknown": {Centre: strings.Repeat("W", 80), Hostname: "partage.internal"},
	}
	for name, b := range all {
		b.Now = now
		if name != "unknown" {
			b.Fingerprint = fingerprint
		}
		b.Join = config.FormatWiFiQR(config.WiFi{SSID: config.SSID(b.SSID), Passphrase: b.Password})
		all[name] = b
	}
	return all
}

// TestSheets: what a poster says, in each language.
func TestSheets(t *testing.T) {
	t.Parallel()
	b := boxes(t)["open"]
	sheets, err := New(b, "fr", "ar", "xx", "uk")
	if err != nil || len(sheets) != 3 {
		t.Fatalf("%d sheets, %v", len(sheets), err)
	}
	s := sheets[0]
	if s.Steps[0].Text != "Rejoignez le Wi\u2011Fi" || s.Steps[0].Typed[0].Value != b.SSID || len(s.Steps[0].Typed) != 1 || len(s.Facts) != 4 {
		t.Errorf("the first sheet is %+v", s)
	}
	if got := s.Hours[0]; got.Days != "Du lundi au vendredi" || got.Times != "de 9\u202fh à 12\u202fh, de 14\u202fh à 18\u202fh" {
		t.Errorf("hours are %q", got)
	}
	for _, s := range sheets {
		if s.Fingerprint != fingerprint || !strings.Contains(s.Certificate, "SHA-256") || !strings.Contains(s.Certificate, b.Hostname) {
			t.Errorf("%s: the certificate is %q %q", s.Words.Code, s.Certificate, s.Fingerprint)
		}
	}
	b = boxes(t)["unknown"]
	if sheets, err = New(b, "en"); err != nil || len(sheets[0].Steps) != 1 || sheets[0].Hours != nil || sheets[0].Certificate+sheets[0].Fingerprint != "" {
		t.Errorf("a box whose network is not known: %+v, %v", sheets, err)
	}
}

// TestPDFLanguages: a PDF can be made only in languages whose letters its fonts have.
func TestPDFLanguages(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"fr", "en", "es", "pt", "ar", "uk"} {
		sheets, err := New(boxes(t)["open"], code)
		if err != nil {
			t.Fatal(err)
		}
		s := sheets[0]
		said := []string{s.Title, s.Desk, s.Gesture, s.Here, s.Certificate, s.Facts[0].Text, s.Facts[1].Text, s.Facts[2].Text, s.Facts[3].Text}
		for _, step := range s.Steps {
			said = append(said, step.Text, step.Typed[0].Label)
		}
		for _, d := range s.Hours {
			said = append(said, d.Days, d.Times)
		}
		if lacks := strings.Contains(latin(strings.Join(said, "")), "?"); lacks == InPDF(code) {
			t.Errorf("%s: letters are lacking: %v", code, lacks)
		}
		for _, size := range Sizes {
			if err := PDF(io.Discard, size, sheets); (err == nil) != InPDF(code) {
				t.Errorf("%s, %s: %v", code, size, err)
			}
		}
	}
	if err := PDF(io.Discard, A4, nil); err == nil {
		t.Error("no sheets make a PDF")
	}
}

func TestLatin(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"L’été\u202f!": "L\x92\xe9t\xe9\xa0!", "Wi\u2011Fi": "Wi-Fi", "Łódź ő": "?\xf3dz o", "🌉": "?", "œ €": "\x9c \x80",
	} {
		if got := latin(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// TestCodesInPDF reads every code back from the rendered pages.
func TestCodesInPDF(t *testing.T) {
	labtest.Root(t, "pdftoppm", "pdftotext")
	t.Parallel()
	for name, b := range boxes(t) {
		for _, size := range Sizes {
			sheets, err := New(b, "fr", "pt")
			if err != nil {
				t.Fatal(err)
			}
			var file bytes.Buffer
			if err := PDF(&file, size, sheets); err != nil {
				t.Fatalf("%s, %s: %v", name, size, err)
			}
			pages, said := render(t, file.Bytes())
			// Stickers, which are for residents, do not have it.
			if has, want := strings.Contains(said, b.Fingerprint[:min(23, len(b.Fingerprint))]), size != Stickers; b.Fingerprint != "" && has != want {
				t.Errorf("%s, %s: the fingerprint is there: %v", name, size, has)
			}
			if len(pages) != len(sheets) {
				t.Errorf("%s, %s: %d pages for %d sheets", name, size, len(pages), len(sheets))
			}
			for n, p := range pages {
				if dir := os.Getenv("SCREENSHOTS"); dir != "" {
					save(t, p, filepath.Join(dir, "poster-"+name+"-"+string(size)+"-"+sheets[n].Words.Code+".png"))
				}
			}
			page := pages[0]
			w, h := page.Bounds().Dx(), page.Bounds().Dy()
			parts := []image.Rectangle{image.Rect(0, 0, w/2, h), image.Rect(w/2, 0, w, h)}
			if size == Stickers { // the first and the last sticker with codes
				y := h / 25
				parts = []image.Rectangle{
					image.Rect(0, y, w/4, y+h/4), image.Rect(w/4, y, w/2, y+h/4),
					image.Rect(w/2, y+h*45/100, w*3/4, y+h*70/100), image.Rect(w*3/4, y+h*45/100, w, y+h*70/100),
				}
			}
			want := []string{b.Join, "http://" + b.Hostname + "/"}
			if b.SSID == "" { // there is only one code, in the middle of a poster and of each sticker
				parts, want = []image.Rectangle{image.Rect(0, h/25, w/2, h*29/100)}, want[1:]
				if size != Stickers {
					parts[0] = page.Bounds()
				}
			}
			for i, part := range parts {
				got, err := webtest.ReadCode(page.(*image.RGBA).SubImage(part))
				if want := want[i%len(want)]; err != nil || got != want {
					t.Errorf("%s, %s, code %d says %q, %v; want %q", name, size, i, got, err, want)
				}
			}
		}
	}
}

// render returns a PDF's pages as images at 200 dpi, and its text.
func render(t *testing.T, pdf []byte) (pages []image.Image, text string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "poster.pdf"), pdf, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("pdftoppm", "-r", "200", "-png", filepath.Join(dir, "poster.pdf"), filepath.Join(dir, "page")).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("pdftoppm: %v: %s", err, out)
	}
	said, err := exec.Command("pdftotext", filepath.Join(dir, "poster.pdf"), "-").Output()
	if err != nil {
		t.Fatalf("pdftotext: %v", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.png"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := png.Decode(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, p)
	}
	return pages, string(said)
}

func save(t *testing.T, p image.Image, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, p); err != nil {
		t.Fatal(err)
	}
}
