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

	"passerelle/appliance"
	"passerelle/appliance/decide"
	"passerelle/captive"
	"passerelle/captive/web"
	"passerelle/netctl/netlab"
	"passerelle/netctl/netlab/labtest"
)

// asProgram makes the test binary be the program itself.
const asProgram = "PASSERELLE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if path := os.Getenv(machineSeen); path != "" {
			c := cli{out: os.Stdout, err: os.Stderr, look: func() (machine, error) { return readMachine(path) }}
			os.Exit(c.main(context.Background(), os.Args[1:]))
		}
		main()
		return
	}
	os.Exit(m.Run())
}

// tools are what the tests with the real box need.
var tools = []string{"dnsmasq", "iptables", "iptables-restore", "iptables-save", "ip6tables-restore", "ip6tables-save",
	"ipset", "ip", "tc", "busybox"}

// patience bounds every wait of these tests; on a busy machine things take long, never so long.
const patience = time.Minute

// brief bounds one try of what may be refused by silence.
const brief = time.Second

const (
	somePage  = "http://www.example/"
	bigPage   = "http://www.example/big"
	portal    = "http://10.80.0.1"
	boxPrefix = "10.80.0.1/22"
)

// settings are what tests change of the configuration.
type settings struct {
	address       string // the hotspot's
	session, data string // of a resident
	down, up      string // of a resident; the donation's are five times that at most
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
	return fmt.Sprintf(`
[box]
name = "Centre social des Lilas"
languages = %s
[hotspot]
interface = "wlan0"
radio = "none"
address = %q
[limits]
session = %q
download = %q
upload = %q
data = %q
[[donation]]
name = "Fibre du centre"
interface = "eth0"
download = "40mbit"
upload = "20mbit"
cap = %q
reserve = %q
%s`, or(s.languages, `["fr", "en"]`), or(s.address, boxPrefix), or(s.session, "2h"),
		or(s.down, "8mbit"), or(s.up, "4mbit"), or(s.data, "500MB"), or(s.cap, "200GB"), or(s.reserve, "0"), s.more)
}

// box is a running daemon in a scene.
type box struct {
	t      testing.TB
	scene  *netlab.Scene
	proc   *netlab.Proc
	config string // its file
	state  string // its folder for what survives a power cut
	log    string // the file that has all that daemons on this box wrote
	env    []string
	fresh  int    // names that nobody knew: see leads
	dir    string // in which daemons are started; "": the test's own
}

// newBox makes a scene, starts the daemon in it and waits until it shares. Its clock is confirmed: no test needs a time
// server.
func newBox(t testing.TB, s settings, o netlab.Options) *box {
	t.Helper()
	b := newScene(t, s, o)
	b.start()
	b.waitState(decide.Sharing)
	b.mustDo("clock", "--confirm")
	return b
}

// newScene makes a scene with a configured box on which no daemon runs yet.
func newScene(t testing.TB, s settings, o netlab.Options) *box {
	t.Helper()
	labtest.Root(t, tools...)
	o.Residents = max(o.Residents, 1)
	scene := labtest.Scene(t, o)
	for _, dir := range []string{scene.Dir(), scene.Box.Path("/"), scene.Box.Path("/run")} {
		if err := os.Chmod(dir, 0o755); err != nil { // dnsmasq, no longer root, reads its servers below it
			t.Fatal(err)
		}
	}
	b := &box{
		t: t, scene: scene,
		config: scene.Box.Path("/passerelle.toml"),
		state:  scene.Box.Path("/state"),
		log:    scene.Box.Path("/log"),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon said:\n%s", b.said())
		}
	})
	b.must(scene.Internet.ServeHTTP(":7000", netlab.Web()))
	b.configure(s)
	return b
}

func (b *box) configure(s settings) {
	b.t.Helper()
	b.must(os.WriteFile(b.config, []byte(s.String()), 0o644))
}

// path returns where a file of the daemon's folder in memory is found.
func (b *box) path(name string) string {
	return filepath.Join(b.scene.Box.Path("/run/passerelle"), name)
}

func (b *box) socket() string { return b.path("passerelle.sock") }

