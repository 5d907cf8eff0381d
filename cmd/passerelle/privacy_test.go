package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/netctl/netlab"
)

// TestPrivacy: who was there and what they looked at is in no file that outlives the machine's memory and in no log, not
// even with --verbose. In memory, leases and sessions that are set aside hold addresses, for root alone and as long as they
// must: until five minutes after a stop.
func TestPrivacy(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{}, netlab.Options{Residents: 2})
	r, guest := b.scene.Residents[0], b.scene.Residents[1]
	b.scene.Internet.Names.Set("clinic.example", netlab.NewsAddr)
	const device, secret, lost = "telephone-de-maria", "clinic.example", "nowhere-to-go.example"
	browse := func() {
		t.Helper()
		b.waitOnline(r)
		if reply, err := r.Get(t.Context(), "http://"+secret+"/"); err != nil || reply.Status != 200 {
			t.Fatalf("%d, %v", reply.Status, err)
		}
		_, err := r.Query(t.Context(), r.Lease().Router, lost, dnsmessage.TypeA)
		b.must(err)
	}
	b.newcomer(r)
	// The device tells its name to whoever gives addresses.
	_, err := r.Run(t.Context(), "busybox", "udhcpc", "-f", "-q", "-n", "-x", "hostname:"+device, "-F", device, "-i", "wlan0", "-s", "/bin/true")
	b.must(err)
	browse()
	b.join(guest)
	b.say(guest, "GET / HTTP/1.1\r\nHost: "+secret+"\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
	b.say(guest, "not a request\r\n\r\n")
	b.press(guest, "/stay")
	b.mustDo("pause")
	b.held(r)
	b.mustDo("resume")
	browse()
	b.press(r, "/session/end")
	b.admit(r)
	b.kill()
	b.restart()
	browse()
	b.run("sh", "-ec", "iptables -t mangle -F; ipset flush pas-who")
	b.waitOnline(r)
	status := b.mustDo("status") + b.mustDo("status", "--json")
	leases := []netlab.Lease{r.Lease(), guest.Lease()}
	b.stop()

	secrets := []string{device, secret, "nowhere-to-go"}
	var addresses []string
	for i, someone := range []*netlab.Resident{r, guest} {
		mac := someone.MAC.String()
		addresses = append(addresses, leases[i].Address.Addr().String(), mac, strings.ToUpper(mac),
			strings.ReplaceAll(mac, ":", ""), strings.ReplaceAll(mac, ":", "-"))
	}
	tells := func(where, text string, of []string) {
		t.Helper()
		for _, s := range of {
			if strings.Contains(text, s) {
				t.Errorf("%s tells %s", where, s)
			}
		}
	}
	log := b.said()
	if !strings.Contains(log, "level=DEBUG") || !strings.Contains(log, "child says") {
		t.Error("the log is not a verbose one")
	}
	tells("the log", log, append(secrets, addresses...))
	tells("status", status, append(secrets, addresses...))

	files := func(allowed map[string]bool) {
		t.Helper()
		read := 0
		b.must(filepath.WalkDir(b.scene.Box.Path("/"), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			read++
			tells(path, string(text), secrets)
			tells(path, path, append(secrets, addresses...))
			if !allowed[path] {
				tells(path, string(text), addresses)
				return nil
			}
			delete(allowed, path)
			if info, err := entry.Info(); err != nil || info.Mode() != 0o600 {
				t.Errorf("%s is for others to read, too: %v, %v", path, info.Mode(), err)
			}
			return nil
		}))
		if read < 4 || len(allowed) > 0 {
			t.Errorf("%d files were read, and these not: %v", read, allowed)
		}
	}
	files(map[string]bool{b.path("leases"): true, b.path("sessions.json"): true})

	// Five minutes later.
	aside, err := paths{socket: b.socket()}.readAside()
	b.must(err)
	aside.At -= asideFor
	b.must(writeJSON(b.path("sessions.json"), aside))
	b.waitProcesses("")
	files(nil)
}
