package autorate

import "time"

// The constants of the law. Times without a unit are in milliseconds, sizes in bytes, rates are parts of another rate.
//
// "cake-autorate" names a setting of its defaults.sh (August 2026). Where a constant says "search", it was found by a
// search over the simulator's made and fictional lines and eight recorded ones (LTE and UMTS: walking, driving, in the
// underground, in a dense city): several hundred settings, for the least delay and the most use beside cake-autorate's law
// on each line. What follows it is what 0.6 and 1.6 times the constant did to what is used and to the 95th percentile
// of the wait, as the geometric mean of those lines. Most are flat: the law does not hang on them.

// What is lent.
const (
	// FloorPart of the lent rate is always given: the least of a line's rates.
	FloorPart = .05
	// startPart is where a line begins of which nothing is known: slow enough for a phone, and the rise is fast.
	startPart = .25
	// againPart of what a line carried is where it begins after [idle].
	againPart = .8
)

// The delay.
const (
	// goodMs above the base there is no queue: dl_avg_owd_delta_max_adjust_up_thr_ms of cake-autorate. Search: -3 % and
	// +2 % used, -3 % and +6 % wait.
	goodMs = 10
	// badMs above the base there is one. cake-autorate has 30 of one-way delay as half of a round trip, so 60 here;
	// the law reacts to less, since it uses two samples instead of six. Search: -7 % and +2 %, -6 % and +9 %.
	badMs = 20
	// packetMostMs bounds the time of a full packet at the rate, which is added to both (as cake-autorate does).
	packetMostMs = 50
	// freshMs is the age up to which a sample counts: two ticks and what the probe's sender is late. The least of the
	// two is the delay, so that one late answer is not a queue. Search: -11 % and +11 %, -17 % and +17 %.
	freshMs = 460
	// smoothing is the weight of a new delay in the mean that decides how fast the rate rises. Search: -1 % and +1 %,
	// -2 % and -4 %.
	smoothing = .45
	// noiseWeight of what the trips differ by in a calm line, beyond quietMs, is added to goodMs and badMs: a radio's
	// round trip is not constant. In the simulator with 15 ms of exponential noise .80 of a line is used with it, and
	// .73 without.
	noiseWeight = 1.5
	quietMs     = 5
	// proofMs is the age up to which a flow that proves that there is no queue replaces a probe.
	proofMs = 150
)

// The load.
const (
	// busyPart of the rate is the least load of which something can be learnt.
	busyPart = .3
	// saturatedPart of the rate is the most that the line carries if it, not the box, is the bottleneck.
	saturatedPart = .93
	// lossSmoothing is the weight of a tick's lost bytes in their mean.
	lossSmoothing = .3
	// Above lossyPart of what the line carries, senders that do not yield to losses (BBR) are the cause. The rate then rises
	// by lossyRise in a tick, and falls to no less than lossyCut of the capacity at once: what arrives follows slowly.
	lossyPart = .04
	lossyRise = .01
	lossyCut  = .5
	// backlogBytes is what waits in the box at least if it is the bottleneck: two full packets.
	backlogBytes = 3000
)

// Probes. One costs 72 bytes both ways (ICMP echo with 8 bytes of data).
const (
	// probesPerSecond is how many there are at most over time: 933 kB an hour, below 1 MB. probeBurst can be saved.
	probesPerSecond = 3.6
	probeBurst      = 10
	// The least time between two: at the lent rate without a queue; while the rate rises; if probes have no answer
	// or no meaning, to hear whether that changed. Else there is one each tick.
	calmProbeMs   = 1000
	searchProbeMs = 390
	retryProbeMs  = 10_000
	// uneasyMs is the mean delay above which there is a probe each tick.
	uneasyMs = 5
)

// A queue beyond the box.
const (
	// The rate is firstCut of the capacity, less a part for the delay above goodMs: all of it would drain drainMs of queue
	// in that time. Search (drainMs): -3 % and +1 %, -4 % and +8 %. An upload drains at once, as its queue is behind the box.
	firstCut  = .93
	drainMs   = 320
	drainUpMs = 250
	// leastCut is the least part of the capacity. Search: 0 % and +1 %, 0 % and +1 %.
	leastCut = .13
	// What the line carries may change so much from one tick to the next that one says little about the other: the line flickers.
	// flickerWeight is the weight of a tick with a queue in the mean of these changes, in logarithm. Above flickerCalm, flickerGain
	// times the rest, flickerMost at most, is the part by which the capacity moves towards the safe rate, in logarithm, and by
	// which less is drained. After a queue, backBlur of that part is added to backSafe. Steady lines, steps and calm cells are
	// below flickerCalm. On the eight recorded lines, 12 runs of each, 3.5 % more is used with it than without, the 95th percentile
	// of the wait is 8 % longer, and Jain's index is the same within .015.
	flickerWeight = .1
	flickerCalm   = .25
	flickerGain   = 2.5
	flickerMost   = .6
	backBlur      = .8
	// At the start of a queue, the safe rate moves by the part trust, in logarithm, towards a mean of the rate and of what
	// the line carries, in which the latter has dipWeight. Search: -1 % and -3 %, +1 % and +2 %; -1 % and -1 %, +1 % and
	// -2 %.
	trust     = .27
	dipWeight = .28
	// In each further tick it moves by the part sinking towards the capacity. Search: 0 % and +2 %, +2 % and +2 %.
	sinking = .05
	// If two ticks in a row carried the same within sureFactor, surePart of that is the most that is safe.
	sureFactor = 1.15
	surePart   = .95
	// After it, the rate is backCapacity of the capacity and backSafe of the safe rate, at least. Search: -1 % and +2 %,
	// -1 % and +4 %; -4 % and -1 %, -5 % and 0 %.
	backCapacity = .65
	backSafe     = .43
	// A tick with blipFactor of the rate before the queue shows that the line just stood still.
	blipFactor = 1.15
	// Between goodMs and badMs the rate falls by easing in a tick.
	easing = .015
)

