package autorate

import "time"

// The constants of the law. Times without a unit are in milliseconds, sizes in bytes. Rates are fractions of another rate.
//
// "cake-autorate" means a setting in its defaults.sh (August 2026). "Search" means that a search found the constant. It ran over the
// simulator's synthetic and fictional lines and eight recorded ones (LTE and UMTS: walking, driving, in the underground, in a dense
// city), with several hundred settings. It looked for the lowest delay and the highest use, compared with cake-autorate's law on each
// line. The figures after it say what 0.6 times and 1.6 times the constant changed: first the use, then the 95th percentile of the
// wait, as geometric means over those lines. Most are small: the law is not sensitive to these constants.

// The donated rates.
const (
	// FloorPart of the donated rate is always given: it is the lower bound of a line's rate.
	FloorPart = .05
	// startPart is the initial rate of an unknown line: low enough for a phone, and the rise is fast.
	startPart = .25
	// againPart of what a line carried before is the initial rate after [idle].
	againPart = .8
)

// The delay.
const (
	// goodMs: up to this delay above the base there is no queue. It is dl_avg_owd_delta_max_adjust_up_thr_ms of cake-autorate.
	// Search: -3 % and +2 % used, -3 % and +6 % wait.
	goodMs = 10
	// badMs: beyond this delay above the base there is a queue. cake-autorate uses 30 for the one-way delay, which is half of the round
	// trip, so 60 here. The law reacts earlier, since it uses two samples instead of six. Search: -7 % and +2 %, -6 % and +9 %.
	badMs = 20
	// packetMostMs limits the transmission time of a full packet, which is added to both thresholds (as in cake-autorate).
	packetMostMs = 50
	// freshMs is the age up to which a sample counts: two ticks, and the delay of the probe's sender. The lower of the two samples is
	// the delay, so that one late answer does not look like a queue. Search: -11 % and +11 %, -17 % and +17 %.
	freshMs = 460
	// smoothing is the weight of a new delay in the moving average that determines how fast the rate rises. Search: -1 % and +1 %,
	// -2 % and -4 %.
	smoothing = .45
	// noiseWeight is the weight of a calm line's noise (the difference between round trips, beyond quietMs) that is added to goodMs
	// and badMs: a radio's round trip is not constant. In the simulator with 15 ms of exponential noise, .80 of a line is used with
	// it, and .73 without.
	noiseWeight = 1.5
	quietMs     = 5
	// proofMs is the age up to which a flow that proves the absence of a queue replaces a probe.
	proofMs = 150
)

// The load.
const (
	// busyPart of the rate is the lowest load from which something can be learnt.
	busyPart = .3
	// saturatedPart of the rate is the most that the line carries if the line is the bottleneck, not the box.
	saturatedPart = .93
	// lossSmoothing is the weight of one tick's lost bytes in their moving average.
	lossSmoothing = .3
	// If more than lossyPart of what the line carries is lost, the cause is senders that do not yield to losses (BBR). The rate then
	// rises by lossyRise a tick, and falls no lower than lossyCut of the capacity at once: what arrives follows slowly.
	lossyPart = .04
	lossyRise = .01
	lossyCut  = .5
	// backlogBytes is the smallest backlog if the box is the bottleneck: two full packets.
	backlogBytes = 3000
)

// Probes. One costs 72 bytes for both ways (ICMP echo with 8 bytes of data).
const (
	// probesPerSecond is the long-term rate limit: 933 kB an hour, below 1 MB. probeBurst is the size of the token bucket.
	probesPerSecond = 3.6
	probeBurst      = 10
	// The shortest time between two probes: at the donated rate without a queue; while the rate rises; and, if probes have no answer
	// or no meaning, to detect a change. Otherwise there is one every tick.
	calmProbeMs   = 1000
	searchProbeMs = 390
	retryProbeMs  = 10_000
	// uneasyMs is the mean delay above which there is a probe every tick.
	uneasyMs = 5
)

