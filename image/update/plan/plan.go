package plan

import "crypto/sha256"

func sum(b []byte) Hash { return sha256.Sum256(b) }

// Sum returns the SHA-256 of bytes.
func Sum(b []byte) Hash { return sum(b) }

// Have is what a box already has of a release.
type Have struct {
	There   []bool         // by chunk: it is in its place in the slot
	Running map[Hash]int64 // offset of a chunk in the running slot, in bytes
	Delta   Runs           // against the running release, if there is one
}

// Kind is how chunks are brought into the slot.
type Kind int

// The kinds of steps.
const (
	Copy  Kind = iota // from the running slot
	Fetch             // a chunk's own file
	Apply             // a run's file, with a dictionary from the running slot
)

// Step brings consecutive chunks into the slot.
type Step struct {
	Kind         Kind
	First, Count int
	From         int64 // of a copy: offset in the running slot
	Run          Run   // of an Apply
}

// Plan is what brings a release into a slot.
type Plan struct {
	Steps []Step
	Bytes int64 // to fetch, without transport overhead
	Files int   // to fetch
	Keep  int   // chunks that are in place already
}

// Make returns the plan with the fewest bytes: a run is fetched if it is smaller than those of its chunks that neither slot has.
func Make(x Index, have Have) Plan {
	var p Plan
	add := func(i int) {
		c := x[i]
		if at, found := have.Running[c.SHA256]; found {
			p.Steps = append(p.Steps, Step{Kind: Copy, First: i, Count: 1, From: at})
			return
		}
		p.Steps = append(p.Steps, Step{Kind: Fetch, First: i, Count: 1})
		p.Bytes += int64(c.Stored)
		p.Files++
	}
	runs := have.Delta
	for i := 0; i < len(x); {
		for len(runs) > 0 && int(runs[0].First) < i {
			runs = runs[1:]
		}
		if len(runs) > 0 && int(runs[0].First) == i && worth(x, runs[0], have) {
			r := runs[0]
			p.Steps = append(p.Steps, Step{Kind: Apply, First: i, Count: int(r.Count), Run: r})
			p.Bytes += r.Size
			p.Files++
			i += int(r.Count)
			continue
		}
		if have.There[i] {
			p.Keep++
		} else {
			add(i)
		}
		i++
	}
	return p
}

// worth tells whether a run is smaller than those of its chunks that would be fetched.
func worth(x Index, r Run, have Have) bool {
	alone := int64(0)
	for i := int(r.First); i < int(r.First+r.Count); i++ {
		if _, found := have.Running[x[i].SHA256]; !found && !have.There[i] {
			alone += int64(x[i].Stored)
		}
	}
	return r.Size < alone
}

// Without returns steps that replace a run by the chunks' own files, for a damaged dictionary.
func (s Step) Without() []Step {
	steps := make([]Step, 0, s.Count)
	for i := s.First; i < s.First+s.Count; i++ {
		steps = append(steps, Step{Kind: Fetch, First: i, Count: 1})
	}
	return steps
}
