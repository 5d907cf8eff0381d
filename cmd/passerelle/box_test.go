package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"passerelle/appliance/lab"
	"passerelle/appliance/state"
	"passerelle/captive"
	"passerelle/captive/web"
	"passerelle/image/slot"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
	"passerelle/testdata"
)

// asProgram makes the test binary run as the program.
const asProgram = "PASSERELLE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if path := os.Getenv(machineSeen); path != "" {
			c := cli{
				commands: commands,
				out:      os.Stdout, err: os.Stderr, machine: func() (machine, error) { return machineFromFile(path) },
				card: func() (slot.Card, error) {
					if running := os.Getenv(cardSeen); running != "" {
						return slot.Card{Running: slot.Name(running), Device: cardFile}, nil
					}
					return slot.Card{}, slot.ErrNone
				},
			}
			os.Exit(c.main(context.Background(), os.Args[1:]))
		}
		main()
		return
	}
	os.Exit(m.Run())
}

// tools are the programs that the tests with a real box need.
var tools = []string{"dnsmasq", "iptables", "iptables-restore", "iptables-save", "ip6tables-restore", "ip6tables-save",
	"ipset", "ip", "tc", "busybox"}

// patience is the timeout of every wait in these tests. It is enough on a busy machine.
const patience = time.Minute

// brief is the timeout of one attempt that may be dropped silently.
const brief = time.Second

const (
	somePage  = "http://www.example/"
	bigPage   = "http://www.example/big"
	portal    = "http://10.80.0.1"
	boxPrefix = "10.80.0.1/22"
)

// settings are the variable parts of the configuration.
type settings struct {
	address       string // the hotspot's
	session, data string // of a resident
	after         string // his rate once data is used up, "" for "0"; ignored without data
	down, up      string // of a resident; the donation's rates are at most five times that
	cap, reserve  string
	languages     string // of the pages, as in the file
	more          string // further donations
}

func (s settings) String() string {
	or := func(value, otherwise string) string {
		if value == "" {
			return otherwise
		}
		return value
	}
	spent := `data = "500MB"`
	if s.data != "" {
		spent = fmt.Sprintf("data = %q\nafter = %q", s.data, or(s.after, "0"))
	}
	return strings.NewReplacer(
		"[hotspot]", "languages = "+or(s.languages, `["fr", "en"]`)+"\n[hotspot]",
		boxPrefix, or(s.address, boxPrefix),
		"2h", or(s.session, "2h"), "8mbit", or(s.down, "8mbit"), "4mbit", or(s.up, "4mbit"), `data = "500MB"`, spent,
		`cap = "0"`, fmt.Sprintf("download = \"40mbit\"\nupload = \"20mbit\"\ncap = %q\nreserve = %q", or(s.cap, "200GB"), or(s.reserve, "0")),
	).Replace(testdata.Box) + s.more
}

// box is a running daemon in a scene.
type box struct {
	*lab.Daemon
	t     testing.TB
	scene *netlab.Scene
	env   []string // of commands, in addition to the test's own
	dir   string   // the commands' folder; "": the test's own
	fresh int      // unique host names so far: see leads
	exe   string   // the daemon's program, "" for the test's own
}

// newBox creates a scene, starts the daemon in it and waits until it shares. The clock is confirmed, so that no test needs a time server.
func newBox(t testing.TB, s settings, o netlab.Options) *box {
	t.Helper()
	b := newScene(t, s, o)
	b.start()
	b.waitState(state.Sharing)
	b.mustDo("clock", "--confirm")
	return b
}

// newScene creates a scene with a configured box and without a daemon.
func newScene(t testing.TB, s settings, o netlab.Options) *box {
	t.Helper()
	labtest.Root(t, tools...)
	o.Residents = max(o.Residents, 1)
	scene := labtest.Scene(t, o)
	b := &box{t: t, scene: scene}
	var err error
	b.Daemon, err = lab.New(scene.Box, func(words ...string) *exec.Cmd {
		cmd := program(words...)
		cmd.Env, cmd.Dir = append(cmd.Env, b.env...), b.dir
		if b.exe != "" && words[0] == runCommand {
			cmd.Path, cmd.Err = b.exe, nil
		}
		return cmd
	})
	b.must(err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon said:\n%s", b.Log())
		}
	})
	b.must(scene.Internet.ServeHTTP(":7000", netlab.Web()))
	b.configure(s)
	if *service {
		b.asService()
	}
	return b
}

func (b *box) configure(s settings) {
	b.t.Helper()
	b.must(b.Configure(s.String()))
}

