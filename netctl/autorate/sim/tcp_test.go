package sim

import "testing"

// TestTimeout: packets that a timeout gave up are not counted as in flight twice. Their late acknowledgements must not free room in
// the window, or the flow would send more than its window from then on.
func TestTimeout(t *testing.T) {
	f := newFlow(0, 0, 50)
	f.inflight, f.lastAck = 10, 100
	f.timeout(100 + minRTO)
	if f.inflight != 10 {
		t.Fatal("it is too early")
	}
	f.timeout(101 + minRTO)
	if f.inflight != 0 || f.window != 2 {
		t.Fatalf("after a timeout %d are in flight, of a window of %v", f.inflight, f.window)
	}
	f.inflight = 2 // sent again
	for range 10 {
		f.acked(1200, 100)
	}
	f.lost(1200, 100)
	if f.inflight != 2 || f.window != 2 {
		t.Errorf("after late answers %d are in flight, of a window of %v", f.inflight, f.window)
	}
	f.acked(1250, 1150)
	if f.inflight != 1 || f.window <= 2 {
		t.Errorf("after an answer %d are in flight, of a window of %v", f.inflight, f.window)
	}
}
