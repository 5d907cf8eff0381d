package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"passerelle/appliance/fleet/repository"
	"passerelle/appliance/fleet/rollout"
	"passerelle/cmd/internal/cli"
	"passerelle/image/slot"
	"passerelle/image/update/offer"
	"passerelle/image/update/pack"
	"passerelle/image/update/plan"
)

// system is the content of an image's first slot.
type system struct{ root, boot []byte }

// readImage reads the first slot of an image. A file that ends in .zst is decompressed.
func readImage(file string) (system, error) {
	f, err := os.Open(file)
	if err != nil {
		return system{}, err
	}
	defer f.Close()
	var from io.Reader = bufio.NewReaderSize(f, 1<<20)
	if filepath.Ext(file) == ".zst" {
		d, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return system{}, fmt.Errorf("%s: %w", file, err)
		}
		defer d.Close()
		from = d
	}
	s, err := readSlot(from)
	if err != nil {
		return system{}, fmt.Errorf("%s is no image of a card: %w", file, err)
	}
	return s, nil
}

func readSlot(card io.Reader) (s system, err error) {
	if _, err := io.CopyN(io.Discard, card, slot.FirstAt); err != nil {
		return s, err
	}
	if s.root, err = readSized(card, squashfsHead, squashfsSize, slot.BootAt); err != nil {
		return s, fmt.Errorf("the root of its first slot: %w", err)
	}
	if _, err := io.CopyN(io.Discard, card, slot.BootAt-int64(len(s.root))); err != nil {
		return s, err
	}
	if s.boot, err = readSized(card, containerHead, containerSize, slot.SlotSize-slot.BootAt); err != nil {
		return s, fmt.Errorf("the boot container of its first slot: %w", err)
	}
	return s, nil
}

// readSized reads something whose first head bytes have its size, as size reads it. It is an error if that is more than most bytes.
func readSized(from io.Reader, head int, size func([]byte) (int64, error), most int64) ([]byte, error) {
	text := make([]byte, head)
	if _, err := io.ReadFull(from, text); err != nil {
		return nil, err
	}
	n, err := size(text)
	if err != nil {
		return nil, err
	}
	if n < int64(head) || n > most {
		return nil, fmt.Errorf("it has %d bytes", n)
	}
	var b bytes.Buffer
	b.Write(text)
	if _, err := io.CopyN(&b, from, n-int64(head)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

const (
	squashfsHead  = 96 // struct squashfs_super_block, fs/squashfs/squashfs_fs.h
	squashfsPad   = 4096
	containerHead = 64 // struct legacy_img_hdr, U-Boot's include/image.h
)

// squashfsSize returns the size of a squashfs with its padding, in bytes.
func squashfsSize(head []byte) (int64, error) {
	if string(head[:4]) != "hsqs" {
		return 0, errors.New("it is no squashfs")
	}
	used := binary.LittleEndian.Uint64(head[40:])
	if used > slot.BootAt {
		return 0, fmt.Errorf("it has %d bytes", used)
	}
	return int64((used + squashfsPad - 1) / squashfsPad * squashfsPad), nil
}

func containerSize(head []byte) (int64, error) {
	if binary.BigEndian.Uint32(head) != 0x27051956 {
		return 0, errors.New("it has no head of U-Boot's")
	}
	return int64(binary.BigEndian.Uint32(head[12:])) + containerHead, nil
}

// files is a flag that may be given several times.
type files []string

func (f *files) String() string     { return strings.Join(*f, ",") }
func (f *files) Set(s string) error { *f = append(*f, s); return nil }

func stageRelease(t *tool, args []string) error {
	m := plan.Manifest{Board: slot.Board}
	var from files
	var days int
	var stages string
	words, err := cli.Parse(args, 2, func(f *flag.FlagSet) {
		f.StringVar(&m.Version, "version", "", "the `VERSION` that people see")
		f.Int64Var(&m.Epoch, "epoch", 0, "a `NUMBER` that is higher than that of each release before")
		f.Int64Var(&m.Needs, "needs", 0, "the least epoch that may be running, a `NUMBER`")
		f.StringVar(&m.Board, "board", m.Board, "the `NAME` of the boards' layout")
		f.IntVar(&days, "days", 0, "some boxes take it first, and those that hear of no stage after so many `DAYS`; 0: all at once")
		f.StringVar(&stages, "stages", "", "the hubs' `KEY` of stages, as passerelle-hub rollout key shows it")
		f.Var(&from, "from", "an `IMAGE` that boxes run today: a delta is made for it")
	})
	if err != nil {
		return err
	}
	if days != 0 || stages != "" {
		m.Rollout = rollout.Rule{Day: t.now().UTC().Format(time.DateOnly), Days: days, Key: stages}
		if err := m.Rollout.Check(); err != nil {
			return cli.Wrong(err)
		}
	}
	r := repository.Repository{Dir: words[0]}
	s, err := readImage(words[1])
	if err != nil {
		return err
	}
	var olds []pack.Old
	for _, file := range from {
		old, err := readImage(file)
		if err != nil {
			return err
		}
		olds = append(olds, pack.Old{Root: old.root})
	}
	m, stored, err := offer.Pack(r, m, []pack.Part{
		{Part: plan.Part{Name: plan.RootPart}, From: bytes.NewReader(s.root)},
		{Part: plan.Part{Name: plan.BootPart, At: slot.BootAt}, From: bytes.NewReader(s.boot)},
	}, olds)
	if err != nil {
		return err
	}
	if err := offer.Stage(r, m, t.now()); err != nil {
		return wrong(err)
	}
	fmt.Fprintf(t.out, "Release %s, epoch %d: %d MB of files for a slot of %d MB.\n", m.Version, m.Epoch, stored/1_000_000, (int64(len(s.root)+len(s.boot)))/1_000_000)
	return t.next(r)
}

func withdraw(t *tool, args []string) error {
	board, epoch := slot.Board, int64(0)
	words, err := cli.Parse(args, 1, func(f *flag.FlagSet) {
		f.StringVar(&board, "board", board, "the `NAME` of the boards' layout")
		f.Int64Var(&epoch, "epoch", 0, "the release's `NUMBER`")
	})
	if err != nil {
		return err
	}
	r := repository.Repository{Dir: words[0]}
	if err := offer.Withdraw(r, board, epoch, t.now()); err != nil {
		return wrong(err)
	}
	return t.next(r)
}

// wrong gives errors of wrong input the exit status for them.
func wrong(err error) error {
	if errors.Is(err, offer.ErrWrong) {
		return cli.Wrong(err)
	}
	return err
}
