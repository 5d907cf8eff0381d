package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"passerelle/netctl/netlab"
)

var addr = netip.MustParseAddr("192.0.2.80")

// respond returns an answer to a query, with a code.
func respond(question []byte, code dnsmessage.RCode) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		panic(err)
	}
	m.Response, m.RCode = true, code
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// TestAsk checks that the first valid answer counts, also after other datagrams, and that all traffic is counted.
func TestAsk(t *testing.T) {
	t.Parallel()
	known := netlab.NewNames()
	known.Set("www.example", addr)
	for name, c := range map[string]struct {
		answer func(question []byte) [][]byte
		want   Answer
	}{
		"an address": {func(q []byte) [][]byte { return [][]byte{known.Reply(q)} }, Answer{dnsmessage.RCodeSuccess, addr}},
		"nothing":    {func(q []byte) [][]byte { return [][]byte{respond(q, 0)} }, Answer{}},
		"refused":    {func(q []byte) [][]byte { return [][]byte{respond(q, dnsmessage.RCodeRefused)} }, Answer{Code: dnsmessage.RCodeRefused}},
		"after others that are none": {func(q []byte) [][]byte {
			other := respond(q, 0)
			other[0]++
			return [][]byte{{}, {1, 2, 3}, q, other, known.Reply(q)}
		}, Answer{dnsmessage.RCodeSuccess, addr}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked, answers := net.Pipe() // preserves the boundaries of datagrams, except empty ones
			defer answers.Close()
			sent := make(chan int, 1)
			received := 0
			go func() {
				buffer := make([]byte, 512)
				n, err := answers.Read(buffer)
				if err != nil {
					return
				}
				sent <- n
				for _, a := range c.answer(buffer[:n]) {
					received += len(a) + headers
					answers.Write(a)
				}
			}()
			got, used, err := Ask(t.Context(), asked, "www.example")
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
			if want := (Traffic{uint64(<-sent + headers), uint64(received)}); used != want {
				t.Errorf("it took %+v, want %+v", used, want)
			}
			asked.Close()
		})
	}
}

func TestAskEndsWithItsContext(t *testing.T) {
	t.Parallel()
	asked, answers := net.Pipe()
	defer answers.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		answers.Read(make([]byte, 512))
		cancel()
	}()
	if _, used, err := Ask(ctx, asked, "www.example"); err == nil || used.Sent == 0 {
		t.Errorf("it took %+v and ended with %v", used, err)
	}
	if _, _, err := Ask(t.Context(), asked, "no..name"); err == nil {
		t.Error("no error of what is no name")
	}
}

// The address follows a CNAME.
func TestReadFollowsCNAME(t *testing.T) {
	t.Parallel()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 7, Response: true})
	b.StartAnswers()
	alias, host := dnsmessage.MustNewName("a.example."), dnsmessage.MustNewName("b.example.")
	in := dnsmessage.ResourceHeader{Name: alias, Class: dnsmessage.ClassINET}
	b.CNAMEResource(in, dnsmessage.CNAMEResource{CNAME: host})
	b.AResource(in, dnsmessage.AResource{A: addr.As4()})
	data, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := Read(data, 7); !ok || got.Addr != addr {
		t.Errorf("%+v, %t", got, ok)
	}
}

func FuzzRead(f *testing.F) {
	question, id, err := Question("www.example")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(question, id)
	f.Add(respond(question, dnsmessage.RCodeServerFailure), id)
	f.Fuzz(func(t *testing.T, data []byte, id uint16) {
		if a, ok := Read(data, id); !ok && a != (Answer{}) || a.Addr.IsValid() && !a.Addr.Is4() {
			t.Errorf("%+v, %t of %x for %d", a, ok, data, id)
		}
	})
}

func TestLabelsAreFresh(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		l := Label()
		if seen[l] || len(l) != 10 || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Fatalf("label %q, there before: %t", l, seen[l])
		}
		seen[l] = true
	}
}

