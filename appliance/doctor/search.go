package doctor

import (
	"context"
	"slices"
	"sync"
	"time"

	"passerelle/appliance/state"
)

// search is one run of all steps.
type search struct {
	src    Sources
	status state.Status // the box's status when the search began
	done   chan struct{}

	mu    sync.Mutex
	began time.Time
	ended time.Time       // zero while it runs
	bytes uint64          // sent and received on uplinks
	steps []state.Finding // all steps in order; a step without a verdict is not done yet
}

// lineSteps are the steps of an uplink, in order.
var lineSteps = []state.Step{
	state.StepInterface, state.StepLink, state.StepAddress, state.StepGateway, state.StepResolver, state.StepNames, state.StepTCP,
	state.StepPage,
}

func newSearch(src Sources) *search {
	s := &search{src: src, status: src.Status(), done: make(chan struct{}), began: src.Now()}
	add := func(step state.Step, of string) { s.steps = append(s.steps, state.Finding{Step: step, Of: of}) }
	add(state.StepBox, "")
	for _, d := range s.status.Donations {
		for _, step := range lineSteps {
			add(step, d.Name)
		}
	}
	for _, step := range []state.Step{
		state.StepHotspot, state.StepRadio, state.StepAnswers, state.StepPortal, state.StepDHCP, state.StepDisk, state.StepClock,
	} {
		add(step, "")
	}
	for _, d := range s.status.Donations {
		add(state.StepCap, d.Name)
	}
	add(state.StepLights, "")
	return s
}

func (s *search) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended.IsZero()
}

func (s *search) diagnosis() state.Diagnosis {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := state.Diagnosis{Began: s.began.In(s.status.Clock.Now.Location()), Bytes: s.bytes, Steps: slices.Clone(s.steps)}
	if s.ended.IsZero() {
		d.Running, d.Took = true, s.src.Now().Sub(s.began).Milliseconds()
		return d
	}
	d.Took, d.Verdict = s.ended.Sub(s.began).Milliseconds(), d.Worst()
	if f, ok := d.FindCause(); ok {
		d.Cause = f.Code
	}
	return d
}

// spare returns the verdict that a fault of a donation counts as; "" for a fault. While another donation is in use, it is only a
// warning, since the box does without this one. A paused or closed donation does not need to work.
func (s *search) spare(d state.Donation) state.Verdict {
	inUse := func(d state.Donation) bool { return d.Chosen }
	switch {
	case d.PausedBy != "" || !d.Open:
		return state.Skipped
	case !inUse(d) && slices.ContainsFunc(s.status.Donations, inUse):
		return state.Warn
	}
	return ""
}

// put stores the finding of a step.
func (s *search) put(f state.Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.steps, func(x state.Finding) bool { return x.Step == f.Step && x.Of == f.Of })
	s.steps[i] = f
}

// spend counts bytes that were sent or received on an uplink.
func (s *search) spend(bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += bytes
}

// check is a step, with the function that does it.
type check struct {
	step state.Step
	do   func(ctx context.Context) said
}

// subject is what a chain is about.
type subject struct {
	of    string        // the donation's name; "" for the box
	fault state.Verdict // the verdict that a fault counts as; "" for a fault
}

// chain runs steps about the same subject, one after the other. After a fault the later steps are skipped. ok is false if there was a
// fault.
func (s *search) chain(ctx context.Context, about subject, checks ...check) (ok bool) {
	var cause state.Step
	for _, c := range checks {
		var x said
		switch {
		case cause != "":
			x = say("not-after", "step", string(cause))
		case ctx.Err() != nil:
			x = say("not-in-time")
		default:
			x = c.do(ctx)
			if verdict := x.verdict(); ctx.Err() != nil && verdict != state.OK { // the timeout may have caused the verdict
				x = say("not-in-time")
			} else if verdict == state.Bad {
				cause = c.step
			}
		}
		f := x.finding(c.step, about.of)
		if f.Verdict == state.Bad && about.fault != "" {
			f.Verdict = about.fault
		}
		s.put(f)
	}
	return cause == ""
}

// run runs the search.
func (s *search) run(ctx context.Context, d *Doctor) {
	defer close(s.done)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s.chain(ctx, subject{}, check{state.StepBox, func(context.Context) said { return box(s.status) }})
	var side sync.WaitGroup
	side.Go(func() {
		s.chain(ctx, subject{}, check{state.StepDisk, func(ctx context.Context) said {
			return disk(d.testDisk(ctx))
		}})
	})
	lines := s.lines(ctx)
	var asked sync.WaitGroup
	for _, l := range lines {
		asked.Go(func() { l.run(ctx) })
	}
	asked.Wait()
	s.hotspot(ctx, lines)
	s.chain(ctx, subject{}, check{state.StepRadio, func(context.Context) said { return radio(s.status.Hotspot) }})
	s.chain(ctx, subject{}, check{state.StepClock, func(context.Context) said {
		most, ok := s.src.Kernel.Clock()
		return clock(s.src.Status().Clock, most, ok)
	}})
	for _, x := range s.status.Donations {
		s.chain(ctx, subject{x.Name, s.spare(x)}, check{state.StepCap, func(context.Context) said { return capOf(x) }})
	}
	s.chain(ctx, subject{}, check{state.StepLights, func(context.Context) said {
		names, problems := s.src.Machine.Lights()
		return lights(names, problems, s.status.State)
	}})
	side.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = s.src.Now()
}
