package uplink

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const (
	networkdLink = `# This is private data. Do not parse.
ADMIN_STATE=configured
OPER_STATE=routable
NETWORK_FILE=/etc/systemd/network/10-uplink.network
DNS=192.168.7.1 2001:db8::1 192.168.7.2:53%eth0#dns.example 192.168.7.3:5353
NTP=192.168.7.9
`
	networkdLease = `# This is private data. Do not parse.
ADDRESS=192.168.7.20
ROUTER=192.168.7.1
DNS=192.168.7.4 192.168.7.5
`
	resolvedLink = `# This is private data. Do not parse.
LLMNR=no
SERVERS=192.168.7.6 192.168.7.6
`
	networkManager = `[device]
managed=true
connection-uuid=00000000-0000-4000-8000-000000000000

[dhcp4]
ip_address=192.168.7.20
domain_name_servers=192.168.7.7 192.168.7.8
requested_domain_name_servers=1

[dhcp6]
domain_name_servers=2001:db8::7
`
	stub     = "; a local forwarder\nnameserver 127.0.0.53\noptions edns0 trust-ad\n"
	upstream = "domain lilas.example\nnameserver 192.168.7.10\nnameserver fe80::1%eth0\n" +
		" nameserver\t::ffff:192.168.7.11 # two\n"
)

func TestResolvers(t *testing.T) {
	t.Parallel()
	type files map[string]string
	for name, c := range map[string]struct {
		files files
		want  string
	}{
		"none": {files{}, ""},
		"networkd's link first": {files{
			"run/systemd/netif/links/5":  networkdLink,
			"run/systemd/netif/leases/5": networkdLease,
			"etc/resolv.conf":            upstream,
		}, "192.168.7.1 192.168.7.2"},
		"then its lease": {files{
			"run/systemd/netif/links/5":  "OPER_STATE=routable\nDNS=\n",
			"run/systemd/netif/leases/5": networkdLease,
		}, "192.168.7.4 192.168.7.5"},
		"resolved's link": {files{
			"run/systemd/resolve/netif/5":      resolvedLink,
			"run/NetworkManager/devices/5":     networkManager,
			"etc/resolv.conf":                  stub,
			"run/systemd/resolve/resolv.conf":  upstream,
			"run/systemd/netif/leases/6":       networkdLease,
			"run/systemd/netif/links/55":       networkdLink,
			"run/NetworkManager/no-stub-resol": upstream,
		}, "192.168.7.6"},
		"NetworkManager": {files{"run/NetworkManager/devices/5": networkManager}, "192.168.7.7 192.168.7.8"},
		"the machine's":  {files{"etc/resolv.conf": upstream}, "192.168.7.10 192.168.7.11"},
		"behind a local forwarder": {files{
			"etc/resolv.conf":                 stub,
			"run/systemd/resolve/resolv.conf": upstream,
		}, "192.168.7.10 192.168.7.11"},
		"a forwarder alone": {files{"etc/resolv.conf": stub}, "not 127.0.0.53"},
		"only what cannot be asked through the line": {files{
			"run/systemd/netif/links/5": "DNS=2001:db8::53 127.0.0.1 [2001:db8::53]:53 dns.example\n", "etc/resolv.conf": stub,
		}, "not 2001:db8::53 not 127.0.0.1 not 127.0.0.53"},
		"no more than four": {files{
			"etc/resolv.conf": strings.Repeat("nameserver 192.0.2.9\n", 9) +
				"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n",
		}, "192.0.2.9 192.0.2.1 192.0.2.2 192.0.2.3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := fstest.MapFS{}
			for path, data := range c.files {
				root[path] = &fstest.MapFile{Data: []byte(data)}
			}
			var got []string
			list, others := resolvers(root, 5)
			for _, addr := range list {
				got = append(got, addr.String())
			}
			for _, addr := range others {
				got = append(got, "not "+addr)
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A directory in place of a file is not an error.
func TestReadSmall(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{
		"etc/resolv.conf": {Mode: fs.ModeDir},
		"big":             {Data: make([]byte, 2*maxFileSize)},
	}
	if got, others := resolvers(root, 1); got != nil || others != nil {
		t.Errorf("got %v, %v", got, others)
	}
	if got := len(readSmall(root, "big")); got != maxFileSize {
		t.Errorf("read %d bytes, want %d", got, maxFileSize)
	}
}

func FuzzResolvers(f *testing.F) {
	for _, seed := range []string{
		networkdLink, networkdLease, resolvedLink, networkManager, stub, upstream, "[", "=", "[]\n=",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, parse := range []func([]byte) []string{
			parseResolvConf, keyed("", "DNS"), keyed("", "SERVERS"), keyed("dhcp4", "domain_name_servers"),
		} {
			list := addresses(parse(data))
			if len(list) > maxResolvers {
				t.Errorf("%d resolvers", len(list))
			}
			for i, addr := range list {
				usable := addr.Is4() && !addr.IsLoopback() && !addr.IsUnspecified() && !addr.IsMulticast()
				if !usable || slices.Contains(list[:i], addr) {
					t.Errorf("resolver %v in %v", addr, list)
				}
			}
			// A parsed value, formatted plainly, parses to the same.
			var again strings.Builder
			for _, addr := range list {
				fmt.Fprintf(&again, "nameserver %s\n", addr)
			}
			if got := addresses(parseResolvConf([]byte(again.String()))); !slices.Equal(got, list) {
				t.Errorf("%v became %v", list, got)
			}
		}
	})
}
