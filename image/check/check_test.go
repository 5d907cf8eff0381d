package check_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/image/check"
)

var (
	image  = flag.String("image", "", "the image to boot, `passerelle-VERSION-arm64.img.zst`; fail if it cannot be")
	slowly = flag.Bool("long", false, "also run the tests that take long")
)

// Emulated machines are slow, and slower where others work too.
const (
	bootLimit  = 30 * time.Minute
	shellLimit = 10 * time.Minute
)

// world is what the tests share: the image on a card that none of them changes, and one virtual machine at a time, since two
// slow each other down.
type world struct {
	dir  string
	card check.Card
}

var shared world

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if *image == "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "passerelle-image-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	unlock, err := lock()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer unlock()
	card, err := check.Write(*image, filepath.Join(dir, "card"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared = world{dir, card}
	return m.Run()
}

// lock waits for the machine of image/vm/run.
func lock() (func(), error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "passerelle/vm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
}

// newCard returns a fresh card, without -image it skips the test.
func newCard(t *testing.T) check.Card {
	t.Helper()
	if *image == "" {
		t.Skip("needs an image: run it with `make test-image`")
	}
	c, err := shared.card.Copy(filepath.Join(t.TempDir(), "card"))
	must(t, err)
	return c
}

// long skips a test that takes long, unless -long is given.
func long(t *testing.T) {
	t.Helper()
	if !*slowly {
		t.Skip("takes long: run it with `make test-image-long`")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// board starts a Raspberry Pi 3 with a card, by the U-Boot on it.
func board(t *testing.T, c check.Card) *check.Machine {
	t.Helper()
	uboot, tree := filepath.Join(t.TempDir(), "u-boot.bin"), filepath.Join(t.TempDir(), "tree")
	for to, name := range map[string]string{uboot: "u-boot.bin", tree: "bcm2837-rpi-3-b.dtb"} {
		out, err := exec.Command("mcopy", "-i", fmt.Sprintf("%s@@%d", c, 4<<20), "::"+name, to).CombinedOutput()
		if err != nil {
			t.Fatalf("take %s from the card: %v: %s", name, err, out)
		}
	}
	m, err := check.StartBoard(c, uboot, tree)
	must(t, err)
	return ends(t, m)
}

// fast starts the machine without U-Boot, with slot a of the card and a line that leads nowhere.
func fast(t *testing.T, c check.Card) *check.Machine {
	t.Helper()
	return start(t, c, check.Fast{Slot: "a"})
}

// start starts a machine without U-Boot, with simulated radios and a root shell on the serial port, which only who gives the
// kernel its arguments can have.
func start(t *testing.T, c check.Card, f check.Fast) *check.Machine {
	t.Helper()
	arguments, err := os.ReadFile("../boot/arguments")
	must(t, err)
	f.Arguments = strings.Join([]string{strings.TrimSpace(string(arguments)), "modules_load=mac80211_hwsim mac80211_hwsim.radios=2",
		"systemd.debug_shell=1 systemd.default_debug_tty=ttyAMA0", f.Arguments}, " ")
	m, err := f.Start(c, t.TempDir())
	must(t, err)
	return ends(t, m)
}

// drop drops a file on the card's FAT partition under a name, as somebody does at a PC.
func drop(t *testing.T, c check.Card, file, name string) {
	t.Helper()
	out, err := exec.Command("mcopy", "-i", fmt.Sprintf("%s@@%d", c, 4<<20), file, "::"+name).CombinedOutput()
	if err != nil {
		t.Fatalf("drop %s: %v: %s", name, err, out)
	}
}

// ends ends a machine with the test, and shows what it said if the test failed.
func ends(t *testing.T, m *check.Machine) *check.Machine {
	t.Cleanup(func() {
		m.Kill()
		out := m.Output()
		if dir := os.Getenv("IMAGE_LOGS"); dir != "" {
			name := fmt.Sprintf("%s-%d.log", t.Name(), time.Now().UnixMilli())
			_ = os.WriteFile(filepath.Join(dir, name), []byte(out), 0o644) // for who looks
		}
		if t.Failed() {
			t.Logf("the end of the serial port:\n%s", out[max(0, len(out)-4000):])
		}
	})
	return m
}

// wait waits for what the machine says on its serial port.
func wait(t *testing.T, m *check.Machine, pattern string, limit time.Duration) []string {
	t.Helper()
	groups, err := m.Wait(pattern, limit)
	must(t, err)
	return groups
}

// setup waits until the console shows a box in State setup, and returns its setup code.
func setup(t *testing.T, m *check.Machine) (code string) {
	t.Helper()
	return wait(t, m, `(?s)setup: .*?type the code (\S+)`, bootLimit)[1]
}

// prompts is how many commands were typed.
var prompts = 0

// shell runs a command in the machine's shell, and returns what it printed.
func shell(t *testing.T, m *check.Machine, command string) string {
	t.Helper()
	prompts++
	// bash would draw the line again and again while it is typed. The terminal may show what is typed: the markers are printed in
	// another way than they are typed.
	must(t, m.Type(fmt.Sprintf("exec dash\nprintf '<%%s%d>\\n' begin; %s; printf '\\n<%%s%[1]d>\\n' end\n", prompts, command)))
	out := wait(t, m, fmt.Sprintf(`(?s)<begin%d>\r?\n(.*)\n<end%[1]d>`, prompts), shellLimit)[1]
	return strings.TrimSpace(strings.ReplaceAll(out, "\r", ""))
}

// TestFirstBoot: a card as it is sold. Nothing is configured, and the box waits for its technician.
func TestFirstBoot(t *testing.T) {
	m := fast(t, newCard(t))
	code := setup(t, m)
	t.Logf("until then the emulation worked for %v", m.Work())
	if code == "" {
		t.Error("there is no setup code on the console")
	}
	for _, c := range []struct{ name, command, want string }{
		{"the root is read-only", "touch /x 2>&1 | grep -o 'Read-only file system'", "^Read-only file system$"},
		{"nobody can log in", "grep -vc '^[^:]*:!' /etc/shadow", "^0$"},
		{"updates can be asked for", "systemctl is-active passerelle-update.socket", "^active$"},
		// What mounts for all, and what writes on consoles, is not confined.
		{"our services are closed", "systemd-analyze security --no-pager | grep '^passerelle' | tee /run/security | " +
			"awk '$1 !~ /-(console|data|firmware).service$/ && $2 > 3.1 { print $1, $2 }'", "^$"},
		{"no unit failed", "systemctl --failed --no-legend --plain | cut -d ' ' -f 1", "^$"},
		{"the data partition has grown", "df -m /data | tail -1 | tr -s ' ' | cut -d ' ' -f 2", `^4\d\d$`},
		{"the configuration is on it", "findmnt -no SOURCE /etc/passerelle", `\[/etc\]$`},
		{"so is the state", "findmnt -no SOURCE /var/lib/passerelle", `\[/passerelle\]$`},
		{"the log is in memory", "ls /var/log/journal 2>&1 | grep -c 'No such'", "^1$"},
		{"there is no swap", "cat /proc/swaps | wc -l", "^1$"},
	} {
		if got := shell(t, m, c.command); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%s: %s printed %q", c.name, c.command, got)
		}
	}
	t.Log(shell(t, m, "cat /proc/meminfo | head -3; systemd-analyze; systemd-analyze blame | head -15; systemd-analyze critical-chain --no-pager"))
	t.Log(shell(t, m, "journalctl --no-pager -o short-monotonic -u 'passerelle*' | cut -c 1-200"))
	t.Log(shell(t, m, "passerelle status; cat /run/security"))
}

// TestPowerCuts: the power is cut at three moments of any kind, the first boot and its growth among them; the box has its state
// all the same.
func TestPowerCuts(t *testing.T) {
	c := newCard(t)
	code := ""
	for range 3 {
		m := fast(t, c)
		wait(t, m, `systemd|initrd|#`, bootLimit)
		pause := time.Duration(rand.Int64N(int64(40 * time.Second)))
		t.Logf("the power is cut %v after process 1 started", pause)
		if groups, err := m.Wait(`(?s)setup: .*?type the code (\S+)`, pause); err == nil {
			if code != "" && groups[1] != code {
				t.Errorf("the setup code was %s, and now is %s", code, groups[1])
			}
			code = groups[1]
		}
		m.Kill()
	}
	m := fast(t, c)
	if got := setup(t, m); code != "" && got != code {
		t.Errorf("the setup code was %s, and now is %s", code, got)
	}
	if failed := shell(t, m, "systemctl --failed --no-legend --plain"); failed != "" {
		t.Errorf("after the power cuts these units fail: %s", failed)
	}
}

// TestDataDamaged: what can't be repaired is made again, and the ledger counts as lost.
func TestDataDamaged(t *testing.T) {
	c := newCard(t)
	noise := make([]byte, 60<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	must(t, c.WriteAt(noise, (4+64+2*768)<<20))
	m := fast(t, c)
	setup(t, m)
	if got := shell(t, m, "ls /var/lib/passerelle | grep -c ledger.db"); got == "0" {
		t.Error("nothing says that the ledger was lost")
	}
	if got := shell(t, m, "findmnt -no SOURCE /var/lib/passerelle"); !strings.HasSuffix(got, "[/passerelle]") {
		t.Errorf("the state is in %s", got)
	}
}

// TestDropped: a configuration that was dropped on the FAT partition is taken before the daemon starts, and removed. No PC finds
// its password there.
func TestDropped(t *testing.T) {
	const password = "seen by nobody"
	c := newCard(t)
	text, err := os.ReadFile("../../appliance/config/example.toml")
	must(t, err)
	file := filepath.Join(t.TempDir(), "passerelle.toml")
	edited := strings.NewReplacer(`interface = "eth0"`, `interface = "wlan1"`,
		"\nwifi = {}", "\n"+`wifi = { ssid = "Voisine", passphrase = "`+password+`" }`).Replace(string(text))
	must(t, os.WriteFile(file, []byte(edited), 0o644))
	drop(t, c, file, "passerelle.toml")
	hasPassword := func() bool {
		fat, err := c.ReadAt(64<<20, 4<<20)
		must(t, err)
		return bytes.Contains(fat, []byte(password))
	}
	if !hasPassword() {
		t.Fatal("the password is not where it is looked for")
	}
	m := fast(t, c)
	// The lender's Wi-Fi is nowhere to be found.
	wait(t, m, `(?m)^(offline|closed): `, bootLimit)
	if got := shell(t, m, "ls /boot/firmware | grep -e toml -e txt"); !strings.Contains(got, "accepted.txt") || strings.Contains(got, "passerelle.toml") {
		t.Errorf("on the FAT partition there are %q", got)
	}
	for _, c := range []struct{ name, command, want string }{
		{"the configuration's donations", "grep -c '^\\[\\[donation' /etc/passerelle/passerelle.toml", "1"},
		{"the configuration's owner", "stat -c '%U %a' /etc/passerelle/passerelle.toml", "passerelle 600"},
		{"the partition afterwards", "findmnt -no OPTIONS /boot/firmware | cut -d , -f 1", "ro"},
		{"its password", "grep -c '" + password + "' /etc/passerelle/passerelle.toml", "1"},
		{"who took it", "journalctl -u passerelle-boot.service _COMM=passerelle -o json --output-fields=_UID | grep -o '_UID\":\"[0-9]*' | sort -u", `_UID":"984`},
		{"failed units", "systemctl --failed --no-legend --plain", ""},
	} {
		if got := shell(t, m, c.command); got != c.want {
			t.Errorf("%s: %s printed %q, want %q", c.name, c.command, got, c.want)
		}
	}
	m.Kill()
	if hasPassword() {
		t.Error("the password is still on the FAT partition")
	}
}

// TestBoard: a Raspberry Pi 3 by its SD card and U-Boot. Nothing is written to the slots' state, since the slot is proven.
func TestBoard(t *testing.T) {
	c := newCard(t)
	before, err := c.State()
	must(t, err)
	m := board(t, c)
	wait(t, m, "booting slot a", bootLimit)
	wait(t, m, "Starting kernel", bootLimit)
	wait(t, m, `(?m)^(setup|fault): `, bootLimit)
	m.Kill()
	after, err := c.State()
	must(t, err)
	if before != after {
		t.Errorf("the slots' state was %q and is %q", before, after)
	}
}

// TestFallback: an unproven slot b whose root cannot be mounted is tried as often as it may be, then the box goes back to a.
func TestFallback(t *testing.T) {
	long(t)
	c := newCard(t)
	// b has a's kernel, and no root.
	at := int64((4+64+768)<<20 - 64<<20)
	container, err := c.ReadAt(64<<20, at)
	must(t, err)
	must(t, c.WriteAt(container, at+768<<20))
	must(t, c.WriteState("good=a serial=9 slot=b tries=2"))

	// QEMU's board does not come back from a restart of its own: it is started again.
	for _, left := range []string{"1", "0"} {
		m := board(t, c)
		wait(t, m, "slot b is unproven: after this one "+left+" tries are left", bootLimit)
		wait(t, m, "booting slot b", bootLimit)
		wait(t, m, "slot 3 cannot be mounted", bootLimit)
		wait(t, m, "Restarting system", bootLimit)
		m.Kill()
	}
	m := board(t, c)
	wait(t, m, "slot b failed: back to a", bootLimit)
	wait(t, m, "booting slot a", bootLimit)
	wait(t, m, "Starting kernel", bootLimit)
	m.Kill()
	got, err := c.State()
	must(t, err)
	want := [2]string{"failed=b good=a serial=12 slot=a tries=0", "good=a serial=11 slot=b tries=0"}
	if got != want && got != [2]string{want[1], want[0]} {
		t.Errorf("the slots' state is %q, want %q", got, want)
	}
}

// TestNoKernel: where the unproven slot has no kernel that can be read, the other one is booted at once; where no copy of the
// state can be read, a is.
func TestNoKernel(t *testing.T) {
	long(t)
	c := newCard(t)
	must(t, c.WriteState("good=a serial=99999999 slot=b tries=1"))
	m := board(t, c)
	wait(t, m, "slot b has no kernel that can be booted", bootLimit)
	wait(t, m, "booting slot a", bootLimit)
	wait(t, m, "Starting kernel", bootLimit)
	m.Kill()

	must(t, c.WriteAt(make([]byte, 2<<20), 1<<20))
	m = board(t, c)
	wait(t, m, "no copy says which slot to boot", bootLimit)
	wait(t, m, "booting slot a", bootLimit)
	wait(t, m, "Starting kernel", bootLimit)
}
