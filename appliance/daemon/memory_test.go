package daemon

import (
	"runtime"
	"testing"
)

// TestMemoryLimit: the limit is the budget while that leaves room for garbage. With a larger live heap the limit grows, so that the
// collector does not run all the time.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ live, want uint64 }{
		{0, memoryBudget}, {19 << 20, memoryBudget}, {40 << 20, 64 << 20}, {80 << 20, 114 << 20},
	} {
		if is := memoryLimit(c.live); is != int64(c.want) {
			t.Errorf("with %d MiB in use the limit is %d MiB, want %d", c.live>>20, is>>20, c.want>>20)
		}
	}
	runtime.GC()
	if used, live := memoryUse(); live == 0 || used <= live || used > 1<<40 {
		t.Errorf("the runtime tells that %d bytes are used, of which %d are live", used, live)
	}
}
