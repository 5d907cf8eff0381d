package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"passerelle/appliance/config"
	"passerelle/appliance/plan"
	"passerelle/cmd/internal/box"
	"passerelle/netctl"
	"passerelle/netctl/netlab"
)

const (
	phones         = 8 // residents who send requests
	connsEach      = 4 // connections of each: 32 in all
	getFirstPage   = "GET / HTTP/1.1\r\nHost: 10.80.0.1\r\n"
	lessonPath     = "/tutorials/wifi"
	getLesson      = "GET " + lessonPath + " HTTP/1.1\r\nHost: 10.80.0.1\r\n"
	getProbe       = "GET /generate_204 HTTP/1.1\r\nHost: connectivitycheck.example\r\n"
	requestHeaders = "User-Agent: Mozilla/5.0 (Linux; Android 14)\r\nAccept: text/html\r\nAccept-Encoding: gzip, deflate\r\nAccept-Language: fr\r\n"
)

// allowed is how many new connections the gate's limit leaves to a resident in one turn. refill is the time until the resident may open
// as many again. Beyond the limit the gate drops the first packets of connections, and a rate would be the limit's, not the page's.
const (
	allowed = plan.ConnBurst * 4 / 5
	refill  = plan.ConnBurst * time.Second / plan.ConnRate
)

// pages compares the daemon with a bare Go handler that writes the same bytes, once on a plain box and once behind the gate's rules.
// Residents are not admitted. In all three, and with openNDS, their requests to the internet are redirected to the box.
func pages(ctx context.Context, b *bench) (rows []row, err error) {
	scenes, err := b.pageScenes(ctx)
	defer func() {
		for _, s := range scenes {
			err = errors.Join(err, s.close())
		}
	}()
	if err != nil {
		return nil, err
	}
	other, err := b.startPeer(ctx, standard(netlab.Options{Residents: phones, Direct: true}), 0)
	if err != nil {
		return nil, err
	}
	if other != nil {
		defer func() { err = errors.Join(err, other.Close()) }()
	}
	for _, ask := range []struct {
		name, address, request, status string
		least                          float64 // least ratio to bare
		peers                          func(*peer) (load, error)
	}{
		{"first page", portalAddress, getFirstPage, "HTTP/1.1 200", 0.7, (*peer).firstPage},
		{"redirect", webAddress, getProbe, "HTTP/1.1 302", 0.7, (*peer).redirect},
		{"a lesson", portalAddress, getLesson, "HTTP/1.1 200", 0.5, nil},
	} {
		for _, keep := range []bool{true, false} {
			l := load{address: ask.address, request: ask.request + requestHeaders, status: ask.status, keep: keep, most: allowed / connsEach}
			what := ask.name + ", a connection each"
			if keep {
				what = ask.name + ", keep-alive"
			}
			d := orQuick(b, 1500*time.Millisecond, 500*time.Millisecond)
			var all []variant[requestRate]
			for i := range scenes {
				s := &scenes[i]
				all = append(all, variant[requestRate]{s.name, func(ctx context.Context) (requestRate, error) {
					return s.turn(ctx, l, d)
				}})
			}
			if other != nil && ask.peers != nil && !keep {
				all = append(all, variant[requestRate]{other.name, optional(func(ctx context.Context) (requestRate, error) {
					l, err := ask.peers(other)
					if err != nil {
						return 0, err
					}
					return l.run(ctx, other.Residents, d)
				})})
			}
			results, err := interleave(ctx, b, what, all)
			if err != nil {
				return nil, err
			}
			number := func(p requestRate) float64 { return float64(p) }
			bare, behind, ours := values(results[0], number), values(results[1], number), values(results[2], number)
			r := ratio(ours, bare)
			rows = append(rows, row{
				what:     fmt.Sprintf("%s, %d connections", what, phones*connsEach),
				target:   fmt.Sprintf("≥ %.2f of bare", ask.least),
				measured: requestRate(median(ours)).String(),
				beside:   fmt.Sprintf("bare %v, behind the gate's rules %v", requestRate(median(bare)), requestRate(median(behind))),
				ratio:    fmt.Sprintf("%s; %s of bare behind the rules", r, ratio(ours, behind)),
				met:      verdictOf(r.median >= ask.least),
			})
			if len(results) > len(scenes) && results[len(scenes)] != nil {
				theirs := values(results[len(scenes)], number)
				rows = append(rows, row{
					what:     fmt.Sprintf("%s, %d connections, %s", what, phones*connsEach, other.name),
					measured: requestRate(median(theirs)).String(),
					beside:   "passerelle " + requestRate(median(ours)).String(),
					ratio:    fmt.Sprintf("1/%.0f", ratio(ours, theirs).median),
				})
			}
		}
	}
	return rows, nil
}