// path returns the path of a file in the daemon's runtime folder.
func (b *box) path(name string) string {
	return filepath.Join(b.scene.Box.Path("/run/passerelle"), name)
}

// program prepares the program with these arguments.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// launch starts a daemon, with more arguments, and returns it.
func (b *box) launch(words ...string) *netlab.Proc {
	b.t.Helper()
	proc, err := b.Launch(append([]string{"--verbose"}, words...)...)
	b.must(err)
	return proc
}

// start starts the daemon.
func (b *box) start() {
	b.t.Helper()
	b.must(b.Start("--verbose"))
}

// kill ends the daemon like a crash.
func (b *box) kill() {
	b.t.Helper()
	b.must(b.Crash())
}

// stop ends the daemon as systemd does.
func (b *box) stop() {
	b.t.Helper()
	b.signal(syscall.SIGTERM)
	if err := b.Proc.Wait(); err != nil {
		b.t.Fatalf("the daemon ended with %v", err)
	}
}

// restart starts a daemon after the previous one has ended and waits until it shares. It returns the first healthy status.
func (b *box) restart() state.Status {
	b.t.Helper()
	b.start()
	wait(b.t, "a healthy box", func() error {
		reply, err := b.scene.Box.Get(b.t.Context(), portal+"/healthz")
		if err == nil && reply.Status != http.StatusOK {
			err = fmt.Errorf("%d", reply.Status)
		}
		return err
	})
	if _, err := b.Status(b.t.Context()); err != nil {
		b.t.Errorf("a healthy box does not tell its status: %v", err)
	}
	return b.waitState(state.Sharing)
}

func (b *box) signal(s syscall.Signal) {
	b.t.Helper()
	b.must(b.Proc.Signal(s))
}

// frozen runs f while the daemon is stopped by a signal, so that only the kernel acts.
func (b *box) frozen(f func()) {
	b.t.Helper()
	b.signal(syscall.SIGSTOP)
	defer b.signal(syscall.SIGCONT)
	f()
}

// mustDo runs one of passerelle's commands, which must succeed.
func (b *box) mustDo(args ...string) string {
	b.t.Helper()
	out, err := b.Do(b.t.Context(), args...)
	b.must(err)
	return out
}

// processes returns the box's process ids.
func (b *box) processes() string {
	b.t.Helper()
	out, err := exec.Command("ip", "netns", "pids", b.scene.Box.Namespace()).Output()
	b.must(err)
	return string(out)
}

// waitProcesses waits until exactly these processes are on the box.
func (b *box) waitProcesses(want string) {
	b.t.Helper()
	wait(b.t, "the end of processes", func() error {
		if got := b.processes(); got != want {
			return fmt.Errorf("there are %q, want %q", got, want)
		}
		return nil
	})
}

// forgetter returns the id of the process that a stopped daemon leaves to delete its saved sessions, or 0.
func (b *box) forgetter() int {
	b.t.Helper()
	for _, field := range strings.Fields(b.processes()) {
		words, err := os.ReadFile("/proc/" + field + "/cmdline")
		if err == nil && strings.Contains(string(words), "\x00forget\x00") {
			pid, err := strconv.Atoi(field)
			b.must(err)
			return pid
		}
	}
	return 0
}

// endForgetter ends that process.
func (b *box) endForgetter() {
	b.t.Helper()
	if pid := b.forgetter(); pid != 0 {
		b.must(syscall.Kill(pid, syscall.SIGKILL))
		wait(b.t, "its end", func() error {
			if b.forgetter() != 0 {
				return errors.New("it is still there")
			}
			return nil
		})
	}
}

// run runs a program on the box, which must succeed.
func (b *box) run(argv ...string) string {
	b.t.Helper()
	out, err := b.scene.Box.Run(b.t.Context(), argv...)
	b.must(err)
	return out
}

// waitStatus waits until ok accepts the daemon's status, and returns it; ok's error says what is missing.
func (b *box) waitStatus(what string, ok func(state.Status) error) (s state.Status) {
	b.t.Helper()
	wait(b.t, what, func() (err error) {
		if s, err = b.Status(b.t.Context()); err == nil {
			err = ok(s)
		}
		return err
	})
	return s
}

// waitState waits until the daemon is in a state, and returns its status.
func (b *box) waitState(want state.State) state.Status {
	b.t.Helper()
	return b.waitStatus("state "+string(want), func(s state.Status) error {
		if s.State != want {
			return fmt.Errorf("%s: %s (problems: %q)", s.State, s.Why, s.Problems)
		}
		return nil
	})
}

