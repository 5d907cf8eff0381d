package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	fleetcommand "passerelle/appliance/fleet/command"
	"passerelle/appliance/fleet/protocol"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// wire is a TLS proxy in front of a hub: it has the hub's certificate, forwards everything, and keeps what boxes send in plain text.
type wire struct {
	mu   sync.Mutex
	sent bytes.Buffer
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent.Write(p)
}

// all returns what boxes have sent.
func (w *wire) all() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.sent.Bytes())
}

// tap puts a wire in front of a hub that listens elsewhere.
func (h *testHub) tap(at, to string) *wire {
	h.b.t.Helper()
	dir := filepath.Join(h.dir, "hub-1")
	both := filepath.Join(dir, "tls.pem") // the certificate and its key
	own, err := tls.LoadX509KeyPair(both, both)
	h.b.must(err)
	roots, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	h.b.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	l, err := h.b.scene.Internet.Listen("tcp", at)
	h.b.must(err)
	w := &wire{}
	var relays sync.WaitGroup
	relays.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			relays.Go(func() {
				box := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS13})
				defer box.Close()
				if box.Handshake() != nil {
					return
				}
				plain, err := h.b.scene.Internet.Dial(h.b.t.Context(), "tcp", to)
				if err != nil {
					return
				}
				hub := tls.Client(plain, &tls.Config{RootCAs: pool, ServerName: hubHost, MinVersion: tls.VersionTLS13})
				defer hub.Close()
				relays.Go(func() {
					io.Copy(box, hub)
					box.Close()
				})
				io.Copy(io.MultiWriter(w, hub), box)
			})
		}
	})
	h.b.t.Cleanup(func() {
		l.Close()
		h.proc.Kill() // ends the connections
		relays.Wait()
	})
	return w
}

// encodings returns the forms that a text may have in what is sent.
func encodings(text []byte) (all [][]byte) {
	quoted, err := json.Marshal(string(text))
	if err != nil {
		panic(err)
	}
	var escaped strings.Builder // as in JSON that is only ASCII
	for _, r := range string(text) {
		if r < 0x80 {
			escaped.WriteRune(r)
		} else {
			escaped.WriteString(`\u` + hex.EncodeToString([]byte{byte(r >> 8), byte(r)}))
		}
	}
	all = [][]byte{text, []byte(hex.EncodeToString(text)), quoted[1 : len(quoted)-1], []byte(escaped.String()), []byte(url.QueryEscape(string(text))), []byte(url.PathEscape(string(text)))}
	for shift := range 3 { // base64, for each position in a group of three bytes; characters that depend on neighbouring bytes are left out
		const pad = "\x00\x00"
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			coded := e.EncodeToString(append([]byte(pad[:shift]), text...))
			all = append(all, []byte(coded[(shift*8+5)/6:(shift+len(text))*8/6]))
		}
	}
	return all
}

// contains returns the form in which a text was sent, in upper or lower case; nil if it was not.
func contains(sent, text []byte) []byte {
	sent = bytes.ToLower(sent)
	for _, form := range encodings(text) {
		if bytes.Contains(sent, bytes.ToLower(form)) {
			return form
		}
	}
	return nil
}

// TestWireFinds: a text is found in every form that the next test looks for.
func TestWireFinds(t *testing.T) {
	t.Parallel()
	secret := []byte("Gwenaëlle & co")
	for _, form := range encodings(secret) {
		if contains(slices.Concat([]byte("PUB up.a {\""), form, []byte("\"}")), secret) == nil {
			t.Errorf("%q is not found", form)
		}
	}
	for shift := range 3 {
		text := base64.StdEncoding.EncodeToString(slices.Concat([]byte("abc"[:shift]), secret, []byte("xyz")))
		if contains([]byte(text), secret) == nil {
			t.Errorf("%s does not have it", text)
		}
	}
	if form := contains([]byte("PUB up.lilas.abcdefghij.done"), secret); form != nil {
		t.Errorf("%q is found where it is not", form)
	}
}

