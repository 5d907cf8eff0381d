package daemon

import (
	"runtime/metrics"
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
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	if metrics.Read(live); live[0].Value.Kind() != metrics.KindUint64 {
		t.Error("the runtime does not tell what is in use")
	}
}
