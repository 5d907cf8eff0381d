package gate

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"passerelle/netctl"
)

// TestSteps: from any tree of classes to any other, in an order that the kernel accepts. No class is deleted before its children,
// created without its parent, or moved to another parent (htb_change_class, htb_delete).
func TestSteps(t *testing.T) {
	t.Parallel()
	random := func(r *rand.Rand) (tree []class) {
		top := uint16(0)
		if r.IntN(2) == 0 {
			top = netctl.MinorTotal
			tree = append(tree, class{minor: top, rate: 1 + r.Uint64N(3), ceil: 9})
		}
		slow := r.IntN(2) == 0
		if slow {
			tree = append(tree, class{minor: netctl.MinorSlow, parent: top, rate: 1, ceil: 9})
		}
		for minor := uint16(2); minor < 6; minor++ {
			if r.IntN(2) == 0 {
				tree = append(tree, class{minor: minor, parent: top, rate: 1, ceil: 1 + r.Uint64N(3), leaf: true})
			}
			if slow && r.IntN(2) == 0 {
				tree = append(tree, class{minor: slowMinor(minor), parent: netctl.MinorSlow, rate: 1, ceil: 2, leaf: true})
			}
		}
		return tree
	}
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 0))
		have, want := map[uint16]class{}, map[uint16]class{}
		before := tree{classes: map[uint16]class{}, queues: map[uint16]leafQueue{}}
		for _, c := range random(r) {
			have[c.minor], before.classes[c.minor] = c, c
			if c.leaf {
				before.queues[c.minor] = leafQueue{kind: leafBFIFO}
			}
		}
		list := random(r)
		for _, c := range list {
			want[c.minor] = c
		}
		for _, step := range before.steps(device{name: "wlan0"}, list, leafQueue{kind: leafBFIFO}) {
			var verb string
			var major, minor uint16
			if n, _ := fmt.Sscanf(step.op, "tc class %s dev wlan0 classid %x:%x", &verb, &major, &minor); n != 3 {
				continue // of a queue
			}
			now, there := have[minor]
			switch verb {
			case "del":
				for _, c := range have {
					if c.parent == minor {
						t.Fatalf("seed %d: %s while it has the child %x", seed, step.op, c.minor)
					}
				}
				if !there {
					t.Fatalf("seed %d: %s, which is not there", seed, step.op)
				}
				delete(have, minor)
			default:
				c := want[minor]
				if _, found := have[c.parent]; c.parent != 0 && !found {
					t.Fatalf("seed %d: %s without its parent %x", seed, step.op, c.parent)
				}
				if there && now.parent != c.parent {
					t.Fatalf("seed %d: %s gets another parent", seed, step.op)
				}
				have[minor] = c
			}
		}
		if !maps.Equal(have, want) {
			t.Fatalf("seed %d: %v instead of %v", seed, have, want)
		}
	}
}
