package attempts

import (
	"fmt"
	"testing"
	"time"
)

func TestLimit(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 1, 4, 9, 0, 0, 0, time.UTC)
	l := &Limit{Now: func() time.Time { return now }}
	try := func(address string) bool {
		if !l.Allowed(address) {
			return false
		}
		l.Wrong(address)
		return true
	}
	for i := range wrongFrom {
		if !try("192.0.2.1") {
			t.Fatalf("wrong code %d is not tried", i+1)
		}
	}
	for _, same := range []string{"192.0.2.1", "::ffff:192.0.2.1"} {
		if try(same) {
			t.Errorf("%s has one more try", same)
		}
	}
	if !try("192.0.2.2") {
		t.Error("an address pays for another")
	}
	for range wrongFrom {
		try("2001:db8::1")
	}
	if try("2001:db8::2") {
		t.Error("a subscriber has a try for each of its addresses")
	}
	for i := l.all; i < wrongAll; i++ {
		if !try(fmt.Sprintf("198.51.%d.%d", i/250, i%250)) {
			t.Fatalf("wrong code %d of all is not tried", i)
		}
	}
	if try("203.0.113.1") {
		t.Error("there is no limit for all")
	}
	now = now.Add(window)
	if !try("192.0.2.1") {
		t.Error("the limit does not end")
	}
	now = now.Add(-time.Hour)
	if !try("192.0.2.1") {
		t.Error("a clock that was put back holds the limit")
	}
	for i := range addresses + 10 {
		l.Wrong(fmt.Sprintf("10.%d.%d.1", i/250, i%250))
	}
	if len(l.from) > addresses {
		t.Errorf("%d addresses are kept", len(l.from))
	}
}
