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

// Emulated machines are slow, and slower on a busy computer.
const (
	bootLimit  = 30 * time.Minute
	shellLimit = 10 * time.Minute
)

// world is what the tests share: the image on a card that none of them changes. Only one virtual machine runs at a time, since two
// would slow each other down.
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

// lock waits until image/vm/run runs no machine.
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

// newCard returns a fresh card. Without -image it skips the test.
func newCard(t *testing.T) check.Card {
	t.Helper()
	if *image == "" {
		t.Skip("needs an image: run it with `make test-image`")
	}
	c, err := shared.card.Copy(filepath.Join(t.TempDir(), "card"))
	must(t, err)
	return c
}

// long skips a test that takes a long time, unless -long is given.
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

// board starts a Raspberry Pi 3 with a card and the card's U-Boot.
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

// fast starts the machine without U-Boot, with slot a of the card and a network cable that leads nowhere.
func fast(t *testing.T, c check.Card) *check.Machine {
	t.Helper()
	return start(t, c, check.Fast{Slot: "a"})
}

// start starts a machine without U-Boot, with simulated radios and a root shell on the serial port. Only the kernel's arguments can
// enable that shell.
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

// drop copies a file to the card's FAT partition under a name, as somebody does at a PC.
func drop(t *testing.T, c check.Card, file, name string) {
	t.Helper()
	out, err := exec.Command("mcopy", "-i", fmt.Sprintf("%s@@%d", c, 4<<20), file, "::"+name).CombinedOutput()
	if err != nil {
		t.Fatalf("drop %s: %v: %s", name, err, out)
	}
}

// ends ends a machine with the test, and shows its output if the test failed.
func ends(t *testing.T, m *check.Machine) *check.Machine {
	t.Cleanup(func() {
		m.Kill()
		out := m.Output()
		if dir := os.Getenv("IMAGE_LOGS"); dir != "" {
			name := fmt.Sprintf("%s-%d.log", t.Name(), time.Now().UnixMilli())
			_ = os.WriteFile(filepath.Join(dir, name), []byte(out), 0o644) // for reading it later
		}
		if t.Failed() {
			t.Logf("the end of the serial port:\n%s", out[max(0, len(out)-4000):])
		}
	})
	return m
}

// wait waits for a pattern on the machine's serial port.
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

// prompts counts the commands that were typed.
var prompts = 0

// shell runs a command in the machine's shell, and returns its output.
func shell(t *testing.T, m *check.Machine, command string) string {
	t.Helper()
	prompts++
	// bash would redraw the line again and again while it is typed, so use dash. The terminal may echo what is typed, so the markers
	// are typed differently from how they are printed.
	must(t, m.Type(fmt.Sprintf("exec dash\nprintf '<%%s%d>\\n' begin; %s; printf '\\n<%%s%[1]d>\\n' end\n", prompts, command)))
	out := wait(t, m, fmt.Sprintf(`(?s)<begin%d>\r?\n(.*)\n<end%[1]d>`, prompts), shellLimit)[1]
	return strings.TrimSpace(strings.ReplaceAll(out, "\r", ""))
}

// TestFirstBoot boots a fresh card. Nothing is configured, and the box waits for its technician.
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
		// Services that mount for the whole machine, or write on consoles, are not confined.
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

// TestPowerCuts cuts the power at three arbitrary moments, including the first boot, when the data partition grows. It checks that
// the box keeps its state.
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

// TestDataDamaged checks that a data partition that can't be repaired is created again, and that the ledger counts as lost.
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

// TestDropped checks that a configuration on the FAT partition is taken before the daemon starts, and removed, so that no PC finds
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
	// The lender's Wi-Fi does not exist.
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

// TestBoard boots a Raspberry Pi 3 from its SD card with U-Boot. It checks that the slot state is not written, since the slot is
// proven.
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

// TestFallback checks that an unproven slot b whose root cannot be mounted is booted until its tries are used up, and that the box
// then falls back to slot a.
func TestFallback(t *testing.T) {
	long(t)
	c := newCard(t)
	// Slot b has the kernel of slot a, and no root.
	at := int64((4+64+768)<<20 - 64<<20)
	container, err := c.ReadAt(64<<20, at)
	must(t, err)
	must(t, c.WriteAt(container, at+768<<20))
	must(t, c.WriteState("good=a serial=9 slot=b tries=2"))

	// QEMU's board does not come back after a restart, so it is started again.
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

// TestNoKernel checks that the other slot is booted at once if the unproven slot has no readable kernel, and that slot a is booted
// if no copy of the state is readable.
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
