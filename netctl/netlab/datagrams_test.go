package netlab

import (
	"context"
	"net"
	"testing"
	"time"
)

// TestReno checks that a sender over a link of 10 Mbit/s, 40 ms and a short queue uses most of the rate, slows down after losses
// and continues after an outage. The clock is simulated.
func TestReno(t *testing.T) {
	t.Parallel()
	const rate, way, queue = 10e6, 40 * time.Millisecond, 30 // bit/s; delay of both directions together; packets
	began := time.Unix(1000, 0)
	now, free := began, began
	r := newReno(now)
	type arrival struct {
		at     time.Time
		number uint64
	}
	var arrivals []arrival
	var dropped, carried int
	gone := false // the link carries nothing
	each := time.Duration(datagram * 8 / rate * float64(time.Second))
	put := func(number uint64) {
		if gone || free.Sub(now) > queue*each {
			dropped++
			return
		}
		free = maxTime(free, now).Add(each)
		arrivals = append(arrivals, arrival{free.Add(way), number})
	}
	run := func(long time.Duration) (used float64) {
		before := carried
		for end := now.Add(long); now.Before(end); now = now.Add(time.Millisecond) {
			for len(arrivals) > 0 && !arrivals[0].at.After(now) {
				carried++
				r.acknowledged(now, []uint64{arrivals[0].number})
				arrivals = arrivals[1:]
			}
			for {
				n, ok := r.send(now)
				if !ok {
					n, ok = r.timeout(now)
				}
				if !ok {
					break
				}
				put(n)
			}
			if r.waiting < 0 || len(r.flight) > 2000 {
				t.Fatalf("%d packets wait of %d", r.waiting, len(r.flight))
			}
		}
		return float64(carried-before) * datagram * 8 / long.Seconds() / rate
	}
	if used := run(20 * time.Second); used < .8 || used > 1 {
		t.Errorf("used %.2f of the link", used)
	}
	if lost := float64(dropped) / float64(carried); dropped == 0 || lost > .05 {
		t.Errorf("%d packets of %d were lost: the sender does not yield", dropped, carried)
	}
	gone = true
	sent := r.next
	if used := run(10 * time.Second); used > .01 || r.window != leastWindow || r.next-sent > 100 {
		t.Errorf("through a dead link %.2f, a window of %.0f bytes, %d packets", used, r.window, r.next-sent)
	}
	gone = false
	run(10 * time.Second) // long enough for the next of its rare packets
	if used := run(20 * time.Second); used < .8 {
		t.Errorf("used %.2f of the link when it was back", used)
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// TestDatagrams checks that the two ends understand each other, and that they end with the context.
func TestDatagrams(t *testing.T) {
	t.Parallel()
	listener, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	source, err := net.Dial("udp4", listener.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	transfer := newTransfer(cancel)
	ended := make(chan error, 2)
	go func() { ended <- sendDatagrams(ctx, source) }()
	go func() { ended <- transfer.takeDatagrams(&toPeer{listener, source.LocalAddr()}) }()
	for limit := time.After(20 * time.Second); transfer.Total() < 3_000_000; {
		select {
		case <-limit:
			t.Fatalf("%d bytes came", transfer.Total())
		case err := <-ended:
			t.Fatalf("an end stopped: %v", err)
		case <-time.After(Tick):
		}
	}
	cancel()
	source.Close()
	listener.Close()
	for range 2 {
		<-ended
	}
}