// waitSound waits until both children run and there is no problem.
func (b *box) waitSound() {
	b.t.Helper()
	b.waitStatus("a box without problems", func(s state.Status) error {
		if s.State != state.Sharing || len(s.Problems) > 0 {
			return fmt.Errorf("%s: %s (problems: %q)", s.State, s.Why, s.Problems)
		}
		for _, c := range s.Children {
			if !c.Running {
				return fmt.Errorf("%s does not run: %s", c.Name, c.LastExit)
			}
		}
		return nil
	})
}

// wait calls ok repeatedly until it returns nil.
func wait(t testing.TB, what string, ok func() error) {
	t.Helper()
	waitFor(t, patience, what, ok)
}

// waitFor is wait with a limit of its own.
func waitFor(t testing.TB, limit time.Duration, what string, ok func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
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

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// join gets the resident a lease, as soon as the box gives any.
func (b *box) join(r *netlab.Resident) netlab.Lease {
	b.t.Helper()
	var l netlab.Lease
	wait(b.t, r.Name()+"'s lease", func() (err error) {
		l, err = r.Join(b.t.Context())
		return err
	})
	return l
}

// get fetches a page, with a timeout. If there is no answer, the error says why.
func (b *box) get(r *netlab.Resident, url string) (netlab.Response, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), brief)
	defer cancel()
	return r.Get(ctx, url)
}

// shows fails the test unless the box's first page for the resident is, in English, the one with this title (a key of the pages' texts).
func (b *box) shows(r *netlab.Resident, title string) {
	b.t.Helper()
	q := b.request(http.MethodGet, portal+"/")
	q.Header.Set("Accept-Language", "en")
	page, err := io.ReadAll(b.send(r, q).Body)
	b.must(err)
	if want := html.EscapeString(web.Language("en").T(title)); !strings.Contains(string(page), want) {
		b.t.Errorf("the first page does not say %q:\n%s", want, page)
	}
}

// send sends a prepared request over a new connection.
func (b *box) send(r *netlab.Resident, q *http.Request) *http.Response {
	b.t.Helper()
	q.Close = true
	reply, err := r.HTTPClient().Do(q)
	b.must(err)
	b.t.Cleanup(func() { reply.Body.Close() })
	return reply
}

func (b *box) request(method, url string) *http.Request {
	b.t.Helper()
	q, err := http.NewRequestWithContext(b.t.Context(), method, url, nil)
	b.must(err)
	return q
}

// press presses a button on the box's pages and returns the answer.
func (b *box) press(r *netlab.Resident, path string) netlab.Response {
	b.t.Helper()
	reply, err := r.Post(b.t.Context(), portal+path, strings.NewReader(""))
	b.must(err)
	return reply
}

// admit presses the button that starts a session, and checks that the session works at once.
func (b *box) admit(r *netlab.Resident) {
	b.t.Helper()
	if reply := b.press(r, "/session"); reply.Status != http.StatusSeeOther {
		b.t.Fatalf("the button was answered with %d:\n%s", reply.Status, reply.Body)
	}
	b.online(r)
}

// newcomer joins a resident and starts a session.
func (b *box) newcomer(r *netlab.Resident) netlab.Lease {
	b.t.Helper()
	l := b.join(r)
	b.admit(r)
	return l
}

// online fails the test unless the resident's packets pass at once and names resolve soon: dnsmasq may just have been started.
func (b *box) online(r *netlab.Resident) {
	b.t.Helper()
	b.must(b.echo(r, patience))
	b.waitOnline(r)
}

// reaches returns nil if the internet answers the resident soon, by name. Otherwise the error says what happened.
func (b *box) reaches(r *netlab.Resident) error {
	reply, err := b.get(r, somePage)
	if err == nil && reply.Body != netlab.InternetPage {
		err = fmt.Errorf("not the internet but %d %q answered", reply.Status, reply.Header.Get("Location"))
	}
	return err
}

// waitOnline waits until the internet answers the resident.
func (b *box) waitOnline(r *netlab.Resident) {
	b.t.Helper()
	wait(b.t, "the internet's answer to "+r.Name(), func() error { return b.reaches(r) })
}

