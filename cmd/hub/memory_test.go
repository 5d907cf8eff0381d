package main

import "testing"

// A hub stays within its budget of 150 MB with 1,300 boxes, of which the limit leaves 25 MB to the program itself; with more boxes it may
// take what 5,000 were measured to need (325 MB), and never less than with fewer.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	const program = 25 << 20
	for _, boxes := range []int{0, 1, 130, 1300} {
		if got := memoryLimit(boxes); got+program > 150e6 {
			t.Errorf("%d boxes: %d bytes and the program are above 150 MB", boxes, got)
		}
	}
	if got := memoryLimit(5000); got < 325e6 {
		t.Errorf("5,000 boxes: %d bytes, and 325 MB were needed", got)
	}
	before := int64(0)
	for boxes := range 10_000 {
		got := memoryLimit(boxes)
		if got < before {
			t.Fatalf("%d boxes: %d bytes, and %d with one fewer", boxes, got, before)
		}
		before = got
	}
}