// program prepares the program to be run with these words.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// launch starts a daemon, with more words to it, and returns it.
func (b *box) launch(words ...string) *netlab.Proc {
	b.t.Helper()
	log, err := os.OpenFile(b.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	b.must(err)
	defer log.Close()
	words = append([]string{"run", "--verbose", "--config", b.config, "--state", b.state, "--socket", b.socket()}, words...)
	cmd := program(words...)
	cmd.Env, cmd.Dir = append(cmd.Env, b.env...), b.dir
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := b.scene.Box.StartCmd(cmd)
	b.must(err)
	return proc
}

// start starts the daemon.
func (b *box) start() {
	b.t.Helper()
	b.proc = b.launch()
}

// said returns all that daemons on this box wrote.
func (b *box) said() string {
	text, err := os.ReadFile(b.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Error(err)
	}
	return string(text)
}

// kill ends the daemon as a crash would.
func (b *box) kill() {
	b.t.Helper()
	b.signal(syscall.SIGKILL)
	<-b.proc.Exited()
}

// stop ends the daemon as systemd would.
func (b *box) stop() {
	b.t.Helper()
	b.signal(syscall.SIGTERM)
	if err := b.proc.Wait(); err != nil {
		b.t.Fatalf("the daemon ended with %v", err)
	}
}

// restart starts a daemon after the last one's end and waits until it shares. As soon as it is healthy, it tells its status.
func (b *box) restart() appliance.Status {
	b.t.Helper()
	b.start()
	wait(b.t, "a healthy box", func() error {
		reply, err := b.scene.Box.Get(b.t.Context(), portal+"/healthz")
		if err == nil && reply.Status != http.StatusOK {
			err = fmt.Errorf("%d", reply.Status)
		}
		return err
	})
	if _, err := b.status(); err != nil {
		b.t.Errorf("a healthy box does not tell its status: %v", err)
	}
	return b.waitState(decide.Sharing)
}

func (b *box) signal(s syscall.Signal) {
	b.t.Helper()
	b.must(b.proc.Signal(s))
}

// frozen runs f while the daemon stands still: what it sees is what the kernel does by itself.
func (b *box) frozen(f func()) {
	b.t.Helper()
	b.signal(syscall.SIGSTOP)
	defer b.signal(syscall.SIGCONT)
	f()
}

// do runs a command of passerelle's on the box.
func (b *box) do(args ...string) (string, error) {
	out, err := program(append(args, "--socket", b.socket())...).CombinedOutput()
	return string(out), err
}

// mustDo runs a command of passerelle's that has to succeed.
func (b *box) mustDo(args ...string) string {
	b.t.Helper()
	out, err := b.do(args...)
	if err != nil {
		b.t.Fatalf("passerelle %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// processes returns the numbers of the processes on the box.
func (b *box) processes() string {
	b.t.Helper()
	out, err := exec.Command("ip", "netns", "pids", b.scene.Box.Namespace()).Output()
	b.must(err)
	return string(out)
}

// waitProcesses waits until there are these processes on the box.
func (b *box) waitProcesses(want string) {
	b.t.Helper()
	wait(b.t, "the end of processes", func() error {
		if got := b.processes(); got != want {
			return fmt.Errorf("there are %q, want %q", got, want)
		}
		return nil
	})
}

// forgetter returns the number of the process that a daemon leaves behind to forget residents, 0 if there is none.
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

// run runs a program on the box that has to succeed.
func (b *box) run(argv ...string) string {
	b.t.Helper()
	out, err := b.scene.Box.Run(b.t.Context(), argv...)
	b.must(err)
	return out
}

func (b *box) status() (s appliance.Status, err error) {
	out, err := ask(b.t.Context(), b.socket(), http.MethodGet, "/status")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// waitStatus waits until the daemon's status is as ok, which says what is not, wants it; and returns it.
func (b *box) waitStatus(what string, ok func(appliance.Status) error) (s appliance.Status) {
	b.t.Helper()
	wait(b.t, what, func() (err error) {
		if s, err = b.status(); err == nil {
			err = ok(s)
		}
		return err
	})
	return s
}

// waitState waits until the daemon is in the state, and returns its status then.
func (b *box) waitState(want decide.State) appliance.Status {
	b.t.Helper()
	return b.waitStatus("state "+string(want), func(s appliance.Status) error {
		if s.State != want {
			return fmt.Errorf("%s: %s (problems: %q)", s.State, s.Why, s.Problems)
		}
		return nil
	})
}

// waitSound waits until both children run and nothing is wrong.
func (b *box) waitSound() {
	b.t.Helper()
	b.waitStatus("a box without problems", func(s appliance.Status) error {
		if s.State != decide.Sharing || len(s.Problems) > 0 {
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

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// join gives the resident an address, once the box gives any.
func (b *box) join(r *netlab.Resident) netlab.Lease {
	b.t.Helper()
	var l netlab.Lease
	wait(b.t, r.Name()+"'s lease", func() (err error) {
		l, err = r.Join(b.t.Context())
		return err
	})
	return l
}

// get fetches a page that may stay away. Without an answer its error says how that went.
func (b *box) get(r *netlab.Resident, url string) (netlab.Response, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), brief)
	defer cancel()
	return r.Get(ctx, url)
}

// shows fails the test unless the box shows the resident, at its first page, what has the title (a key of the pages'
// words), in English.
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

// send sends a request that a test has prepared, over a connection of its own.
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

// press presses a button of the box's page and returns the answer.
func (b *box) press(r *netlab.Resident, path string) netlab.Response {
	b.t.Helper()
	reply, err := r.Post(b.t.Context(), portal+path, strings.NewReader(""))
	b.must(err)
	return reply
}

// admit presses the button that leads to the internet, which works at once.
func (b *box) admit(r *netlab.Resident) {
	b.t.Helper()
	if reply := b.press(r, "/session"); reply.Status != http.StatusSeeOther {
		b.t.Fatalf("the button was answered with %d:\n%s", reply.Status, reply.Body)
	}
	b.online(r)
}

// newcomer joins a resident and admits it.
func (b *box) newcomer(r *netlab.Resident) netlab.Lease {
	b.t.Helper()
	l := b.join(r)
	b.admit(r)
	return l
}

// online fails the test unless the resident's packets pass at once, and names are there soon: dnsmasq may have been
// started just now.
func (b *box) online(r *netlab.Resident) {
	b.t.Helper()
	b.must(b.echo(r, patience))
	b.waitOnline(r)
}

// reaches returns nil if the internet answers the resident soon, by name, else what it got instead.
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

// leads fails the test unless a name leads the resident to the address. Nobody knows the name yet; whether the box asked for
// it is returned. The first tries may meet a name server that is being started.
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
	return b.scene.Internet.Names.Asked(name) > 0
}

// held fails the test if anything of the internet answers the resident: by address, TCP on two ports, and UDP.
func (b *box) held(r *netlab.Resident) {
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

// echo returns nil if the internet sends the resident's datagram back within the limit, else what happened instead.
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

// mine returns what the box says of the resident's session.
func (b *box) mine(r *netlab.Resident) (s captive.Status) {
	b.t.Helper()
	q := b.request(http.MethodGet, portal+"/session")
	q.Header.Set("Accept", "application/json")
	b.must(json.NewDecoder(b.send(r, q).Body).Decode(&s))
	return s
}

// download starts a download and waits until it flows.
func (b *box) download(r *netlab.Resident) *netlab.Transfer {
	b.t.Helper()
	d, err := r.StartDownload(b.t.Context(), bigPage)
	b.must(err)
	b.flows(d)
	return d
}

// flows waits until more of the download has come.
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

// stopped fails the test if more of the download comes than what was under way.
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

// broken waits until the download is reset, although its receiver says nothing: before the receiver's own keepalive, after
// 15 s, would find that out.
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

// talk opens a connection to the internet that says something again and again: its end learns of a reset.
func (b *box) talk(r *netlab.Resident) net.Conn {
	b.t.Helper()
	conn, err := r.Dial(b.t.Context(), "tcp", netip.AddrPortFrom(netlab.WebAddr, 7000).String())
	b.must(err)
	b.t.Cleanup(func() { conn.Close() })
	_, err = io.WriteString(conn, "GET /slow?after=1m HTTP/1.1\r\nHost: www.example\r\n")
	b.must(err)
	return conn
}

// reset waits until the conversation is reset.
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
