package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/appliance/config"
	"passerelle/appliance/doctor"
	"passerelle/appliance/logbook"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// finds runs passerelle doctor until it names the cause (a code, "" for none), and checks that the chain stops there: each listed step is
// skipped, and every independent one is checked.
func (b *box) finds(cause state.Code, skipped ...state.Step) state.Diagnosis {
	b.t.Helper()
	var d state.Diagnosis
	wait(b.t, "the doctor's finding of "+string(cause), func() error {
		cmd := program("doctor", "--json", "--socket", b.Socket)
		out, err := cmd.Output()
		if code := cmd.ProcessState.ExitCode(); code > exitFailed {
			b.t.Fatalf("it exits %d: %v", code, err)
		}
		d = state.Diagnosis{}
		if err := json.Unmarshal(out, &d); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if got := cmd.ProcessState.ExitCode() == exitFailed; got != (d.Verdict == state.Bad) {
			b.t.Errorf("the verdict is %s, the exit status %d", d.Verdict, cmd.ProcessState.ExitCode())
		}
		if d.Cause != cause {
			return fmt.Errorf("it finds %q:\n%s", d.Cause, doctor.Text(d))
		}
		return nil
	})
	if d.Took > 30_000 {
		b.t.Errorf("the search took %d ms", d.Took)
	}
	for _, step := range skipped {
		if f := stepOf(d, step); f.Verdict != state.Skipped || f.Code != "not-after" && f.Code != "not-spent" {
			b.t.Errorf("after %s, the step %s is %s: %s", cause, step, f.Verdict, f.Saw)
		}
	}
	for _, step := range []state.Step{state.StepDisk, state.StepClock, state.StepRadio, state.StepLights} {
		if f := stepOf(d, step); f.Verdict == "" || f.Code == "not-after" || f.Code == "not-in-time" {
			b.t.Errorf("after %s, the step %s is not checked: %s", cause, step, f.Saw)
		}
	}
	b.t.Logf("%s\n%s", cause, doctor.Text(d))
	return d
}

// stepOf returns the first finding of a step.
func stepOf(d state.Diagnosis, step state.Step) state.Finding {
	for _, f := range d.Steps {
		if f.Step == step {
			return f
		}
	}
	return state.Finding{}
}

// checks fails the test unless the step has this code.
func (b *box) checks(d state.Diagnosis, step state.Step, code state.Code) {
	b.t.Helper()
	if f := stepOf(d, step); f.Code != code {
		b.t.Errorf("the step %s says %s, want %s", step, f.Code, code)
	}
}

// afterLink are the steps of a line after StepLink.
var afterLink = []state.Step{state.StepAddress, state.StepGateway, state.StepResolver, state.StepNames, state.StepTCP, state.StepPage}

