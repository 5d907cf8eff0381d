package autorate

import "time"

// Counter turns readings of an interface's byte counter into differences. The zero value has no reading yet.
type Counter struct {
	last uint64
	at   time.Duration
	read bool
}

// Since returns the bytes since the last reading, and whether that is known. It is not known for the first reading, nor for the first
// one after the interface was recreated. Some drivers count with 32 bits, whatever the size of the kernel's field (struct
// rtnl_link_stats64). A counter that falls from a 32-bit number has wrapped, if the resulting difference is possible at most bit/s in
// that time. A fall from a larger number, or a larger difference, means a new interface.
func (c *Counter) Since(now time.Duration, reading uint64, most float64) (uint64, bool) {
	last, passed, read := c.last, now-c.at, c.read
	c.last, c.at, c.read = reading, now, true
	if !read || passed <= 0 {
		return 0, false
	}
	if reading >= last {
		return reading - last, true
	}
	const wrap = 1 << 32
	if last >= wrap {
		return 0, false
	}
	if n := reading + wrap - last; float64(n)*8 <= most*passed.Seconds() {
		return n, true
	}
	return 0, false
}
