package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The bounds of the daemon's own memory, in bytes as the runtime counts them. The budget is 44 MB (RssAnon) with 20,000 places,
// packs, every page in six languages and technicians who work: a board has 512 MB. A sign-in takes 9 MiB for a moment, which
// would let the heap grow for long.
const (
	memoryBudget   = 38 << 20
	memoryOverhead = 14 << 20 // stacks, and what the heap's pages have unused, as measured
)

// memoryLimit returns the limit for the bytes of the heap that are in use. Garbage always has a quarter of them: with less,
// the collector would take half of the processor.
func memoryLimit(live uint64) int64 {
	return max(memoryBudget, int64(live+live/4)+memoryOverhead)
}

// boundMemory sets the limit, and follows what is in use until ctx ends.
func boundMemory(ctx context.Context) error {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	minutes := time.NewTicker(time.Minute)
	defer minutes.Stop()
	for {
		metrics.Read(live)
		debug.SetMemoryLimit(memoryLimit(live[0].Value.Uint64()))
		select {
		case <-ctx.Done():
			return nil
		case <-minutes.C:
		}
	}
}
