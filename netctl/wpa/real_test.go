package wpa

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"passerelle/netctl/netlab/labtest"
)

// TestRealSupplicant watches the real wpa_supplicant with a driver that has no radio, and so makes no scan.
func TestRealSupplicant(t *testing.T) {
	t.Parallel()
	labtest.Root(t, "wpa_supplicant")
	d := dir(t)
	conf := filepath.Join(d, "wpa.conf")
	text := "ctrl_interface=" + filepath.Join(d, "wpa") + "\nnetwork={\nssid=436166c3a9\nkey_mgmt=NONE\n}\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("wpa_supplicant", "-D", "none", "-i", "lo", "-c", conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
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
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "its end is noticed", func() bool { return j.State("lo").Cause == NotRunning })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
