package update

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"passerelle/image/update/plan"
)

// Device is a slot as a partition of the card.
type Device struct{ *os.File }

// Sync implements [Slot].
func (d Device) Sync() error {
	if err := d.File.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(d.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// Size returns the size of the partition, or of the file in a test.
func (d Device) Size() (int64, error) {
	size, err := d.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("measure the slot: %w", err)
	}
	return size, nil
}

// HashPart returns the SHA-256 of a part as it is in a slot.
func HashPart(ctx context.Context, slot io.ReaderAt, p plan.Part) (sum plan.Hash, err error) {
	h := sha256.New()
	n, err := io.Copy(h, contextReader{ctx, io.NewSectionReader(slot, p.At, p.Size)})
	if err == nil && n != p.Size {
		err = errors.New("the slot ends before")
	}
	if err != nil {
		return sum, fmt.Errorf("read part %s: %w", p.Name, err)
	}
	return plan.Hash(h.Sum(nil)), nil
}
