package plan

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// DictID is the ID of a run's dictionary in its frame (RFC 8878, section 3.1.1.1.3). Every run has another dictionary with the same
// ID: it only says that there is one.
const DictID = 1

// window is the largest distance that a frame may refer back, in bytes: a dictionary and a run.
const window = 8 << 20

// Expand decompresses a file to size bytes, with a dictionary if it has one. Fetched bytes are not trusted, so it uses at most the
// memory of the window and the size.
func Expand(text, dict []byte, size int) ([]byte, error) {
	options := []zstd.DOption{zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window),
		zstd.WithDecoderMaxMemory(window), zstd.WithDecodeAllCapLimit(true)}
	if len(dict) > 0 {
		options = append(options, zstd.WithDecoderDictRaw(DictID, dict))
	}
	d, err := zstd.NewReader(nil, options...)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	defer d.Close()
	raw, err := d.DecodeAll(text, make([]byte, 0, size))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if len(raw) != size {
		return nil, fmt.Errorf("decompress: %d bytes instead of %d", len(raw), size)
	}
	return raw, nil
}
