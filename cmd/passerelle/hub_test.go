package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	fleetcommand "passerelle/appliance/fleet/command"
	"passerelle/appliance/state"
	"passerelle/netctl/netlab"
)

// hubHost is a hub's name on the internet.
const hubHost = "hub.example.com"

// testHub is a hub on the internet, operated as volunteers do.
type testHub struct {
	b       *box
	program string
	dir     string // of the fleet
	proc    *netlab.Proc
}

// newHub creates a fleet with one hub, and starts the hub, which listens at an address on the internet.
func (b *box) newHub(listen string) *testHub {
	b.t.Helper()
	h := &testHub{b: b, program: filepath.Join(b.t.TempDir(), "passerelle-hub"), dir: filepath.Join(b.t.TempDir(), "fleet")}
	if out, err := exec.Command("go", "build", "-o", h.program, "passerelle/cmd/hub").CombinedOutput(); err != nil {
		b.t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(h.program, "init", h.dir, hubHost).CombinedOutput(); err != nil || !strings.Contains(string(out), `hubs = ["`+hubHost+`"]`) {
		b.t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(h.dir, "hub-1", "hub.toml")
	text, err := os.ReadFile(file)
	b.must(err)
	b.must(os.WriteFile(file, []byte(strings.Replace(string(text), `":443"`, `"`+listen+`"`, 1)), 0o600))
	b.scene.Internet.Names.Set(hubHost, netlab.WebAddr)
	h.start()
	return h
}

func (h *testHub) start() {
	h.b.t.Helper()
	var err error
	h.proc, err = h.b.scene.Internet.Start(h.program, "run", "--dir", filepath.Join(h.dir, "hub-1"))
	h.b.must(err)
	wait(h.b.t, "the hub", func() error {
		_, err := h.try("status")
		return err
	})
}

// try runs one of the hub's commands.
func (h *testHub) try(words ...string) (string, error) {
	first := 1
	if words[0] != "status" {
		first = 2
	}
	argv := append([]string{h.program}, words[:first]...)
	argv = append(argv, "--dir", filepath.Join(h.dir, "hub-1"))
	return h.b.scene.Internet.Run(h.b.t.Context(), append(argv, words[first:]...)...)
}

func (h *testHub) do(words ...string) string {
	h.b.t.Helper()
	out, err := h.try(words...)
	h.b.must(err)
	return out
}

// send sends a command of the fleet to a box.
func (h *testHub) send(to string, a fleetcommand.Action) {
	h.b.t.Helper()
	text, err := json.Marshal(fleetcommand.Command{ID: fmt.Sprintf("%s-%d", a, time.Now().UnixNano()), Action: a, Expires: time.Now().Add(time.Hour), By: "Ana"})
	h.b.must(err)
	file := filepath.Join(h.dir, "command.json")
	h.b.must(os.WriteFile(file, text, 0o600))
	h.do("command", "send", to, file)
}

// waitFleet waits until ok accepts the box's state in its fleet.
func (b *box) waitFleet(what string, ok func(state.Fleet) bool) state.Fleet {
	b.t.Helper()
	s := b.waitStatus(what, func(s state.Status) error {
		if s.Fleet == nil || !ok(*s.Fleet) {
			return fmt.Errorf("%s: %+v", s.State, s.Fleet)
		}
		return nil
	})
	return *s.Fleet
}

// TestHub: a technician joins a box to its fleet on the command line. The fleet pauses and resumes the box. A person at the box
// has precedence. The hub becomes unreachable, and residents notice nothing.
func TestHub(t *testing.T) {
	t.Parallel()
	in := settings{more: "\n[fleet]\nhubs = [\"" + hubHost + "\"]\n"}
	b := newBox(t, settings{}, netlab.Options{})
	h := b.newHub(netlab.WebAddr.String() + ":443")
	h.do("association", "add", "--region", "nord", "lilas")
	code := strings.TrimSpace(h.do("sticker", "make", "lilas"))
	bundle := filepath.Join(h.dir, "fleet.json")
	if out, err := b.Do(t.Context(), "fleet", "join", "--bundle", bundle, code); err == nil || !strings.Contains(err.Error()+out, "write [fleet] hubs") {
		t.Errorf("a box without hubs joins: %v\n%s", err, out)
	}
	b.reload(in)
	if out := b.mustDo("status"); !strings.Contains(out, "fleet: no member yet") {
		t.Errorf("status of a box that is alone:\n%s", out)
	}
	out := b.mustDo("fleet", "join", "--bundle", bundle, strings.ToLower(code))
	said := regexp.MustCompile(`This box is ([a-z2-7]{10})\. It shows these words:\n\n    (\w+ \w+ \w+ \w+)\n`).FindStringSubmatch(out)
	if said == nil {
		t.Fatalf("joining says:\n%s", out)
	}
	name, words := said[1], said[2]
	b.waitFleet("the box waits", func(f state.Fleet) bool { return f.Stage == "waiting" && f.Box == name })
	if out := h.do("box", "list"); !strings.Contains(out, words) {
		t.Errorf("the hub shows other words than %q:\n%s", words, out)
	}
	h.do(append([]string{"box", "confirm", name}, strings.Fields(words)...)...)
	b.waitFleet("the box is connected", func(f state.Fleet) bool { return f.Connected && f.Region == "nord" && !f.Contact.IsZero() })
	if out := b.mustDo("status"); !strings.Contains(out, "fleet: box "+name+" of lilas, connected\n") || !strings.Contains(out, "last contact ") {
		t.Errorf("status of a member:\n%s", out)
	}

	h.send(name, fleetcommand.Pause)
	if s := b.waitState(state.Paused); s.PausedBy != state.FleetPrefix+"Ana" {
		t.Errorf("it is paused by %q", s.PausedBy)
	}
	h.send(name, fleetcommand.Resume)
	b.waitState(state.Sharing)
	b.mustDo("pause")
	h.send(name, fleetcommand.Resume)
	s := b.waitStatus("the fleet's resume yields to somebody here", func(s state.Status) error {
		if len(s.Commands) != 3 || s.Commands[0].Verdict != string(fleetcommand.Yields) {
			return fmt.Errorf("%+v", s.Commands)
		}
		return nil
	})
	if s.State != state.Paused {
		t.Errorf("after the fleet's resume of a pause of somebody here the box is %s", s.State)
	}
	b.mustDo("resume")
	b.waitState(state.Sharing)

	b.must(h.proc.Kill())
	b.waitFleet("the hub is away", func(f state.Fleet) bool { return !f.Connected && f.Error != "" })
	r := b.scene.Residents[0]
	b.join(r)
	b.admit(r)
	b.online(r)
	h.start()
	b.waitFleet("the hub is back", func(f state.Fleet) bool { return f.Connected && f.Error == "" })
	b.reload(settings{})
	b.waitStatus("no fleet", func(s state.Status) error {
		if s.Fleet != nil {
			return fmt.Errorf("%+v", s.Fleet)
		}
		return nil
	})
}
