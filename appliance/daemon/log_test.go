package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// logSink records a log, with the time of each record.
type logSink struct {
	mu    sync.Mutex
	lines []written
}

type written struct {
	at   time.Time
	text string
}

func (p *logSink) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, written{time.Now(), string(line)})
	return len(line), nil
}

// all returns what was written until now.
func (p *logSink) all() []written {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}

// floods are records that residents can cause: see logBurst.
var floods = []func(log *slog.Logger, n int){
	func(log *slog.Logger, n int) {
		log.Warn("serve pages", "err", fmt.Sprint("http: odd request number ", n))
	},
	func(log *slog.Logger, n int) {
		log.Debug("serve pages", "err", "http: TLS handshake error from a client: EOF", "n", n)
	},
	func(log *slog.Logger, n int) {
		log.Error("admit a resident", "err", "add an entry: no space left", "n", n)
	},
	func(log *slog.Logger, n int) {
		log.Debug("child says", "child", "dnsmasq", "line", "Maximum number of concurrent DNS queries reached (max: 300)", "n", n)
	},
	func(log *slog.Logger, n int) {
		log.Debug("child says", "child", "dnsmasq-captive", "line", strings.Repeat("name ", n%30), "n", n)
	},
	func(log *slog.Logger, n int) {
		log.With("n", n).Debug("child says", "child", "hostapd", "line", "wlan0: STA a device IEEE 802.11: associated")
	},
	func(log *slog.Logger, n int) {
		log.Debug("applied", "changes", 17, "first", "tc class replace dev wlan0", "n", n)
	},
	func(log *slog.Logger, n int) {
		log.Warn("problem", "error", "the kernel's dump was interrupted", "n", n)
	},
}

var (
	number   = regexp.MustCompile(` n=(\d+)|request number (\d+)`)
	leftOut  = regexp.MustCompile(` left_out=(\d+)\n`)
	kindText = regexp.MustCompile(`level=\w+ msg=("[^"]*"|\w+)(?: n=\d+)?(?: child=[\w-]+)?`)
)

// TestLogIsBounded: at any rate of records, no minute has more than 10 kB, the box's own records are written at once, the last
// record of each kind is written in the end, and every record is written or counted as left out.
func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out, random := &logSink{}, rand.New(rand.NewPCG(1, 2))
		bounded := NewLog(out, slog.LevelDebug)
		log := slog.New(bounded)
		said := make([]int, len(floods))
		own, began := 0, time.Now()
		for next := began; time.Since(began) < 30*time.Minute; {
			kind := random.IntN(len(floods))
			if time.Since(began)/(3*time.Minute)%2 == 0 { // half of the time one kind floods alone
				kind = int(time.Since(began)/(6*time.Minute)) % len(floods)
			}
			floods[kind](log, said[kind])
			said[kind]++
			if !time.Now().Before(next) {
				before := len(out.all())
				log.Info("state", "state", "sharing", "why", "a test", "number", own)
				if len(out.all()) != before+1 {
					t.Fatalf("after %v the box's own record was delayed", time.Since(began))
				}
				own++
				next = next.Add(45 * time.Second)
			}
			time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
		}
		time.Sleep(10 * time.Minute) // delayed records are written without a further one

		lines := map[string]int{}
		last, dropped, most := map[string]int{}, map[string]int{}, 0
		all := out.all()
		for i, line := range all {
			sum := 0
			for j := i; j >= 0 && line.at.Sub(all[j].at) < time.Minute; j-- {
				sum += len(all[j].text)
			}
			most = max(most, sum)
			if strings.Contains(line.text, "msg=state") {
				continue
			}
			kind := strings.ReplaceAll(regexp.MustCompile(` n=\d+`).ReplaceAllString(kindText.FindString(line.text), ""), "  ", " ")
			lines[kind]++
			if m := leftOut.FindStringSubmatch(line.text); m != nil {
				n, _ := strconv.Atoi(m[1])
				dropped[kind] += n
			}
			m := number.FindStringSubmatch(line.text)
			last[kind], _ = strconv.Atoi(m[1] + m[2])
			if lines[kind]+dropped[kind] != last[kind]+1 {
				t.Fatalf("%s: %d records were written and %d left out up to number %d", kind, lines[kind], dropped[kind], last[kind])
			}
		}
		if most > 10_000 {
			t.Errorf("%d bytes in a minute", most)
		}
		ended := map[int]int{}
		for _, n := range said {
			ended[n-1]++
		}
		for kind, n := range last {
			if ended[n] == 0 {
				t.Errorf("%s: number %d was written last, but logged were %v", kind, n, said)
			}
		}
		if len(last) != len(floods) {
			t.Errorf("the kinds are %v", last)
		}
		t.Logf("%d bytes in the worst minute, %d lines of %v", most, len(all), said)
	})
}

// TestLogOfLongLines: a record larger than its kind's burst is written whole and charged to the budget. Close writes delayed records.
func TestLogOfLongLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		bounded := NewLog(&out, slog.LevelInfo)
		log := slog.New(bounded)
		log.Debug("below the level")
		log.Error("long", "err", strings.Repeat("x", 3*logBurst))
		for n := range 5 {
			log.Error("long", "n", n)
		}
		time.Sleep(5 * time.Minute)
		if text := out.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, strings.Repeat("x", 3*logBurst)) {
			t.Errorf("after a long line: %q", text)
		}
		bounded.Close()
		if text := out.String(); !strings.HasSuffix(text, "level=ERROR msg=long n=4 left_out=4\n") {
			t.Errorf("in the end: %q", text)
		}
		time.Sleep(time.Hour)
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d lines", n)
		}
	})
}