// pageScene is a box that serves pages.
type pageScene struct {
	name      string
	residents []*netlab.Resident
	close     func() error
	rested    time.Time // when the gate's limit allows a turn with one connection per request
}

// turn measures a load of the scene's residents, once the gate's limit allows its connections.
func (s *pageScene) turn(ctx context.Context, l load, d time.Duration) (requestRate, error) {
	if !l.keep {
		if err := sleep(ctx, time.Until(s.rested)); err != nil {
			return 0, err
		}
		defer func() { s.rested = time.Now().Add(refill) }()
	}
	return l.run(ctx, s.residents, d)
}

// pageScenes creates the three boxes. On error it also returns those that it has created.
func (b *bench) pageScenes(ctx context.Context) (all []pageScene, err error) {
	o := netlab.Options{Residents: phones, Direct: true}
	d, err := b.startDaemon(ctx, o, box.Setup{})
	if err != nil {
		return nil, err
	}
	ours := pageScene{name: "passerelle", residents: d.Residents, close: d.Close}
	answers, err := record(ctx, d.Residents[0].Host)
	if err != nil {
		return []pageScene{ours}, err
	}
	plain, err := plainScene(ctx, standard(o))
	if err != nil {
		return []pageScene{ours}, err
	}
	all = append(all, pageScene{name: "bare", residents: plain.Residents, close: plain.Close}, ours)
	_, err = plain.Box.Run(ctx, "iptables", "-t", "nat", "-A", "PREROUTING", "-i", "wlan0", "-p", "tcp", "--dport", "80", "-j", "REDIRECT")
	if err := errors.Join(err, startBare(ctx, plain, answers)); err != nil {
		return all, err
	}
	behind, err := gatedScene(ctx, standard(o), config.Limits{}, config.Donation{})
	if err != nil {
		return all, err
	}
	all = []pageScene{all[0], {name: "bare behind the gate's rules", residents: behind.Residents, close: behind.Close}, ours}
	bindings := make([]netctl.Binding, len(behind.Residents)) // as the daemon does for leases
	for k, r := range behind.Residents {
		bindings[k] = netctl.Binding{Addr: addressOf(k), MAC: netctl.MAC(r.MAC), Left: 12 * time.Hour}
	}
	err = behind.Box.Do(func() error { _, err := behind.gate.Bind(bindings); return err })
	if err != nil {
		return all, err
	}
	return all, startBare(ctx, behind.Scene, answers)
}

// answer is a recorded answer of the daemon, which the bare handler repeats.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// record fetches the daemon's pages, by path, and its redirect (under "", for all other paths).
func record(ctx context.Context, h *netlab.Host) (map[string]answer, error) {
	client := h.HTTPClient()
	client.Transport.(*http.Transport).DisableCompression = true // the body as it is sent
	answers := map[string]answer{}
	for path, url := range map[string]string{
		"/": "http://" + portalAddress + "/", lessonPath: "http://" + portalAddress + lessonPath, "": "http://" + webAddress + "/generate_204",
	} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Accept-Encoding", "gzip, deflate")
		request.Header.Set("Accept-Language", "fr")
		reply, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(reply.Body)
		reply.Body.Close()
		if err != nil {
			return nil, err
		}
		reply.Header.Del("Date") // every server writes its own
		answers[path] = answer{reply.StatusCode, reply.Header, body}
	}
	return answers, nil
}

// bareVariable makes this program the bare handler. Its value is the address to listen on.
const bareVariable = "PASSERELLE_BENCH_BARE"

// serveBare writes the recorded answers at the cost of net/http alone.
func serveBare(address string, recorded io.Reader) error {
	var answers map[string]answer
	if err := json.NewDecoder(recorded).Decode(&answers); err != nil {
		return fmt.Errorf("read what to answer: %w", err)
	}
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := answers[r.URL.Path]
		if !ok {
			a = answers[""]
		}
		h := w.Header()
		for name, values := range a.Header {
			h[name] = values
		}
		w.WriteHeader(a.Status)
		w.Write(a.Body)
	}))
}