// TestMonitor is a table of name servers' answers, and of the failures reported.
func TestMonitor(t *testing.T) {
	t.Parallel()
	code := func(c dnsmessage.RCode) func(int) (Answer, error) {
		return func(int) (Answer, error) { return Answer{Code: c}, nil }
	}
	for name, c := range map[string]struct {
		ask  func(n int) (Answer, error) // the nth query, from 0
		want []string                    // failures reported in a minute and a half
	}{
		"it knows that there is no such name": {code(dnsmessage.RCodeNameError), nil},
		"every name is the box":               {code(dnsmessage.RCodeSuccess), nil},
		"it has not read its files": {func(n int) (Answer, error) {
			if n < 12 {
				return Answer{Code: dnsmessage.RCodeRefused}, nil
			}
			return Answer{Code: dnsmessage.RCodeNameError}, nil
		}, []string{
			"4s dnsmasq answers REFUSED for a name that its files tell it",
			"10s dnsmasq answers REFUSED for a name that its files tell it",
			"16s dnsmasq answers REFUSED for a name that its files tell it",
			"22s dnsmasq answers REFUSED for a name that its files tell it",
		}},
		"it reads its files just now": {func(n int) (Answer, error) {
			if n%3 < 2 {
				return Answer{Code: dnsmessage.RCodeRefused}, nil
			}
			return Answer{Code: dnsmessage.RCodeNameError}, nil
		}, nil},
		"it hangs": {func(int) (Answer, error) { return Answer{}, errors.New("no answer") }, []string{"58s dnsmasq does not answer"}},
		"it is flooded": {func(n int) (Answer, error) {
			if n%25 == 24 {
				return Answer{Code: dnsmessage.RCodeNameError}, nil
			}
			return Answer{}, errors.New("no answer")
		}, nil},
		"the hotspot is not there": {func(int) (Answer, error) { return Answer{}, fmt.Errorf("bind: %w", unix.EADDRNOTAVAIL) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin, n := time.Now(), 0
				var got []string
				k := &Monitor{
					Servers: []Server{{"dnsmasq", netip.MustParseAddrPort("10.80.0.1:53")}}, Name: "files.invalid",
					Fail: func(child, why string) { got = append(got, fmt.Sprint(time.Since(begin), " ", child, " ", why)) },
					ask: func(_ context.Context, to netip.AddrPort, name string) (Answer, error) {
						if to.Port() != 53 || name != "files.invalid" {
							t.Errorf("%v is asked for %s", to, name)
						}
						n++
						return c.ask(n - 1)
					},
				}
				ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
				defer cancel()
				if err := k.Run(ctx); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("failures (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestMonitorInterval checks the intervals: long while all servers work, short while one does not.
func TestMonitorInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var got []string
		k := &Monitor{
			Servers: []Server{{"dnsmasq", netip.MustParseAddrPort("10.80.0.1:53")}, {"guests", netip.MustParseAddrPort("10.80.0.1:54")}},
			Fail:    func(child, why string) { got = append(got, child+" "+why) },
			ask: func(_ context.Context, to netip.AddrPort, _ string) (Answer, error) {
				if to.Port() == 53 {
					got = append(got, time.Since(begin).String())
					return Answer{}, nil
				}
				if len(got) == 3 {
					return Answer{Code: dnsmessage.RCodeRefused}, nil
				}
				if len(got) == 5 {
					return Answer{}, errors.New("no answer")
				}
				return Answer{}, nil
			},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"0s", "10s", "20s", "22s", "32s", "34s", "44s"}, got); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
	})
}

// If the server's own address is missing, that is not a failure of the server, and no packet is sent.
func TestOwnAddressThatIsMissing(t *testing.T) {
	t.Parallel()
	_, err := AskOwn(t.Context(), netip.MustParseAddrPort("192.0.2.1:53"), "files.invalid")
	if !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("error %v", err)
	}
}
