package wpa

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"passerelle/netctl/netlab/labtest"
)

// TestRealSupplicant monitors the real wpa_supplicant with a driver without a radio, which makes no scans.
func TestRealSupplicant(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "wpa_supplicant")
	d := dir(t)
	conf := filepath.Join(d, "wpa.conf")
	text := "ctrl_interface=" + filepath.Join(d, "wpa") + "\nnetwork={\nssid=436166c3a9\nkey_mgmt=NONE\n}\n"
	program := start(t, conf, text, "wpa_supplicant", "-D", "none", "-i", "lo", "-c", conf)
	j := NewJoiner(JoinerOptions{Log: slog.New(slog.DiscardHandler), Dir: d, Scan: 20 * time.Second})
	j.Set([]Network{{Interface: "lo", Socket: filepath.Join(d, "wpa", "lo"), SSID: "Café"}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- j.Run(ctx) }()
	until(t, "a scan that fails is heard of", func() bool { return j.State("lo").Cause == RadioBusy })
	c, err := Dial(filepath.Join(d, "wpa", "lo"), d)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := find(t.Context(), c, "Café"); err != nil || list != nil {
		t.Errorf("without a radio is heard %v, %v", list, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := program.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "its end is noticed", func() bool { return j.State("lo").Cause == NotRunning })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRealHostapd controls the real hostapd with a driver without a radio, which switches no channel.
func TestRealHostapd(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "hostapd")
	d := dir(t)
	conf, socket := filepath.Join(d, "hostapd.conf"), filepath.Join(d, "hostapd", "lo")
	start(t, conf, "interface=lo\ndriver=none\nctrl_interface="+filepath.Dir(socket)+"\nssid=x\n", "hostapd", conf)
	events := make(chan Event, 10)
	h := NewHostapd(HostapdOptions{
		Socket: socket, Dir: d, Log: slog.New(slog.DiscardHandler),
		On: func(e Event) {
			select {
			case events <- e:
			default: // one is enough
			}
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	var c *Conn
	until(t, "hostapd can be reached", func() (ok bool) {
		var err error
		c, err = Dial(socket, d)
		return err == nil
	})
	if err := h.SwitchChannel(t.Context(), Channel{MHz: 5180, HT: true, VHT: true}); !errors.Is(err, ErrRefused) {
		t.Errorf("without a radio: %v", err)
	}
	got := func(want Kind) func() bool { // commands are echoed to all attached clients
		return func() bool {
			for _, command := range []string{"DISABLE", "ENABLE"} {
				if _, err := c.Request(t.Context(), command); err != nil && !errors.Is(err, ErrRefused) {
					t.Fatal(err)
				}
			}
			select {
			case e := <-events:
				return e.Kind == want
			default:
				return false
			}
		}
	}
	until(t, "its AP-DISABLED event", got(APDisabled))
	until(t, "its AP-ENABLED event", got(APEnabled))
	if status, err := c.Request(t.Context(), "STATUS"); err != nil || parseLines(status)["state"] != enabled {
		t.Errorf("an access point that sends says %q, %v", status, err)
	}
	if err := setBeacon(t.Context(), socket, d, "dd080050f21102000000"); err != nil {
		t.Errorf("beacons do not change: %v", err)
	}
	if err := setBeacon(t.Context(), socket, d, "dd08x"); !errors.Is(err, ErrRefused) {
		t.Errorf("with what is no element: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// start runs a program with its configuration until the test ends.
func start(t *testing.T, conf, text string, argv ...string) *os.Process {
	t.Helper()
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return cmd.Process
}