// TestDoctorOfLine uses the real kernel and a real line. While all is well, no fault is found. For each fault the chain names its step and
// stops there, and once the fault is repaired, none is found.
func TestDoctorOfLine(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	l := b.scene.Lenders[0]
	well := b.finds("")
	b.checks(well, state.StepPage, "page-ok")
	b.checks(well, state.StepAnswers, "answers-ok")
	b.checks(well, state.StepPortal, "portal-ok")
	b.checks(well, state.StepDHCP, "dhcp-ok")
	if well.Verdict != state.OK || well.Bytes == 0 || well.Bytes > 10_000 {
		t.Errorf("healthy: %s, %d bytes", well.Verdict, well.Bytes)
	}
	used := func() uint64 {
		s, err := b.Status(t.Context())
		b.must(err)
		return s.Donations[0].Used
	}

	// What the search sends counts towards the cap.
	before := used()
	d := b.finds("")
	b.waitStatus("the search's bytes in the account", func(s state.Status) error {
		if now := s.Donations[0].Used; now < before+d.Bytes {
			return fmt.Errorf("%d bytes are used after %d and %d", now, before, d.Bytes)
		}
		return nil
	})

	mended := func(fault string, f func() error) {
		t.Helper()
		if err := f(); err != nil {
			t.Fatalf("mend %s: %v", fault, err)
		}
		b.finds("")
	}

	b.must(l.LAN.Cut())
	b.finds("link-unplugged", afterLink...)
	mended("the cable", l.LAN.Restore)

	b.must(l.Unplug())
	b.finds("interface-missing", append([]state.Step{state.StepLink}, afterLink...)...)
	mended("the adapter", l.Plug)

	b.must(b.scene.Box.RemoveAddresses(l.Interface))
	b.finds("address-none", afterLink[1:]...)
	mended("the address", l.Configure)

	b.run("ip", "route", "del", "default")
	b.finds("gateway-no-route", afterLink[2:]...)
	b.run("ip", "route", "add", "default", "via", l.Gateway.String(), "dev", l.Interface)
	b.finds("")

	_, err := l.Router.Run(t.Context(), "ip", "link", "set", "lan", "arp", "off")
	b.must(err)
	b.finds("gateway-silent", afterLink[2:]...)
	mended("the gateway", func() error {
		_, err := l.Router.Run(t.Context(), "ip", "link", "set", "lan", "arp", "on")
		return err
	})

	mend := func(rule string) func() error { return func() error { return b.firewall(l, rule) } }
	b.must(b.firewall(l, "-I FORWARD -p tcp -j DROP"))
	b.finds("tcp-blocked", state.StepPage)
	mended("connections", mend("-D FORWARD -p tcp -j DROP"))

	// A captive portal on the line answers every request with its own page.
	b.must(l.Router.ServeHTTP(":8080", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "<html><title>Bienvenue</title>Connectez-vous</html>")
	})))
	const hijack = " PREROUTING -t nat -i lan -p tcp --dport 80 -j REDIRECT --to-ports 8080"
	b.must(b.firewall(l, "-I"+hijack))
	d = b.finds("page-portal")
	b.checks(d, state.StepTCP, "tcp-ok")
	mended("the sign-in", mend("-D"+hijack))
}

// TestDoctorOfNames: name servers that are silent, refuse, cannot reach anything or know nothing are distinguished.
func TestDoctorOfNames(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{})
	l := b.scene.Lenders[0]
	now := b.answersItself(l)
	code := func(c dnsmessage.RCode) func([]byte) []byte {
		return func(packet []byte) []byte {
			var m dnsmessage.Message
			if m.Unpack(packet) != nil {
				return nil
			}
			m.Response, m.RCode, m.Answers = true, c, nil
			out, err := m.Pack()
			if err != nil {
				return nil
			}
			return out
		}
	}
	now.to(func([]byte) []byte { return nil })
	b.finds("resolver-silent", state.StepNames, state.StepTCP, state.StepPage)
	for c, want := range map[dnsmessage.RCode]state.Code{
		dnsmessage.RCodeRefused: "names-refused", dnsmessage.RCodeServerFailure: "names-servfail", dnsmessage.RCodeNameError: "names-missing",
	} {
		now.to(code(c))
		d := b.finds(want, state.StepTCP, state.StepPage)
		b.checks(d, state.StepResolver, "resolver-ok")
	}
	now.to(b.scene.Internet.Names.Reply)
	b.waitState(state.Sharing)
	b.finds("")
}

// TestDoctorOfPool: a full pool is found.
func TestDoctorOfPool(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{address: "10.80.0.1/29"}, netlab.Options{Residents: 5})
	d := b.finds("")
	b.checks(d, state.StepDHCP, "dhcp-ok")
	for _, r := range b.scene.Residents {
		b.join(r)
	}
	b.finds("dhcp-full")
}

// TestDoctorOfDisk: a full disk is found, and no test file is left behind.
func TestDoctorOfDisk(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{cap: "0"}, netlab.Options{})
	b.run("mkdir", "-p", b.State)
	b.run("mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", b.State)
	b.start()
	b.waitState(state.Sharing)
	b.mustDo("clock", "--confirm")
	b.finds("")
	filler := filepath.Join(b.State, "filler")
	b.run("sh", "-c", "cat /dev/zero >"+filler+" 2>/dev/null || true")
	b.finds("disk-full")
	b.run("rm", filler)
	b.finds("")
	if files := b.run("ls", b.State); strings.Contains(files, "doctor") {
		t.Errorf("a test file is left: %s", files)
	}
}

