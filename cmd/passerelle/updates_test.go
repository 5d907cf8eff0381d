package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"passerelle/appliance/fleet/repository"
	"passerelle/image/slot"
	"passerelle/image/update/offer"
	"passerelle/image/update/pack"
	"passerelle/image/update/plan"
)

// signers are the people behind the scripts' repositories.
var signers struct{ root, release, hub []repository.Key }

// fakeSystem returns the parts of a small system. The same number gives the same system.
func fakeSystem(n uint64) (root, boot []byte) {
	random := rand.NewChaCha8([32]byte{1})
	root, boot = make([]byte, 600<<10), make([]byte, 100<<10)
	random.Read(root)
	random.Read(boot)
	copy(root[n<<10:], fmt.Sprintf("this is system %d", n))
	copy(boot, fmt.Sprintf("kernel of system %d", n))
	return root, boot
}

// system is the scripts' command `system PARTITION NUMBER`: it writes that system to the partition.
func system(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: system PARTITION NUMBER")
	}
	n, err := strconv.ParseUint(args[1], 10, 8)
	ts.Check(err)
	root, boot := fakeSystem(n)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	ts.Check(f.Truncate(slot.SlotSize))
	if n == 0 {
		return // empty
	}
	_, err = f.WriteAt(root, 0)
	ts.Check(err)
	_, err = f.WriteAt(boot, slot.BootAt)
	ts.Check(err)
}

// holds is the scripts' command `holds PARTITION NUMBER`: it checks that the partition contains that system.
func holds(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.ParseUint(args[1], 10, 8)
	ts.Check(err)
	root, boot := fakeSystem(n)
	f, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	has := true
	for at, want := range map[int64][]byte{0: root, slot.BootAt: boot} {
		got := make([]byte, len(want))
		_, err := f.ReadAt(got, at)
		ts.Check(err)
		has = has && bytes.Equal(got, want)
	}
	if has == neg {
		ts.Fatalf("system %s in %s: %v", args[1], args[0], has)
	}
}

// releaseSystem is the scripts' command `release FOLDER NUMBER DAYS`: it publishes the system of that number in a repository, signed and
// sealed this many days ago, with a delta from the previous one. The first call creates root.json.
func releaseSystem(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: release FOLDER NUMBER DAYS")
	}
	n, err := strconv.ParseUint(args[1], 10, 8)
	ts.Check(err)
	days, err := strconv.Atoi(args[2])
	ts.Check(err)
	now := time.Now().AddDate(0, 0, -days)
	r := repository.Repository{Dir: ts.MkAbs(args[0])}
	if signers.root == nil {
		for range 3 {
			for _, keys := range []*[]repository.Key{&signers.root, &signers.release, &signers.hub} {
				key, err := repository.NewKey()
				ts.Check(err)
				*keys = append(*keys, key)
			}
		}
	}
	sign := func(role string, keys []repository.Key) {
		for _, k := range keys[:2] {
			ts.Check(r.Sign(role, k))
		}
		_, err := r.Publish()
		ts.Check(err)
	}
	rootFile := filepath.Join(r.Dir, "metadata/1.root.json")
	if _, err := os.Stat(rootFile); err != nil {
		public := func(keys []repository.Key) (all []repository.PublicKey) {
			for _, k := range keys {
				all = append(all, k.PublicKey)
			}
			return all
		}
		ts.Check(r.StageRoot(repository.Keys{Root: public(signers.root), Release: public(signers.release), Hub: public(signers.hub)}, now))
		sign(repository.Root, signers.root)
		text, err := os.ReadFile(rootFile)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs("root.json"), text, 0o644))
	}
	root, boot := fakeSystem(n)
	var olds []pack.Old
	if n > 1 {
		old, _ := fakeSystem(n - 1)
		olds = append(olds, pack.Old{Root: old})
	}
	m, _, err := offer.Pack(r, plan.Manifest{Version: fmt.Sprintf("2026.%d", n), Board: slot.Board, Epoch: int64(n)}, []pack.Part{
		{Part: plan.Part{Name: plan.RootPart}, From: bytes.NewReader(root)},
		{Part: plan.Part{Name: plan.BootPart, At: slot.BootAt}, From: bytes.NewReader(boot)},
	}, olds)
	ts.Check(err)
	ts.Check(offer.Stage(r, m, now))
	sign(repository.Targets, signers.release)
	ts.Check(r.Seal(signers.hub[0], now))
	ts.Check(os.WriteFile(ts.MkAbs("today"), []byte(time.Now().UTC().Format(time.RFC3339)), 0o600))
}

// failedSlot is the scripts' command `failed`: the chosen slot has used up its tries, as U-Boot counts them.
func failedSlot(ts *testscript.TestScript, neg bool, args []string) {
	c := slot.Card{Running: slot.A, Device: ts.MkAbs(cardFile)}
	_, err := c.Update(func(s slot.State) slot.State {
		for !s.Proven() {
			s = s.Boot()
		}
		return s
	})
	ts.Check(err)
}

// damage is the scripts' command `damage FOLDER`: it flips a bit in each file.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(file string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		text[len(text)/2] ^= 1
		return os.WriteFile(file, text, 0o644)
	}))
}