// TestHubWire: a box that has residents, lenders and a centre reports a command, a search and a day to its hub. Nothing in the plain text
// of all that it sends names any of them.
func TestHubWire(t *testing.T) {
	t.Parallel()
	const (
		device, visited  = "telephone-de-maria", "clinic.example"
		lender, network  = "Gwenaëlle Le Bihan", "Livebox-Tournesol"
		street, town     = "14 rue des Cerisiers", "Pontivy-sur-Essai"
		phone, passwords = "02 97 00 11 22", "trois petits chats"
	)
	b := newBox(t, settings{}, netlab.Options{Residents: 2})
	h := b.newHub("127.0.0.1:8443")
	tapped := h.tap(netlab.WebAddr.String()+":443", "127.0.0.1:8443")
	b.scene.Internet.Names.Set(visited, netlab.NewsAddr)
	b.reload(settings{address: boxPrefix + "\"\ncountry = \"FR", more: `
[[donation]]
name = "` + lender + `"
interface = "wlan9"
cap = "2GB"
wifi = { ssid = "` + network + `", passphrase = "` + passwords + `" }
[centre]
address = "` + street + `"
postcode = "56300"
town = "` + town + `"
phone = "` + phone + `"
[fleet]
hubs = ["` + hubHost + `"]
`})
	h.do("association", "add", "asso-a")
	code := strings.TrimSpace(h.do("sticker", "make", "asso-a"))
	out := b.mustDo("fleet", "join", "--bundle", filepath.Join(h.dir, "fleet.json"), code)
	said := regexp.MustCompile(`This box is ([a-z2-7]{10})\. It shows these words:\n\n    (\w+ \w+ \w+ \w+)\n`).FindStringSubmatch(out)
	if said == nil {
		t.Fatalf("joining says:\n%s", out)
	}
	name := said[1]
	b.waitFleet("the box waits", func(f state.Fleet) bool { return f.Stage == "waiting" })
	h.do(append([]string{"box", "confirm", name}, strings.Fields(said[2])...)...)
	b.waitFleet("the box is connected", func(f state.Fleet) bool { return f.Connected && !f.Contact.IsZero() })

	r, other := b.scene.Residents[0], b.scene.Residents[1]
	b.must(r.SetMAC(net.HardwareAddr{0xd6, 0x1c, 0x9e, 0x44, 0x07, 0xfa}))
	b.newcomer(r)
	_, err := r.Run(t.Context(), "busybox", "udhcpc", "-f", "-q", "-n", "-x", "hostname:"+device, "-F", device, "-i", "wlan0", "-s", "/bin/true")
	b.must(err)
	b.waitOnline(r)
	if reply, err := r.Get(t.Context(), "http://"+visited+"/"); err != nil || reply.Status != 200 {
		t.Fatalf("%d, %v", reply.Status, err)
	}
	_, err = r.Query(t.Context(), r.Lease().Router, "nowhere-to-go.example", dnsmessage.TypeA)
	b.must(err)
	b.join(other)
	b.mustDo("pause")
	b.mustDo("resume")
	b.waitState(state.Sharing)

	h.send(name, fleetcommand.Diagnose)
	// The day is written a minute after the clock was trusted, and is sent with the next round.
	//
	// arrived tells whether the box has sent a complete message of NATS's client protocol with a report. PUB is matched with the whole
	// subject, because the box also requests each report, with a subject that ends like the report's.
	arrived := func(report string) bool {
		sent := tapped.all()
		m := regexp.MustCompile(`PUB ` + regexp.QuoteMeta(protocol.SubjectUp("asso-a", name, "")) + report + ` \S+ (\d+)\r\n`).FindSubmatchIndex(sent)
		if m == nil {
			return false
		}
		size, err := strconv.Atoi(string(sent[m[2]:m[3]]))
		return err == nil && len(sent) >= m[1]+size
	}
	for _, what := range []string{protocol.Done, protocol.Diagnosis} {
		wait(t, what, func() error {
			if !arrived(what) {
				return errors.New("it is not on the wire")
			}
			return nil
		})
	}
	const day = `day\.\S+` // a day in the box's zone, where it may already be tomorrow
	for end := time.Now().Add(3 * time.Minute); !arrived(day); time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatalf("no report of the day; the fleet is %+v", b.waitFleet("", func(state.Fleet) bool { return true }))
		}
		if f := b.waitFleet("", func(state.Fleet) bool { return true }); f.Unshown > 0 {
			h.send(name, fleetcommand.Resume) // this wakes the box
		}
	}

	sent := tapped.all()
	t.Logf("%d bytes", len(sent))
	secrets := map[string][]byte{}
	for _, text := range []string{
		device, visited, "nowhere-to-go", lender, "Gwenaëlle", network, "Tournesol", street, "Cerisiers", town, "Pontivy", "56300", phone, strings.ReplaceAll(phone, " ", ""),
		passwords, "Centre social des Lilas", "Lilas", "Fibre du centre", "partage.internal", "wlan9", "wlan0", "eth0",
	} {
		secrets[text] = []byte(text)
	}
	for _, someone := range []*netlab.Resident{r, other} {
		mac, address := someone.MAC.String(), someone.Lease().Address.Addr()
		raw := address.As4()
		secrets[mac+", raw"], secrets[mac], secrets[mac+" with -"] = someone.MAC, []byte(mac), []byte(strings.ReplaceAll(mac, ":", "-"))
		secrets[mac+" without :"], secrets[address.String()] = []byte(strings.ReplaceAll(mac, ":", "")), []byte(address.String())
		secrets[address.String()+", raw"] = raw[:]
	}
	secrets["the box's address"] = []byte(netip.MustParsePrefix(boxPrefix).Addr().String())
	for what, text := range secrets {
		if form := contains(sent, text); form != nil {
			at := bytes.Index(bytes.ToLower(sent), bytes.ToLower(form))
			t.Errorf("%s is sent, as %q: …%q…", what, form, sent[max(0, at-60):min(len(sent), at+60)])
		}
	}
	// The test sees what is sent: it contains the box's name, which the hub chose.
	for _, text := range []string{name, `"code":"interface-missing"`, "CONNECT "} {
		if !bytes.Contains(sent, []byte(text)) {
			t.Errorf("%q is not on the wire: is it the box's?", text)
		}
	}
}