// A queue beyond the box.
const (
	// The rate is firstCut of the capacity, less the part that drains the delay above goodMs within drainMs (drainUpMs for an upload).
	// Search (drainMs): -3 % and +1 %, -4 % and +8 %. An upload's queue drains at once, since it comes directly after the box.
	firstCut  = .93
	drainMs   = 320
	drainUpMs = 250
	// leastCut is the lower bound of the rate in a queue, as a fraction of the capacity. Search: 0 % and +1 %, 0 % and +1 %.
	leastCut = .13
	// What the line carries may change so much from one tick to the next that one tick says little about the next: the line flickers.
	// flickerWeight is the weight of a tick with a queue in the moving average of these changes, in natural logarithm. The excess over
	// flickerCalm, times flickerGain, at most flickerMost, is the blur. It is the fraction by which the capacity moves towards the
	// safe rate, in logarithm, and by which less is drained. After a queue, backBlur of it is added to backSafe. Steady lines, steps
	// and calm cells are below flickerCalm. On the eight recorded lines, with 12 runs of each, 3.5 % more is used with it than
	// without, the 95th percentile of the wait is 8 % longer, and Jain's index is the same within .015.
	flickerWeight = .1
	flickerCalm   = .25
	flickerGain   = 2.5
	flickerMost   = .6
	backBlur      = .8
	// At the start of a queue the safe rate moves by the fraction trust, in logarithm, towards a weighted geometric mean of the rate
	// and of what the line carries; dipWeight is the weight of the latter. Search: -1 % and -3 %, +1 % and +2 %; -1 % and -1 %, +1 %
	// and -2 %.
	trust     = .27
	dipWeight = .28
	// In each further tick it moves by the fraction sinking towards the capacity. Search: 0 % and +2 %, +2 % and +2 %.
	sinking = .05
	// If two ticks in a row carried the same within sureFactor, surePart of that is the upper bound of the safe rate.
	sureFactor = 1.15
	surePart   = .95
	// After a queue the rate is at least backCapacity of the capacity, and at least backSafe of the safe rate. Search: -1 % and +2 %,
	// -1 % and +4 %; -4 % and -1 %, -5 % and 0 %.
	backCapacity = .65
	backSafe     = .43
	// If a tick carried more than blipFactor of the rate before the queue, the line had only stood still.
	blipFactor = 1.15
	// Between goodMs and badMs the rate falls by easing a tick.
	easing = .015
)

// The rise per tick, while residents' packets wait in the box and there is no queue beyond it.
const (
	// fastRise is for rates below nearSafe of the safe rate. Search: -1 % and -1 %, -5 % and -2 %.
	fastRise = .13
	nearSafe = .85
	// Above nearSafe, the rise starts at the first number, and grows by the second for each second since the last queue. On a steady
	// line, where three queues in a row showed the same capacity within steadyFactor (a plateau):
	steadyRise     = .0074
	steadyRiseMore = .002
	steadyFactor   = 1.055
	// plateauPart of that capacity is safe.
	plateauPart = .94
	// A download's rate stays on a plateau for holdMost seconds, but at first for less: holdEach times that for each time after the
	// first that the rate came back to it. Then it climbs, to find out whether the line carries more: climbRise a tick, and climbRiseMore
	// for each second. On a line that carries just what is lent, each climb ends in a queue. With the hold, the 95th percentile of the
	// wait there is 18 instead of 43 ms, a call's 20 instead of 45 ms, and .93 instead of .91 of the line is used (12 simulated runs).
	holdMost      = 8
	holdEach      = .15
	climbRise     = .0035
	climbRiseMore = .003
	// A plateau is refuted if the line carries more than refutingPart of its capacity without a queue. From then on, the rise is at
	// least refutedRise until the next queue. On a line whose capacity steps, holds waste it: each refuted plateau leaves
	// constancyPart of the following holds, and makes the climb faster, at most by 1/climbLeast. Each time that the rate comes back to
	// a plateau, constancyBack of what is missing comes back. On lines of two or four capacities by turns, .83 is used, and .82 without
	// the hold (24 runs).
	refutingPart  = 1.06
	refutedRise   = .025
	constancyPart = .05
	constancyBack = .03
	climbLeast    = .35
	// On a calm line, where the capacities of calmCount queues agree within calmFactor:
	calmRise     = .004
	calmRiseMore = .001
	calmRiseMost = .025
	calmCount    = 5
	calmFactor   = 2.2
	// On a wild line, where queues form at any rate. Search: -2 % and +2 %, -2 % and +2 %; -5 % and +2 %, -2 % and +8 %.
	wildRise     = .03
	wildRiseMore = .013
	// riseMost is the largest rise on steady and wild lines.
	riseMost = .08
	// eagerness is how much faster the rise is if the mean delay is zero instead of goodMs.
	eagerness = 1.4
)

