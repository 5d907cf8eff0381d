// Package check boots the image itself in emulated machines, for the tests of make test-image: a Raspberry Pi 3 with its SD card and
// U-Boot, and a faster machine that has no U-Boot and takes kernel and initrd from the card's slot.
package check

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The layout of the card, as image/build makes it, in bytes.
const (
	mib           = 1 << 20
	fatStart      = 4 * mib
	slotStart     = fatStart + 64*mib
	slotSize      = 768 * mib
	containerSize = 64 * mib
	dataStart     = slotStart + 2*slotSize
	cardSize      = 2048 * mib // QEMU's SD cards have a size that is a power of two
)

// A Card is a file with the content of an SD card.
type Card string

// Write makes a card from a compressed image.
func Write(image, path string) (Card, error) {
	if out, err := exec.Command("zstd", "-q", "-d", "--sparse", "-f", image, "-o", path).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack %s: %w: %s", image, err, out)
	}
	return Card(path), os.Truncate(path, cardSize)
}

// Copy makes another card with the same content.
func (c Card) Copy(path string) (Card, error) {
	out, err := exec.Command("cp", "--sparse=always", string(c), path).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("copy the card: %w: %s", err, out)
	}
	return Card(path), nil
}

// WriteAt writes to the card, from an offset in bytes.
func (c Card) WriteAt(b []byte, at int64) error {
	f, err := os.OpenFile(string(c), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, at)
	return errors.Join(err, f.Close())
}

// ReadAt reads n bytes of the card.
func (c Card) ReadAt(n int, at int64) ([]byte, error) {
	f, err := os.Open(string(c))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, n)
	_, err = f.ReadAt(b, at)
	return b, err
}

// slot returns the offset of a slot, in bytes.
func slot(name string) int64 {
	if name == "b" {
		return slotStart + slotSize
	}
	return slotStart
}

// FillB copies the content of slot a to slot b, as if a release was installed there.
func (c Card) FillB() error {
	const piece = 4 * mib
	empty := make([]byte, piece)
	for at := int64(slotStart); at < slotStart+slotSize; at += piece {
		b, err := c.ReadAt(piece, at)
		if err == nil && !bytes.Equal(b, empty) {
			err = c.WriteAt(b, at+slotSize)
		}
		if err != nil {
			return fmt.Errorf("fill slot b: %w", err)
		}
	}
	return nil
}

// Parts returns the parts of a slot's container: the slot's script, the kernel (gzip), the initrd, device trees. The container is a
// U-Boot legacy multi-file image: image_header of include/image.h, a list of sizes that ends with 0, then the parts, each padded to
// 4 bytes. All numbers are big-endian.
func (c Card) Parts(name string) ([][]byte, error) {
	at := slot(name) + slotSize - containerSize
	header, err := c.ReadAt(64, at)
	if err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint32(header) != 0x27051956 {
		return nil, fmt.Errorf("slot %s has no container", name)
	}
	size := binary.BigEndian.Uint32(header[12:])
	if size > containerSize-64 {
		return nil, fmt.Errorf("slot %s's container has %d bytes: too many", name, size)
	}
	data, err := c.ReadAt(int(size), at+64)
	if err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(data) != binary.BigEndian.Uint32(header[24:]) {
		return nil, fmt.Errorf("slot %s's container is damaged", name)
	}
	parts, err := split(data)
	if err != nil {
		return nil, fmt.Errorf("slot %s's container: %w", name, err)
	}
	return parts, nil
}

// split returns the parts in a container's data.
func split(data []byte) ([][]byte, error) {
	var sizes []int
	for {
		if len(data) < 4 {
			return nil, errors.New("its list of sizes has no end")
		}
		size := int(binary.BigEndian.Uint32(data))
		data = data[4:]
		if size == 0 {
			break
		}
		sizes = append(sizes, size)
	}
	parts := make([][]byte, len(sizes))
	for i, size := range sizes {
		if size > len(data) {
			return nil, fmt.Errorf("part %d has %d bytes: too many", i, size)
		}
		parts[i] = data[:size]
		data = data[min((size+3)&^3, len(data)):]
	}
	return parts, nil
}

// squashfsHead is the size of the header of a slot's root: struct squashfs_super_block, fs/squashfs/squashfs_fs.h, little-endian.
const squashfsHead = 96

