package slot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Size is the size of a copy, in bytes.
const Size = 4096

// crcSize is the size of the checksum at the head of a copy: env_t in U-Boot's include/env_internal.h, without
// CONFIG_SYS_REDUNDAND_ENVIRONMENT.
const crcSize = 4

// ErrDamaged says that a copy is not valid: it was never written, or not completely.
var ErrDamaged = errors.New("damaged")

// Format returns a copy of the state, as U-Boot's `env export -c -s 0x1000` writes it, with sorted keys. The error says why the
// state cannot be written.
func Format(s State) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	put := func(key, value string) { text.WriteString(key + "=" + value + "\x00") }
	if s.Failed != "" {
		put("failed", string(s.Failed))
	}
	put("good", string(s.Good))
	put("serial", strconv.FormatUint(uint64(s.Serial), 10))
	put("slot", string(s.Slot))
	if !s.Proven() {
		put("tries", strconv.Itoa(s.Tries))
	}
	out := make([]byte, Size)
	copy(out[crcSize:], text.Bytes())
	binary.LittleEndian.PutUint32(out, crc32.ChecksumIEEE(out[crcSize:]))
	return out, nil
}

// Parse parses a copy. Keys of other releases are ignored. The error wraps ErrDamaged and says what is wrong.
func Parse(copy []byte) (s State, err error) {
	defer func() {
		if err != nil {
			s, err = State{}, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}()
	if len(copy) != Size {
		return s, fmt.Errorf("%d bytes", len(copy))
	}
	if binary.LittleEndian.Uint32(copy) != crc32.ChecksumIEEE(copy[crcSize:]) {
		return s, errors.New("the checksum is wrong")
	}
	text, _, found := bytes.Cut(copy[crcSize:], []byte("\x00\x00"))
	if !found {
		return s, errors.New("it has no end")
	}
	values := map[string]string{}
	for pair := range strings.SplitSeq(string(text), "\x00") {
		key, value, found := strings.Cut(pair, "=")
		if _, twice := values[key]; !found || twice {
			return s, fmt.Errorf("%q", pair)
		}
		values[key] = value
	}
	number := func(key string, most uint64) uint64 {
		text := values[key]
		n, bad := strconv.ParseUint(text, 10, 32)
		if bad != nil || n > most || text != strconv.FormatUint(n, 10) {
			err = fmt.Errorf("%s=%s", key, text)
		}
		return n
	}
	s = State{Slot: Name(values["slot"]), Good: Name(values["good"]), Failed: Name(values["failed"])}
	s.Serial = uint32(number("serial", maxSerial))
	if !s.Proven() {
		s.Tries = int(number("tries", MaxTries))
	}
	if err == nil {
		err = s.check()
	}
	return s, err
}

// hold returns the state in effect of two copies, and which of them is to be written next. known is how many are valid.
func hold(copies [2][]byte) (s State, next, known int) {
	s = initial
	for i, c := range copies {
		this, err := Parse(c)
		if err != nil {
			continue
		}
		if known++; known == 1 || this.Serial > s.Serial {
			s, next = this, 1-i
		}
	}
	return s, next, known
}
