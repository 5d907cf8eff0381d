package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The bounds of the daemon's own memory, in bytes as the Go runtime counts them. The budget is 46 MB (RssAnon) with 20,000 places,
// packs, every page in six languages, and technicians at work: a board has 512 MB. A sign-in takes 9 MiB for a moment, after which
// the heap would stay larger for a long time.
const (
	memoryBudget   = 38 << 20
	memoryOverhead = 14 << 20 // stacks, and unused parts of the heap's pages, as measured
)

// memoryLimit returns the memory limit, in bytes, for a live heap of that size. It always leaves a quarter of the live heap for
// garbage: with less, the collector would take half of the processor.
func memoryLimit(live uint64) int64 {
	return max(memoryBudget, int64(live+live/4)+memoryOverhead)
}

// memoryUse returns what counts for the memory limit, and the live heap after the last collection, in bytes.
func memoryUse() (used, live uint64) {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64(), s[2].Value.Uint64()
}

// boundMemory sets the memory limit, and adjusts it to the live heap each minute until ctx ends. While more is used than the budget, it
// first frees what is garbage: otherwise what the busiest moment kept alive would decide.
func boundMemory(ctx context.Context) error {
	minutes := time.NewTicker(time.Minute)
	defer minutes.Stop()
	for {
		if used, _ := memoryUse(); used > memoryBudget {
			debug.FreeOSMemory()
		}
		_, live := memoryUse()
		debug.SetMemoryLimit(memoryLimit(live))
		select {
		case <-ctx.Done():
			return nil
		case <-minutes.C:
		}
	}
}