// A path to the target that became longer.
const (
	// fellPart: if at most this part of the traffic at the queue's start is left, a delay that persists may not be a queue.
	fellPart = .8
	// nearMoveMs is the largest increase for which the samples of a [part] are proof enough: a change of cell or of network (4G to 3G)
	// is below it. A larger increase takes 30 s of them.
	nearMoveMs = 100
	// stillMs is the largest difference between the lowest round trips of that time, stillCount the least number of samples of the
	// short proof. A lender's download with Cubic in a queue of 600 ms varies by more than 100 ms in 30 s.
	stillMs    = 20
	stillCount = 8
)

// Flows.
const (
	// A flow whose round trip is less than shortMs above the base proves that there is no relevant queue.
	shortMs = 40
	// firstRun is the initial estimate of the number of long flows between two short ones.
	firstRun = 2
	// A run of runFactor times (that number plus one) occurs by chance once in 33 times (exp(-3.5)).
	runFactor = 3.5
	// deafMs is the delay of flows from which probes without delay are not believed.
	deafMs = 40
	// nextDoorMs is the longest round trip to a target that does not cross a phone's radio. LTE's shortest is above 10 ms.
	nextDoorMs = 5
)

// Without probes. Found with runs on a line that carries exactly the donated rate, with no budget and with a silent target. Those of
// TestPassive: .87 to .93 used, at most 76 ms, Jain's index .99.
const (
	// blindPart of the donated rate is the highest rate without a short flow.
	blindPart = .9
	// blindRise is the rise a tick below that.
	blindRise = .03
	// blindStep is the rise after a short flow; blindProof that above blindNear of the donated rate, since a line that carries exactly
	// the donated rate shows no other sign.
	blindStep  = .08
	blindProof = .01
	blindNear  = .83
	// blindCreep is the rise a tick of the suspected capacity, for each second since the last queue.
	blindCreep = .0002
	// Below blindFar of what the line carried before it fell, the suspected capacity rises by blindReturn a tick. With each queue, the
	// rate before the fall moves by the fraction blindTrust, in logarithm, towards what the line carries then. On a line of 20 Mbit/s
	// that falls to 10, 5 or 2 for 10 s, .78, .71 and .57 of the 70 s from then on are used with it, and .71, .39 and .14 without.
	// From .75 on, steady lines wait longer.
	blindFar    = .7
	blindReturn = .025
	blindTrust  = .08
	// A queue is drained at blindCut of what the line carries; blindAgain of that is the suspected capacity.
	blindCut   = .85
	blindAgain = .95
	// blindEasing is the fall a tick if half of the flows that are evidence of a queue were long.
	blindEasing = .01
	// blindHold is the shortest time between two cuts because of flows.
	blindHold = 5 * time.Second
	// blindLag is the time, in s, in which a queue grows before it is detected: two ticks and a round trip.
	blindLag = .5
	// blindDrain is the shortest time to drain: the queue beyond the box may have grown slowly.
	blindDrain = time.Second
	// dryTicks without a backlog are evidence even if the line carries nearly the rate.
	dryTicks = 4
)