// leads fails the test unless a new name resolves to the address for the resident. It returns whether the box queried the name. The first
// attempts may meet a DNS server that is still starting.
func (b *box) leads(r *netlab.Resident, to netip.Addr) (asked bool) {
	b.t.Helper()
	b.fresh++
	name := fmt.Sprintf("n%d.fresh.example", b.fresh)
	b.scene.Internet.Names.Set(name, netlab.NewsAddr)
	wait(b.t, "an answer to a name", func() error {
		addrs, err := r.LookupHost(b.t.Context(), name)
		if err == nil && addrs[0] != to {
			b.t.Errorf("%s leads %s to %v, want %s", name, r.Name(), addrs, to)
		}
		return err
	})
	return b.scene.Internet.Names.Queries(name) > 0
}

// blocked fails the test if the internet answers the resident: by address, on two TCP ports or by UDP.
func (b *box) blocked(r *netlab.Resident) {
	b.t.Helper()
	for _, port := range []uint16{80, 7000} {
		at := netip.AddrPortFrom(netlab.WebAddr, port)
		if reply, err := b.get(r, "http://"+at.String()+"/"); err == nil && reply.Body == netlab.InternetPage {
			b.t.Errorf("%s answers %s", at, r.Name())
		}
	}
	if err := b.echo(r, brief/4); err == nil {
		b.t.Errorf("the internet echoes %s's datagrams", r.Name())
	}
}

// echo returns nil if the internet returns the resident's datagram within the limit. Otherwise the error says what happened.
func (b *box) echo(r *netlab.Resident, limit time.Duration) error {
	conn, err := r.Dial(b.t.Context(), "udp", netip.AddrPortFrom(netlab.WebAddr, 7).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 5))
	return err
}

// sessionOf returns the status of the resident's session.
func (b *box) sessionOf(r *netlab.Resident) (s captive.Status) {
	b.t.Helper()
	q := b.request(http.MethodGet, portal+"/session")
	q.Header.Set("Accept", "application/json")
	b.must(json.NewDecoder(b.send(r, q).Body).Decode(&s))
	return s
}

// startDownload starts a download. The first attempts may meet a DNS server that is still starting.
func (b *box) startDownload(r *netlab.Resident, url string) (d *netlab.Transfer) {
	b.t.Helper()
	wait(b.t, "the start of a download", func() (err error) {
		d, err = r.StartDownload(b.t.Context(), url)
		return err
	})
	return d
}

// download starts a download and waits until it flows.
func (b *box) download(r *netlab.Resident) *netlab.Transfer {
	b.t.Helper()
	d := b.startDownload(r, bigPage)
	b.flows(d)
	return d
}

// flows waits until more of the download has arrived.
func (b *box) flows(d *netlab.Transfer) {
	b.t.Helper()
	before := d.Total()
	wait(b.t, "more of the download", func() error {
		select {
		case <-d.Done():
			b.t.Fatalf("the download ended: %v", d.Stop())
		default:
		}
		if d.Total() <= before {
			return fmt.Errorf("%d bytes have come", before)
		}
		return nil
	})
}

// stopped fails the test if more of the download arrives than was in flight.
func (b *box) stopped(d *netlab.Transfer) {
	b.t.Helper()
	before := int64(-1)
	wait(b.t, "the end of the download", func() error {
		if now := d.Total(); now != before {
			before = now
			time.Sleep(5 * netlab.Tick)
			return errors.New("it goes on")
		}
		return nil
	})
}

// broken waits until the download is reset although its receiver sends nothing. That must be before the receiver's own keepalive would
// notice, after 15 s.
func (b *box) broken(d *netlab.Transfer) {
	b.t.Helper()
	select {
	case <-d.Done():
	case <-time.After(10 * time.Second):
		b.t.Error("the download was not reset, it hangs or goes on")
	}
	if err := d.Stop(); !errors.Is(err, syscall.ECONNRESET) {
		b.t.Errorf("the download ended with %v, want a reset", err)
	}
}

// talk opens a connection to the internet that keeps sending, so that it notices a reset.
func (b *box) talk(r *netlab.Resident) net.Conn {
	b.t.Helper()
	conn, err := r.Dial(b.t.Context(), "tcp", netip.AddrPortFrom(netlab.WebAddr, 7000).String())
	b.must(err)
	b.t.Cleanup(func() { conn.Close() })
	_, err = io.WriteString(conn, "GET /slow?after=1m HTTP/1.1\r\nHost: www.example\r\n")
	b.must(err)
	return conn
}

// reset waits until a connection is reset.
func (b *box) reset(conn net.Conn) {
	b.t.Helper()
	wait(b.t, "the reset of a connection", func() error {
		_, err := io.WriteString(conn, "X: y\r\n")
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			return nil
		}
		return fmt.Errorf("a write gave %v", err)
	})
}
