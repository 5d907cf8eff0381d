package survey

import (
	"cmp"
	"slices"
	"time"

	"passerelle/appliance/fleet/report"
	"passerelle/cmd/hub/registry"
)

// Release is how a version does in the fleet. Hubs cannot choose what boxes get: boxes take what two people signed, and hubs decide at
// most in which order. So this is also for the signers.
type Release struct {
	Version report.Version
	Run     int // members that run it
	Trouble int // those of them that have a fault or are silent
	Fell    int // members that went back from it
}

// Tried returns how many boxes have run it.
func (r Release) Tried() int { return r.Run + r.Fell }

// Halt tells whether no further box should get it: more than one box in fifty that tried it went back.
func (r Release) Halt() bool { return r.Fell*50 > r.Tried() }

// Releases returns how versions do, the newest first.
func Releases(boxes []Box, now time.Time) []Release {
	of := map[report.Version]*Release{}
	at := func(v report.Version) *Release {
		if of[v] == nil {
			of[v] = &Release{Version: v}
		}
		return of[v]
	}
	for _, b := range boxes {
		if b.Stage != registry.Member {
			continue
		}
		needs := b.Needs("", now)
		for _, n := range needs {
			if n.Kind == Fell && n.Version != "" {
				at(n.Version).Fell++
			}
		}
		if v := b.Release(); v != "" {
			at(v).Run++
			if slices.ContainsFunc(needs, func(n Need) bool { return n.Kind == Fault || n.Kind == Silent }) {
				at(v).Trouble++
			}
		}
	}
	all := make([]Release, 0, len(of))
	for _, r := range of {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b Release) int {
		return cmp.Or(compareVersions(b.Version, a.Version), cmp.Compare(a.Version, b.Version))
	})
	return all
}