// TestDoctorOfClock: a clock that is not confirmed is found.
func TestDoctorOfClock(t *testing.T) {
	t.Parallel()
	b := newScene(t, settings{}, netlab.Options{})
	b.start()
	b.waitState(state.Sharing)
	b.finds("clock-untrusted")
}

// TestDoctorOfCap: a spent cap is found, and only DNS queries are sent on its line.
func TestDoctorOfCap(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{cap: "6MB", data: "0", down: "8mbit"}, netlab.Options{})
	r := b.scene.Residents[0]
	b.newcomer(r)
	b.hungry(r)
	b.waitState(state.Exhausted)
	d := b.finds("cap-spent", state.StepTCP, state.StepPage)
	if d.Bytes > 1000 {
		t.Errorf("%d bytes were sent at a spent cap", d.Bytes)
	}
}

// TestDoctorWithoutDaemon: doctor says what can be known about a box that is not running, and what cannot.
func TestDoctorWithoutDaemon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := program("doctor", "--json", "--socket", filepath.Join(dir, "none.sock"), "--config", filepath.Join(dir, "none.toml"))
	out, err := cmd.Output()
	var d state.Diagnosis
	if cmd.ProcessState.ExitCode() != exitFailed || json.Unmarshal(out, &d) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if d.Cause != "daemon-stopped" || stepOf(d, state.StepConfig).Code != "config-missing" || !strings.Contains(stepOf(d, state.StepDaemon).Do, "systemctl") {
		t.Errorf("%s:\n%s", d.Cause, doctor.Text(d))
	}
}