// The rise, in a tick, while residents wait in the box and there is no queue beyond it.
const (
	// fastRise is for rates below nearSafe of the safe rate. Search: -1 % and -1 %, -5 % and -2 %.
	fastRise = .13
	nearSafe = .85
	// Above it the rise begins at the first number, and is more by the second for each second since the last queue.
	// On a steady line, of which three queues in a row showed the same capacity within steadyFactor (a plateau):
	steadyRise     = .0074
	steadyRiseMore = .002
	steadyFactor   = 1.055
	// plateauPart of it is safe.
	plateauPart = .94
	// On a calm line, of which calmCount queues agree within calmFactor:
	calmRise     = .004
	calmRiseMore = .001
	calmRiseMost = .025
	calmCount    = 5
	calmFactor   = 2.2
	// On a wild line, where queues come whatever the rate is. Search: -2 % and +2 %, -2 % and +2 %; -5 % and +2 %, -2 %
	// and +8 %.
	wildRise     = .03
	wildRiseMore = .013
	// riseMost is the most of steady and wild lines.
	riseMost = .08
	// eagerness is how much faster the rise is if the mean delay is nothing instead of goodMs.
	eagerness = 1.4
)

// A target that moved away.
const (
	// fellPart of the traffic of the queue's start is what is left of it when the delay is found to be no queue.
	fellPart = .8
	// nearMoveMs is the longest way for which a tick's samples are proof enough: a change of cell or of network (4G to
	// 3G) is below it. Of a longer one, 30 s are.
	nearMoveMs = 100
	// stillMs is how far the least trips of such a time are apart at most, stillCount how many of them there are. A
	// lender's download with Cubic in 600 ms of queue swings by more than 100 ms in 30 s.
	stillMs    = 20
	stillCount = 8
)

// Flows.
const (
	// shortMs above the base a flow proves that there is no queue worth more.
	shortMs = 40
	// firstRun is the assumed number of long flows between two short ones.
	firstRun = 2
	// runFactor times that number and one in a row come by chance once in 33 times (exp(-3.5)).
	runFactor = 3.5
	// deafMs is the wait of flows at which probes without delay are not believed.
	deafMs = 40
	// nextDoorMs is the longest trip to a target that does not cross a phone's radio. LTE's shortest is above 10 ms.
	nextDoorMs = 5
)

// Without probes. Found with runs of a line that carries just what is lent, with a spent budget and with a silent target;
// those of TestPassive: .87 to .93 used, at most 76 ms, Jain's index .99.
const (
	// blindPart of the lent rate is the most without a short flow.
	blindPart = .9
	// blindRise is the rise of a tick below that.
	blindRise = .03
	// blindStep is the rise for a short flow, and blindProof above blindNear of the lent rate: a line that carries just
	// that shows no other sign.
	blindStep  = .08
	blindProof = .01
	blindNear  = .83
	// blindCreep is the rise of what the line is suspected to carry, in a tick for each second since the last queue.
	blindCreep = .0002
	// Below blindFar of what the line carried before it fell, what it is suspected to carry rises by blindReturn in a tick. With
	// each queue, what it carried before moves by the part blindTrust, in logarithm, towards what it carries then. On a line
	// of 20 that falls to 10, 5 or 2 for 10 s, .78, .71 and .57 of the 70 s from there are used with it; .71, .39 and .14
	// without. From .75 on, steady lines wait longer.
	blindFar    = .7
	blindReturn = .025
	blindTrust  = .08
	// A queue is drained with blindCut of what the line carries; blindAgain of it is suspected to be its capacity.
	blindCut   = .85
	blindAgain = .95
	// blindEasing is the fall of a tick if half of the flows that are evidence of a queue were long.
	blindEasing = .01
	// blindHold is the time between two cuts because of flows.
	blindHold = 5 * time.Second
	// blindLag is the time in s in which a queue grows before it is noticed: two ticks, and a round trip.
	blindLag = .5
	// blindDrain is the least time for that: what is beyond the box may have grown slowly.
	blindDrain = time.Second
	// dryTicks without a backlog are evidence even if the line carries nearly the rate.
	dryTicks = 4
)