// rootHead returns when the root of slot a was made, in seconds since 1970, and its size in bytes.
func (c Card) rootHead() (made uint32, size int64, err error) {
	head, err := c.ReadAt(squashfsHead, slotStart)
	if err != nil {
		return 0, 0, err
	}
	if string(head[:4]) != "hsqs" {
		return 0, 0, errors.New("slot a has no squashfs")
	}
	used := binary.LittleEndian.Uint64(head[40:])
	if used > slotSize-containerSize {
		return 0, 0, fmt.Errorf("the root of slot a has %d bytes: too many", used)
	}
	return binary.LittleEndian.Uint32(head[8:]), int64(used), nil
}

// UnpackRoot unpacks the root of slot a to a folder, which it creates. It must run as root, because of the files' owners.
func (c Card) UnpackRoot(folder string) error {
	_, size, err := c.rootHead()
	if err != nil {
		return err
	}
	text, err := c.ReadAt(int(size), slotStart)
	if err != nil {
		return err
	}
	packed := folder + ".squashfs"
	if err := os.WriteFile(packed, text, 0o600); err != nil {
		return err
	}
	defer os.Remove(packed)
	if out, err := exec.Command("unsquashfs", "-q", "-n", "-d", folder, packed).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack the root: %w: %s", err, out)
	}
	return nil
}

// PackRoot makes a folder the root of slot a, as image/build does.
func (c Card) PackRoot(folder string) error {
	made, _, err := c.rootHead()
	if err != nil {
		return err
	}
	packed, at := folder+".squashfs", fmt.Sprint(made)
	defer os.Remove(packed)
	cmd := exec.Command("mksquashfs", folder, packed, "-quiet", "-no-progress", "-noappend", "-noI", "-noD", "-noF", "-noX",
		"-b", "128K", "-all-time", at, "-mkfs-time", at)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SOURCE_DATE_EPOCH=") })
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pack the root: %w: %s", err, out)
	}
	text, err := os.ReadFile(packed)
	if err != nil {
		return err
	}
	if len(text) > slotSize-containerSize {
		return fmt.Errorf("the root has %d bytes: too many", len(text))
	}
	return c.WriteAt(text, slotStart)
}

// stateAt are the offsets of the two copies of the slot state, in bytes.
var stateAt = []int64{mib, 2 * mib}

// WriteState writes both copies of the slot state, given as key=value separated by spaces.
func (c Card) WriteState(values string) error {
	b := make([]byte, 4096)
	copy(b[4:], strings.ReplaceAll(values, " ", "\x00"))
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[4:]))
	return c.WriteCopies(b)
}

// WriteCopies writes the same copy of the slot state to both places.
func (c Card) WriteCopies(b []byte) error {
	return errors.Join(c.WriteAt(b, stateAt[0]), c.WriteAt(b, stateAt[1]))
}

// Copies returns both copies of the slot state.
func (c Card) Copies() (copies [2][]byte, err error) {
	for i, at := range stateAt {
		if copies[i], err = c.ReadAt(4096, at); err != nil {
			return copies, err
		}
	}
	return copies, nil
}

// State returns both copies of the slot state, as key=value separated by spaces, "" for a damaged one.
func (c Card) State() (copies [2]string, err error) {
	all, err := c.Copies()
	if err != nil {
		return copies, err
	}
	for i, b := range all {
		if binary.LittleEndian.Uint32(b) == crc32.ChecksumIEEE(b[4:]) {
			text, _, _ := bytes.Cut(b[4:], []byte("\x00\x00"))
			copies[i] = strings.ReplaceAll(string(text), "\x00", " ")
		}
	}
	return copies, nil
}

// A Machine is an emulated machine. Its serial port is the test's terminal.
type Machine struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	ended chan struct{}

	mu   sync.Mutex
	out  []byte // everything received from the serial port
	seen int    // how much of it Wait has matched
}

// start runs QEMU. It dies with the test.
func start(program string, args []string) (*Machine, error) {
	m := &Machine{cmd: exec.Command(program, args...), ended: make(chan struct{})}
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := m.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	m.in = in
	m.cmd.Stdout, m.cmd.Stderr = m, m
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(m.ended)
		_ = m.cmd.Wait() // the exit status does not matter
	}()
	return m, nil
}

// emulator returns QEMU's arguments for every machine.
func emulator() []string {
	return []string{"-accel", "tcg,thread=multi,tb-size=512", "-display", "none", "-monitor", "none", "-nodefaults"}
}

// StartBoard starts a Raspberry Pi 3 with a card. QEMU starts U-Boot as the board's firmware would, which QEMU does not run.
func StartBoard(c Card, uboot, tree string) (*Machine, error) {
	return start("qemu-system-aarch64", append(emulator(), "-M", "raspi3b", "-serial", "null", "-serial", "stdio",
		"-kernel", uboot, "-dtb", tree, "-drive", "file="+string(c)+",if=sd,format=raw",
		"-device", "usb-net,netdev=line", "-netdev", "user,id=line,restrict=on"))
}