// TestSupportIsClean: the file that a centre sends to people who help contains nothing of residents, lenders or secrets, wherever a working
// box has them. Each is planted, and searched for in every unpacked member, and in the file itself. The log that people read is as clean.
func TestSupportIsClean(t *testing.T) {
	t.Parallel()
	const (
		ssid, passphrase   = "iPhone d'Élise", "motdepasse-du-telephone"
		lender, note       = "Téléphone d'Ana Muller", "appeler Jeanne au 0611223344"
		device, visited    = "telephone-de-maria", "clinic.example"
		posted, asked      = "Je prete une perceuse rouge", "Que pensez-vous de la salle bleue"
		calendar, phone    = "prive-7f3a9c", "01 98 76 54 32"
		street, technician = "17 rue des Marronniers", "trois petits chats gris"
	)
	conf := settings{more: `
[[donation]]
name = "` + lender + `"   # ` + note + `
interface = "wlan9"
cap = "2GB"
wifi = { ssid = "` + ssid + `", passphrase = "` + passphrase + `" }
priority = 2
[board]
enabled = true
[centre]
phone = "` + phone + `"
address = "` + street + `"
[agenda]
url = "http://calendar.example/` + calendar + `.ics"
`}
	b := newScene(t, conf, netlab.Options{Residents: 1})
	b.must(b.Configure(strings.Replace(conf.String(), `radio = "none"`, "radio = \"none\"\ncountry = \"FR\"", 1)))
	b.start()
	b.waitState(state.Sharing)
	code, err := b.SetupCode(t.Context())
	b.must(err)
	r := b.scene.Residents[0]
	b.scene.Internet.Names.Set(visited, netlab.NewsAddr)
	b.newcomer(r)
	_, err = r.Run(t.Context(), "busybox", "udhcpc", "-f", "-q", "-n", "-x", "hostname:"+device, "-F", device, "-i", "wlan0", "-s", "/bin/true")
	b.must(err)
	if reply, err := r.Get(t.Context(), "http://"+visited+"/"); err != nil || reply.Status != http.StatusOK {
		t.Fatalf("%d, %v", reply.Status, err)
	}
	if reply, err := r.Post(t.Context(), portal+"/board/new", strings.NewReader(url.Values{
		"side": {"offer"}, "kind": {"lend"}, "text": {posted},
	}.Encode())); err != nil || reply.Status != http.StatusSeeOther {
		t.Fatalf("%d, %v", reply.Status, err)
	}
	b.mustDo("opinion", "question", "--state", b.State, "--choice", "yes:Oui", "--choice", "Non", asked)
	link := strings.TrimSpace(b.mustDo("lender", lender))
	token := regexp.MustCompile(`/lender/([a-z0-9]+)`).FindStringSubmatch(link)
	if token == nil || code == "" {
		t.Fatalf("the link is %q, the code %q", link, code)
	}
	hash := sha256.Sum256([]byte(token[1]))
	b.say(r, "GET / HTTP/1.1\r\nHost: "+visited+"\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
	b.kill() // then the log mentions sessions and children that stayed
	b.restart()
	b.finds("interface-missing") // of a spare line: a warning

	mac := r.MAC.String()
	lenders := []string{ssid, lender, "Ana Muller", "Élise"} // the box's operator knows them
	secrets := []string{
		passphrase, note, "0611223344", device, visited, posted, asked, calendar, phone, street, technician, code,
		token[1], hex.EncodeToString(hash[:]), base64.StdEncoding.EncodeToString(hash[:]),
		r.Lease().Address.Addr().String(), mac, strings.ToUpper(mac), strings.ReplaceAll(mac, ":", ""), strings.ReplaceAll(mac, ":", "-"),
	}
	number := regexp.MustCompile(`^ *"[a-z_]+": [0-9]+,?$`)
	clean := func(where, text string, secrets []string) {
		t.Helper()
		for _, s := range secrets {
			quoted, err := json.Marshal(s)
			b.must(err)
			for _, form := range []string{s, string(quoted[1 : len(quoted)-1]), url.QueryEscape(s), html.EscapeString(s)} {
				if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
					t.Errorf("%s tells %q", where, form)
				}
			}
		}
		if strings.HasPrefix(text, "PK") {
			return // this is the file itself: its members were already searched for addresses
		}
		for _, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(line, "address = ") || strings.HasPrefix(line, "zones = ") || strings.HasPrefix(line, "#") || number.MatchString(line) {
				continue // the hotspot's own addresses, and public ones, in the example's comments
			}
			if logbook.HasAddress(line) {
				t.Errorf("%s has an address: %s", where, line)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "support.zip")
	b.mustDo("doctor", "--bundle", file)
	packed, err := os.ReadFile(file)
	b.must(err)
	if len(packed) > 1<<20 {
		t.Errorf("it has %d bytes", len(packed))
	}
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	b.must(err)
	members := map[string]string{}
	for _, m := range z.File {
		f, err := m.Open()
		b.must(err)
		text, err := io.ReadAll(f)
		b.must(errors.Join(err, f.Close()))
		members[m.Name] = string(text)
		clean(m.Name, string(text), append(lenders, secrets...))
		if len(text) < 20 {
			t.Errorf("%s has only %q", m.Name, text)
		}
	}
	clean("the file", string(packed), append(lenders, secrets...))
	clean("the log of the last hour", b.mustDo("doctor", "--log"), secrets)
	// The file still has what people who help need.
	for name, want := range map[string]string{
		"passerelle.toml": `name = "loan 2"`, "status.json": `"loan 1"`, "doctor.txt": "The cause: interface of loan 2", "log.txt": "is now in State sharing",
		"plan.txt": "PAS-", "versions.txt": "dnsmasq: Dnsmasq version", "board.txt": "memory: ",
	} {
		if !strings.Contains(members[name], want) {
			t.Errorf("%s has no %q:\n%s", name, want, members[name])
		}
	}
	if _, err := config.Parse("passerelle.toml", []byte(members["passerelle.toml"])); err != nil {
		t.Errorf("the configuration in it is not valid: %v", err)
	}
}
