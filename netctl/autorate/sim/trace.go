package sim

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// A Trace is a line's capacity: element t is the number of packets of [MTU] bytes that the line can carry in millisecond t.
type Trace []uint16

// MTU is the size of a full packet in bytes.
const MTU = 1500

// ReadTrace reads a trace in the format of Mahimahi (https://github.com/ravinet/mahimahi): one line for each chance to send a packet,
// with its time in milliseconds. It stops at the limit, in milliseconds.
func ReadTrace(r io.Reader, limit int) (Trace, error) {
	var t Trace
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		text := strings.TrimSpace(s.Text())
		if text == "" {
			continue
		}
		ms, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if ms < 0 || ms < len(t)-1 {
			return nil, fmt.Errorf("line %d: time %d ms goes backwards", n, ms)
		}
		if ms >= limit {
			break
		}
		for len(t) <= ms {
			t = append(t, 0)
		}
		if t[ms] < math.MaxUint16 {
			t[ms]++
		}
	}
	return t, s.Err()
}

// Varying returns a trace with a rate in Mbit/s for each millisecond.
func Varying(ms int, rate func(t int) float64) Trace {
	trace, credit := make(Trace, ms), 0.0
	for t := range trace {
		credit += rate(t) * 1000 / 8 / MTU
		n := math.Floor(credit)
		credit -= n
		trace[t] = uint16(min(n, math.MaxUint16))
	}
	return trace
}

// Steady returns a line of constant capacity in Mbit/s.
func Steady(mbit float64, ms int) Trace {
	return Varying(ms, func(int) float64 { return mbit })
}

// Steps returns a line that cycles through the capacities in Mbit/s, with each of them for every milliseconds.
func Steps(every, ms int, mbit ...float64) Trace {
	return Varying(ms, func(t int) float64 { return mbit[t/every%len(mbit)] })
}

// Fading is a fictional radio line. The logarithm of its capacity is the sum of slow shadowing and fast fading, both autoregressive.
// From time to time it is out of reach.
type Fading struct {
	Mbit    float64 // median
	Slow    float64 // standard deviation of the shadowing, in natural logarithm
	SlowMs  float64 // its correlation time
	Fast    float64 // likewise of the fading
	FastMs  float64
	OutMs   float64 // mean duration of an outage; 0 for none
	EveryMs float64 // mean time between outages
	MaxMbit float64 // the most that the cell gives
}

// Trace returns the trace of a seed.
func (f Fading) Trace(ms int, seed uint64) Trace {
	r := rand.New(rand.NewPCG(seed, 0))
	slow, fast := f.Slow*r.NormFloat64(), f.Fast*r.NormFloat64()
	// The fraction that an autoregressive process keeps in a millisecond, and the noise that keeps its variance constant.
	keep := func(ms float64) (float64, float64) { a := math.Exp(-1 / ms); return a, math.Sqrt(1 - a*a) }
	ks, ns := keep(f.SlowMs)
	kf, nf := keep(f.FastMs)
	next, out := math.Inf(1), 0.0
	if f.OutMs > 0 {
		next = f.EveryMs * r.ExpFloat64()
	}
	return Varying(ms, func(t int) float64 {
		slow = ks*slow + ns*f.Slow*r.NormFloat64()
		fast = kf*fast + nf*f.Fast*r.NormFloat64()
		if float64(t) >= next {
			out = f.OutMs * r.ExpFloat64()
			next = float64(t) + out + f.EveryMs*r.ExpFloat64()
		}
		if out > 0 {
			out--
			return 0
		}
		return min(f.MaxMbit, f.Mbit*math.Exp(slow+fast))
	})
}

// Times returns a trace whose capacity is multiplied by a fraction. The rest of a packet carries over to later milliseconds.
func (t Trace) Times(numerator, denominator int) Trace {
	out, rest := make(Trace, len(t)), 0
	for i, n := range t {
		rest += int(n) * numerator
		out[i] = uint16(min(rest/denominator, math.MaxUint16))
		rest %= denominator
	}
	return out
}

// Mean returns the mean capacity in bit/s.
func (t Trace) Mean() float64 {
	sum := 0.0
	for _, n := range t {
		sum += float64(n)
	}
	return sum * MTU * 8 * 1000 / float64(max(len(t), 1))
}
