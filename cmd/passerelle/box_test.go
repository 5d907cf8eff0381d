package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/appliance"
	"passerelle/appliance/decide"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// asProgram makes the test binary be the program itself.
const asProgram = "PASSERELLE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// tools are what the tests with the real box need.
var tools = []string{"dnsmasq", "iptables", "iptables-restore", "ip6tables-restore", "ipset", "ip", "tc", "busybox"}

// limit bounds every wait of these tests; on a busy machine things take long, never so long.
const patience = 30 * time.Second

// box is a running daemon in a scene.
type box struct {
	t      testing.TB
	scene  *netlab.Scene
	proc   *netlab.Proc
	config string
}

const testConfig = `
[box]
name = "Centre social des Lilas"
[hotspot]
interface = "wlan0"
radio = "none"
address = "10.80.0.1/22"
[limits]
session = "2h"
download = "8mbit"
upload = "4mbit"
data = "500MB"
[[donation]]
name = "Fibre du centre"
interface = "eth0"
download = "40mbit"
upload = "20mbit"
cap = "200GB"
`

// newBox makes a scene and starts the daemon in it.
func newBox(t testing.TB, config string, o netlab.Options) *box {
	t.Helper()
	labtest.Root(t, tools...)
	if o.Residents == 0 {
		o.Residents = 1
	}
	scene, err := netlab.Standard(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	labtest.Close(t, scene.World)
	for _, dir := range []string{scene.Dir(), scene.Box.Path("/"), scene.Box.Path("/run")} {
		if err := os.Chmod(dir, 0o755); err != nil { // dnsmasq, no longer root, reads its servers below it
			t.Fatal(err)
		}
	}
	b := &box{t: t, scene: scene, config: scene.Box.Path("/passerelle.toml")}
	b.configure(config)
	b.start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon said:\n%s", b.proc.Output())
		}
	})
	b.waitState(decide.Sharing)
	return b
}

func (b *box) configure(text string) {
	b.t.Helper()
	if err := os.WriteFile(b.config, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) path(name string) string { return filepath.Join(b.scene.Box.Path("/run/passerelle"), name) }

func (b *box) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

func (b *box) start() {
	b.t.Helper()
	var err error
	b.proc, err = b.scene.Box.StartCmd(b.command("run", "--verbose", "--config", b.config,
		"--state", b.path("state"), "--socket", b.path("passerelle.sock")))
	if err != nil {
		b.t.Fatal(err)
	}
}

// kill ends the daemon as a crash would.
func (b *box) kill() {
	b.t.Helper()
	if err := b.proc.Signal(syscall.SIGKILL); err != nil {
		b.t.Fatal(err)
	}
	<-b.proc.Exited()
}

// stop ends the daemon as systemd would.
func (b *box) stop() {
	b.t.Helper()
	if err := b.proc.Signal(syscall.SIGTERM); err != nil {
		b.t.Fatal(err)
	}
	if err := b.proc.Wait(); err != nil {
		b.t.Fatalf("the daemon ended with %v:\n%s", err, b.proc.Output())
	}
}

// do runs a command of passerelle's on the box.
func (b *box) do(args ...string) (string, error) {
	out, err := b.command(append(args, "--socket", b.path("passerelle.sock"))...).CombinedOutput()
	return string(out), err
}

func (b *box) status() (s appliance.Status, err error) {
	out, err := ask(b.t.Context(), b.path("passerelle.sock"), http.MethodGet, "/status")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// waitState waits until the daemon is in the state, and returns its status then.
func (b *box) waitState(want decide.State) (s appliance.Status) {
	b.t.Helper()
	wait(b.t, fmt.Sprintf("state %s", want), func() (err error) {
		if s, err = b.status(); err == nil && s.State != want {
			err = fmt.Errorf("%s: %s (problems: %q)", s.State, s.Why, s.Problems)
		}
		return err
	})
	return s
}

// wait tries until ok returns nil.
func wait(t testing.TB, what string, ok func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s: %v", what, err)
		case <-tick.C:
		}
	}
}

// join gives the resident an address.
func (b *box) join(r *netlab.Resident) netlab.Lease {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	l, err := r.Join(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// admit presses the button.
func (b *box) admit(r *netlab.Resident) {
	b.t.Helper()
	reply, err := r.Post(b.t.Context(), "http://10.80.0.1/session", strings.NewReader(""))
	if err != nil {
		b.t.Fatal(err)
	}
	if reply.Status != http.StatusSeeOther {
		b.t.Fatalf("the button was answered with %d:\n%s", reply.Status, reply.Body)
	}
}

const somePage = "http://www.example/"

func TestResidentGoesOnlineAndBack(t *testing.T) {
	t.Parallel()
	b := newBox(t, testConfig, netlab.Options{})
	r := b.scene.Residents[0]
	l := b.join(r)
	if l.Router.String() != "10.80.0.1" {
		t.Fatalf("the lease's router is %s", l.Router)
	}
	reply, err := r.Get(t.Context(), somePage)
	if err != nil {
		t.Fatal(err)
	}
	if reply.Status != http.StatusFound {
		t.Fatalf("a page before admission: %d, want a redirect", reply.Status)
	}
	b.admit(r)
	if reply, err = r.Get(t.Context(), somePage); err != nil || reply.Status != http.StatusOK {
		t.Fatalf("a page after admission: %d, %v", reply.Status, err)
	}
	if _, err := r.Post(t.Context(), "http://10.80.0.1/session/end", strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	if reply, err = r.Get(t.Context(), somePage); err != nil || reply.Status != http.StatusFound {
		t.Fatalf("a page after the end: %d, %v", reply.Status, err)
	}
	out, err := b.do("status")
	t.Log(out, err)
	b.stop()
}
