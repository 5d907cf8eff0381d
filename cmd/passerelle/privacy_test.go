package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"passerelle/appliance/daemon"
	"passerelle/netctl/netlab"
)

// TestPrivacy: who was present and what they visited is in no persistent file and in no log, not even with --verbose. In memory, leases and
// saved sessions contain addresses, readable only by the daemon, and no longer than needed: until five minutes after a stop.
func TestPrivacy(t *testing.T) {
	t.Parallel()
	b := newBox(t, settings{more: "\n[board]\nenabled = true\n"}, netlab.Options{Residents: 2})
	r, guest := b.scene.Residents[0], b.scene.Residents[1]
	b.scene.Internet.Names.Set("clinic.example", netlab.NewsAddr)
	const device, secret, lost, asked = "telephone-de-maria", "clinic.example", "nowhere-to-go.example", "avocat-divorce"
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
	// The device sends its host name to the DHCP server.
	_, err := r.Run(t.Context(), "busybox", "udhcpc", "-f", "-q", "-n", "-x", "hostname:"+device, "-F", device, "-i", "wlan0", "-s", "/bin/true")
	b.must(err)
	browse()
	b.join(guest)
	b.say(guest, "GET / HTTP/1.1\r\nHost: "+secret+"\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
	b.say(guest, "not a request\r\n\r\n")
	b.press(guest, "/stay")
	// What a resident searches for, posts and rates.
	for _, path := range []string{"/places?q=" + asked, "/tutorials?q=" + asked, "/needs/info/d", "/needs/papers/alone/phone"} {
		if reply, err := r.Get(t.Context(), portal+path); err != nil || reply.Status != 200 {
			t.Errorf("%s: %d, %v", path, reply.Status, err)
		}
	}
	for path, form := range map[string]string{
		"/board/new": "side=offer&kind=lend&text=Une+perceuse", "/opinion/services/caf.fr": "face=bad",
	} {
		if reply, err := r.Post(t.Context(), portal+path, strings.NewReader(form)); err != nil || reply.Status != 303 {
			t.Errorf("%s: %d, %v", path, reply.Status, err)
		}
	}
	b.mustDo("pause")
	b.blocked(r)
	b.mustDo("resume")
	browse()
	b.press(r, "/session/end")
	b.admit(r)
	b.kill()
	b.restart()
	browse()
	b.run("sh", "-ec", "iptables -t mangle -F; ipset flush pas-clients")
	b.waitOnline(r)
	status := b.mustDo("status") + b.mustDo("status", "--json")
	leases := []netlab.Lease{r.Lease(), guest.Lease()}
	b.stop()

	secrets := []string{device, secret, "nowhere-to-go", asked}
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
	log := b.Log()
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
			// dnsmasq writes the leases as its own user, and the daemon reads them through its group.
			info, err := entry.Info()
			b.must(err)
			folder, err := os.Stat(filepath.Dir(b.Socket))
			b.must(err)
			if shared := info.Mode() == 0o640 && groupOf(info) == groupOf(folder); info.Mode() != 0o600 && !shared {
				t.Errorf("%s is for others to read, too: %v", path, info.Mode())
			}
			return nil
		}))
		if read < 4 || len(allowed) > 0 {
			t.Errorf("%d files were read, and these not: %v", read, allowed)
		}
	}
	files(map[string]bool{b.path("leases"): true, b.path("sessions.json"): true})

	// Five minutes later.
	aside := b.readAside()
	aside.At -= daemon.HandoverTTL
	b.writeAside(aside)
	b.waitProcesses("")
	files(nil)
}

// groupOf returns the number of a file's group.
func groupOf(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Gid }
