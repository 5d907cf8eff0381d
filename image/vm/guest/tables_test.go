package guest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"passerelle/appliance/state"
	"passerelle/image/vm/guest"
	"passerelle/netctl/netlab"
)

// Parameters that hold for the whole kernel.
const (
	trackedMost    = "net/netfilter/nf_conntrack_max"
	trackedBuckets = "net/netfilter/nf_conntrack_buckets"
	neighbours1    = "net/ipv4/neigh/default/gc_thresh1"
	neighbours2    = "net/ipv4/neigh/default/gc_thresh2"
	neighbours3    = "net/ipv4/neigh/default/gc_thresh3"
)

// kernelHas sets kernel parameters until the test ends.
func kernelHas(t *testing.T, values map[string]uint64) {
	t.Helper()
	for path, value := range values {
		was, err := guest.Parameter(path)
		must(t, err)
		t.Cleanup(func() {
			if err := guest.SetParameter(path, was); err != nil {
				t.Error(err)
			}
		})
		must(t, guest.SetParameter(path, value))
	}
}

// waitParameters waits until kernel parameters are as wanted.
func waitParameters(t *testing.T, what string, wanted func(path string, value uint64) bool, paths ...string) {
	t.Helper()
	ctx := patience(t, 30*time.Second)
	for {
		var wrong []string
		for _, path := range paths {
			value, err := guest.Parameter(path)
			must(t, err)
			if !wanted(path, value) {
				wrong = append(wrong, fmt.Sprintf("%s is %d", path, value))
			}
		}
		if len(wrong) == 0 {
			return
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("wait until %s: %s", what, strings.Join(wrong, ", "))
		}
	}
}

// TestKernelTables tests the kernel's tables whose size is limited for the whole kernel. In the machine's own network namespace the
// daemon makes them as large as the box needs, and restores the earlier limits. In another network namespace it may not. There the
// limits on devices follow from the tables' size, so that eight devices that open as many connections as they can leave room for
// others.
func TestKernelTables(t *testing.T) {
	needMachine(t)
	t.Parallel()
	ctx := patience(t, 4*time.Minute)
	must(t, exec.CommandContext(ctx, "modprobe", "nf_conntrack").Run())
	const devices = 8
	scene, err := netlab.Standard(ctx, netlab.Options{Name: "tables", Residents: devices + 1, Direct: true})
	must(t, err)
	closeWorld(t, scene.World)
	line := func(hotspot, line string) string {
		return wired(hotspot, `
[[donation]]
name = "Fibre du centre"
interface = "`+line+`"
cap = "0"
`)
	}

	t.Run("eight devices do not use up a table that may not grow", func(t *testing.T) {
		const room = 1024
		kernelHas(t, map[string]uint64{trackedMost: room})
		box := startConfigured(t, scene, line("wlan0", "eth0"))
		s, err := box.WaitFor(ctx, "it knows what room there is", func(s state.Status) bool { return s.Hotspot.Tracked == room })
		must(t, err)
		if s.Hotspot.TrackedWanted <= room {
			t.Errorf("status does not tell that there is too little room: %+v", s.Hotspot)
		}
		target := holdsConnections(t, scene.Internet)
		var all sync.WaitGroup
		errs := make([]error, devices)
		for k, r := range scene.Residents[:devices] {
			all.Go(func() {
				if errs[k] = getsOnline(ctx, r); errs[k] == nil {
					errs[k] = opensAll(ctx, t, r, target, room)
				}
			})
		}
		last := scene.Residents[devices]
		err = getsOnline(ctx, last)
		all.Wait()
		must(t, errors.Join(append(errs, err)...))
		tracked, err := box.Run(ctx, "conntrack", "-C")
		must(t, err)
		t.Logf("of %d connections %s are tracked", room, strings.TrimSpace(tracked))
		for n := range 10 {
			c, err := opens(ctx, last, target)
			if err != nil {
				t.Errorf("after %d connections: %v", n, err)
				continue
			}
			defer c.Close()
		}
		must(t, box.Stop())
	})
	t.Run("on the machine's own network they are large enough", func(t *testing.T) {
		// As on a board with 512 MB.
		before := map[string]uint64{
			trackedMost: 4096, trackedBuckets: 4096, neighbours1: 128, neighbours2: 512, neighbours3: 1024,
		}
		paths := []string{trackedMost, trackedBuckets, neighbours1, neighbours2, neighbours3}
		kernelHas(t, before)
		least := map[string]uint64{
			trackedMost: 16384, trackedBuckets: 16384, neighbours1: 1024, neighbours2: 2048, neighbours3: 4096,
		}
		large := func(path string, value uint64) bool { return value >= least[path] }
		box, err := guest.StartBoxOnMachine(ctx, scene, "hotspot0", "line0", line("hotspot0", "line0"))
		must(t, err)
		stops(t, box)
		waitParameters(t, "there is room", large, paths...)
		s, err := box.WaitFor(ctx, "it knows of the room", func(s state.Status) bool {
			return s.Hotspot.Tracked >= least[trackedMost]
		})
		must(t, err)
		if s.Hotspot.TrackedWanted != 0 {
			t.Errorf("status says that there is too little room: %+v", s.Hotspot)
		}
		must(t, getsOnline(ctx, scene.Residents[0]))

		must(t, box.Kill())
		must(t, box.Start(ctx))
		waitParameters(t, "there is room after a crash", large, paths...)
		must(t, box.Stop())
		waitParameters(t, "all is as it was", func(path string, value uint64) bool { return value == before[path] }, paths...)
	})
}

// getsOnline makes a resident join the hotspot, begin a session and reach the internet.
func getsOnline(ctx context.Context, r *netlab.Resident) error {
	if _, err := r.Join(ctx); err != nil {
		return err
	}
	reply, err := r.Post(ctx, portal+"/session", strings.NewReader(""))
	if err == nil && reply.Status != http.StatusSeeOther {
		err = fmt.Errorf("the button was answered with %d", reply.Status)
	}
	if err == nil {
		reply, err = r.Get(ctx, "http://www.example/")
	}
	if err == nil && reply.Body != netlab.InternetPage {
		err = fmt.Errorf("the internet's page is %q", reply.Body)
	}
	if err != nil {
		return fmt.Errorf("get %s online: %w", r.Name(), err)
	}
	return nil
}

// holdsConnections makes the internet accept connections and keep them open, and returns its address.
func holdsConnections(t *testing.T, in *netlab.Internet) string {
	t.Helper()
	address := netlab.WebAddr.String() + ":7000"
	l, err := in.Listen("tcp", address)
	must(t, err)
	done := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	return address
}

// opens opens a connection. That may take several tries.
func opens(ctx context.Context, r *netlab.Resident, target string) (net.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, 4*time.Second)
	defer stop()
	return r.Dial(ctx, "tcp", target)
}

// opensAll makes a resident open connections until no more are let through. It keeps them open until the test ends.
func opensAll(ctx context.Context, t *testing.T, r *netlab.Resident, target string, most int) error {
	for range most {
		c, err := opens(ctx, r, target)
		if err != nil {
			return ctx.Err()
		}
		t.Cleanup(func() { c.Close() })
	}
	return fmt.Errorf("%s opened %d connections, as many as the kernel has room for", r.Name(), most)
}
