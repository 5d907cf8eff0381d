package main

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"passerelle/image/slot"
)

// laterBy is the environment variable that sets the program's clock ahead, in days.
const laterBy = "PASSERELLE_TEST_DAYS"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"passerelle-release": func() {
		days, _ := strconv.Atoi(os.Getenv(laterBy))
		t := &tool{in: os.Stdin, out: os.Stdout, err: os.Stderr, work: 10, now: func() time.Time { return time.Now().AddDate(0, 0, days) }}
		os.Exit(t.main(os.Args[1:]))
	}})
}

// TestScripts plays what people do: the ceremony as in CEREMONY.md, a lost key, a stolen key, and wrong arguments.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: map[string]func(*testscript.TestScript, bool, []string){"image": image, "bit": bit}})
}

// image is the scripts' command `image FILE NUMBER`. It makes an image with a small system in its first slot. The root differs from that of
// other images at byte NUMBER * 1024.
func image(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: image FILE NUMBER")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	random := rand.NewChaCha8([32]byte{7})
	root, boot := make([]byte, 400<<10), make([]byte, 80<<10)
	random.Read(root)
	random.Read(boot)
	copy(root, "hsqs")
	binary.LittleEndian.PutUint64(root[40:], uint64(len(root)-100))
	root[n<<10] ^= 0xff
	binary.BigEndian.PutUint32(boot, 0x27051956)
	binary.BigEndian.PutUint32(boot[12:], uint32(len(boot)-containerHead))
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	_, err = f.WriteAt(root, slot.FirstAt)
	ts.Check(err)
	_, err = f.WriteAt(boot, slot.FirstAt+slot.BootAt)
	ts.Check(err)
}

// bit is the scripts' command `bit FILE`. It flips a bit in the middle of the file.
func bit(ts *testscript.TestScript, neg bool, args []string) {
	text, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	text[len(text)/2] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o644))
}