// Fast is a machine without U-Boot, with as much memory as the smallest board.
type Fast struct {
	Slot      string   // "a" or "b": the slot to boot, as the boot script would choose it
	Arguments string   // arguments of the kernel, in addition to the slot's
	Namespace string   // the network namespace of its cables, a name of `ip netns`; "" for this program's
	Cables    []string // names of tap interfaces to create there, one for each of eth0, eth1, …; none: eth0 leads nowhere
	Stick     string   // a file with the content of the USB stick that is plugged in; "" for none
	Pages     string   // an address of this computer, "127.0.0.1:PORT", that leads to the box's pages on eth0; "" for none
}

// Start starts the machine with a card. The slot's kernel and initrd are written to a folder.
func (f Fast) Start(c Card, dir string) (*Machine, error) {
	parts, err := c.Parts(f.Slot)
	if err != nil {
		return nil, err
	}
	if len(parts) < 3 {
		return nil, fmt.Errorf("slot %s's container has %d parts: too few", f.Slot, len(parts))
	}
	kernel, initrd := filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd")
	if err := errors.Join(os.WriteFile(kernel, parts[1], 0o644), os.WriteFile(initrd, parts[2], 0o644)); err != nil {
		return nil, err
	}
	args := append(emulator(), "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "512", "-serial", "stdio",
		"-no-reboot", "-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyAMA0 passerelle.slot="+f.Slot+" "+f.Arguments,
		"-drive", "file="+string(c)+",if=virtio,format=raw")
	for i, name := range f.Cables {
		args = append(args, "-netdev", fmt.Sprintf("tap,id=cable%d,ifname=%s,script=no,downscript=no", i, name),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=cable%d,mac=02:00:00:00:02:%02x,romfile=", i, i))
	}
	if len(f.Cables) == 0 {
		line := "user,id=line,restrict=on"
		if f.Pages != "" {
			line += ",hostfwd=tcp:" + f.Pages + "-:443"
		}
		args = append(args, "-netdev", line, "-device", "virtio-net-pci,netdev=line,romfile=")
	}
	if f.Stick != "" {
		args = append(args, "-device", "qemu-xhci", "-drive", "file="+f.Stick+",if=none,id=stick,format=raw",
			"-device", "usb-storage,drive=stick,removable=on")
	}
	if f.Namespace != "" {
		return start("ip", append([]string{"netns", "exec", f.Namespace, "qemu-system-aarch64"}, args...))
	}
	return start("qemu-system-aarch64", args)
}

// Write records what is received from the serial port.
func (m *Machine) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out = append(m.out, b...)
	return len(b), nil
}

// Output returns everything that was received from the serial port.
func (m *Machine) Output() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(m.out)
}

// Wait waits until the output since the last match matches, and returns the match and its groups.
func (m *Machine) Wait(pattern string, limit time.Duration) ([]string, error) {
	r := regexp.MustCompile(pattern)
	until := time.After(limit)
	for {
		m.mu.Lock()
		found := r.FindSubmatchIndex(m.out[m.seen:])
		if found != nil {
			groups := r.FindStringSubmatch(string(m.out[m.seen:]))
			m.seen += found[1]
			m.mu.Unlock()
			return groups, nil
		}
		m.mu.Unlock()
		select {
		case <-until:
			return nil, fmt.Errorf("the machine did not say %q within %v", pattern, limit)
		case <-m.ended:
			return nil, fmt.Errorf("the machine ended before it said %q", pattern)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Type writes to the serial port.
func (m *Machine) Type(text string) error {
	_, err := io.WriteString(m.in, text)
	return err
}

// Work returns the processor time that the emulation has used until now, 0 once the machine has ended. Unlike the time that a boot
// takes, it does not depend on the load of this computer.
func (m *Machine) Work() time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.cmd.Process.Pid))
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // proc_pid_stat(5), from its third field on
	if len(fields) < 13 {
		return 0
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		return 0
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// Ended returns a channel that is closed when the machine has ended. A fast machine ends where a board would restart.
func (m *Machine) Ended() <-chan struct{} { return m.ended }

// Kill ends the machine as a power cut does, and waits for its end.
func (m *Machine) Kill() {
	_ = m.cmd.Process.Kill() // it may have ended already
	<-m.ended
}