// startBare starts the bare handler on the scene's box, in a process of its own like the daemon.
func startBare(ctx context.Context, s *netlab.Scene, answers map[string]answer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	text, err := json.Marshal(answers)
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), bareVariable+"=:80")
	cmd.Stdin = bytes.NewReader(text)
	p, err := s.Box.StartCmd(cmd)
	if err != nil {
		return err
	}
	for limit := time.Now().Add(10 * time.Second); ; {
		err := s.Residents[0].Do(func() error { return askOnce(portalAddress, getFirstPage+"\r\n", "HTTP/1.1 200") })
		if err == nil {
			return nil
		}
		if time.Now().After(limit) || ctx.Err() != nil {
			return fmt.Errorf("start the bare handler: %w: %s", err, p.Output())
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// requestRate is a number of requests a second.
type requestRate float64

func (p requestRate) String() string {
	if p < 10 {
		return fmt.Sprintf("%.1f/s", float64(p))
	}
	return fmt.Sprintf("%.0f/s", float64(p))
}

// load is a repeated request.
type load struct {
	address string
	request string // without the empty line at its end
	status  string // prefix of the answer
	keep    bool   // one connection for all requests, otherwise one for each

	each []string      // by resident, instead of request
	wait time.Duration // for an answer after the end; 0 means timeout

	most int // connections one after the other, for each of the parallel ones; 0 means until the end
}

// run sends requests from each resident over several connections at once for a duration, and returns the total rate.
func (l load) run(ctx context.Context, residents []*netlab.Resident, d time.Duration) (requestRate, error) {
	empty := "Connection: close\r\n\r\n"
	if l.keep {
		empty = "\r\n"
	}
	counts := make([]int, len(residents)*connsEach)
	conns, err := l.dial(ctx, residents, len(counts))
	if err != nil {
		return 0, err
	}
	var all errgroup.Group
	start := time.Now()
	end := start.Add(d)
	for i := range counts {
		resident, l := residents[i/connsEach], l
		if l.each != nil {
			l.request = l.each[i/connsEach]
		}
		l.request += empty
		if l.keep {
			all.Go(func() (err error) {
				counts[i], err = l.converse(conns[i], end)
				return err
			})
			continue
		}
		all.Go(func() error {
			// On its own thread in the namespace, so that connections are made without a change of threads.
			return resident.Do(func() error {
				for made := 0; (l.most == 0 || made < l.most) && time.Now().Before(end) && ctx.Err() == nil; made++ {
					conn, err := connect(l.address)
					if err != nil {
						return err
					}
					n, err := l.converse(conn, end)
					if counts[i] += n; err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	if err := errors.Join(all.Wait(), ctx.Err()); err != nil {
		return 0, err
	}
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return requestRate(float64(sum) / time.Since(start).Seconds()), nil
}

// dial opens the connections of a load that keeps them, and none otherwise. A resident's first contact with a box may take a second
// until a packet is retransmitted, which is not a page's cost.
func (l load) dial(ctx context.Context, residents []*netlab.Resident, count int) ([]net.Conn, error) {
	if !l.keep {
		return nil, nil
	}
	conns := make([]net.Conn, count)
	var all errgroup.Group
	for i := range conns {
		all.Go(func() (err error) {
			conns[i], err = residents[i/connsEach].Dial(ctx, "tcp", l.address)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
		return nil, err
	}
	return conns, nil
}

// converse uses one connection, until the end or for one request, and returns the number of answers.
func (l load) converse(conn net.Conn, end time.Time) (answered int, err error) {
	defer conn.Close()
	if err := conn.SetDeadline(end.Add(cmp.Or(l.wait, timeout))); err != nil {
		return 0, err
	}
	request, buf := []byte(l.request), make([]byte, 32<<10)
	size := 0 // of each answer: all have the same size
	for {
		if _, err := conn.Write(request); err != nil {
			return answered, err
		}
		got := 0
		for size == 0 || got < size {
			n, err := conn.Read(buf[got:])
			if got += n; err != nil {
				return answered, fmt.Errorf("after %d bytes of an answer: %w", got, err)
			}
			if size == 0 {
				size = answerSize(buf[:got])
			}
		}
		if got != size || !bytes.HasPrefix(buf, []byte(l.status)) {
			return answered, fmt.Errorf("an answer of %d bytes, want %d: %.60q", got, size, buf[:got])
		}
		answered++
		if !l.keep || !time.Now().Before(end) {
			return answered, nil
		}
	}
}

// answerSize returns the length of an HTTP answer according to its header, 0 if the header is incomplete.
func answerSize(b []byte) int {
	header, _, whole := bytes.Cut(b, []byte("\r\n\r\n"))
	if !whole {
		return 0
	}
	_, after, _ := bytes.Cut(header, []byte("\r\nContent-Length: "))
	number, _, _ := bytes.Cut(after, []byte("\r\n"))
	n, err := strconv.Atoi(string(number))
	if err != nil {
		n = 0
	}
	return len(header) + 4 + n
}
