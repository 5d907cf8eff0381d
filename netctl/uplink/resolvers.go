package uplink

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
)

const (
	maxResolvers = 4         // glibc uses three; more are not worth asking
	maxFileSize  = 64 * 1024 // none of these files comes near
)

// resolvers returns the resolvers of the interface with that number: those that the machine's network daemon keeps for
// it, else those of the whole machine. None of the files is a stable interface, so each is only a try, but what they say
// is all there is short of D-Bus. Where none can be asked, others are those that stand there
// instead.
func resolvers(root fs.FS, index int) (list []netip.Addr, others []string) {
	for _, source := range []struct {
		path  string
		parse func([]byte) []string
	}{
		// systemd-networkd: what it hands on for the link (static servers and UseDNS= considered), then the bare lease.
		{fmt.Sprintf("run/systemd/netif/links/%d", index), keyed("", "DNS")},
		{fmt.Sprintf("run/systemd/netif/leases/%d", index), keyed("", "DNS")},
		// systemd-resolved, told by somebody else (NetworkManager, resolvectl).
		{fmt.Sprintf("run/systemd/resolve/netif/%d", index), keyed("", "SERVERS")},
		// NetworkManager, the lease's options.
		{fmt.Sprintf("run/NetworkManager/devices/%d", index), keyed("dhcp4", "domain_name_servers")},
		// The whole machine; behind a local forwarder, its own upstreams.
		{"etc/resolv.conf", parseResolvConf},
		{"run/systemd/resolve/resolv.conf", parseResolvConf},
		{"run/NetworkManager/no-stub-resolv.conf", parseResolvConf},
	} {
		words := source.parse(readSmall(root, source.path))
		if list := addresses(words); len(list) > 0 {
			return list, nil
		}
		for _, word := range words {
			if addr, ok := parseResolver(word); ok && len(others) < maxResolvers && !slices.Contains(others, addr.String()) {
				others = append(others, addr.String())
			}
		}
	}
	return nil, others
}

// nobodyToAsk says that the uplink has no resolver that can be asked.
func (st Status) nobodyToAsk() string {
	if len(st.NotDNS) == 0 {
		return st.Interface + " has no name server: write one as dns of the donation"
	}
	return fmt.Sprintf("%s has no name server that can be asked through it, only %s: write one as dns of the donation",
		st.Interface, strings.Join(st.NotDNS, ", "))
}

// readSmall returns the file's beginning, nothing of one that can't be read.
func readSmall(root fs.FS, path string) []byte {
	f, err := root.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize))
	if err != nil {
		return nil
	}
	return data
}

// keyed returns a parser of files made of [section]s and key=value lines, for the words in one value. Section "" is
// what stands before the first heading.
func keyed(section, key string) func([]byte) []string {
	return func(data []byte) []string {
		in := ""
		for line := range lines(data) {
			if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
				in = line[1 : len(line)-1]
				continue
			}
			name, value, ok := strings.Cut(line, "=")
			if ok && in == section && strings.TrimSpace(name) == key {
				return strings.FieldsFunc(strings.Trim(value, ` "'`), func(r rune) bool {
					return r == ' ' || r == ',' || r == ';' || r == '\t'
				})
			}
		}
		return nil
	}
}

// parseResolvConf reads resolv.conf(5).
func parseResolvConf(data []byte) (words []string) {
	for line := range lines(data) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "nameserver" {
			words = append(words, fields[1])
		}
	}
	return words
}

// lines yields the lines without surrounding space, empty ones and comments.
func lines(data []byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
			line := strings.TrimSpace(s.Text())
			if line == "" || line[0] == '#' || line[0] == ';' {
				continue
			}
			if !yield(line) {
				return
			}
		}
	}
}

// addresses keeps what is a resolver that can be asked through an uplink: IPv4, on port 53, not this machine itself.
func addresses(words []string) []netip.Addr {
	var list []netip.Addr
	for _, word := range words {
		addr, ok := parseResolver(word)
		if !ok || !addr.Is4() || addr.IsLoopback() || addr.IsUnspecified() || addr.IsMulticast() || slices.Contains(list, addr) {
			continue
		}
		if list = append(list, addr); len(list) == maxResolvers {
			break
		}
	}
	return list
}

// parseResolver reads a resolver on port 53. systemd may add a port, an interface and a server name:
// ADDRESS:PORT%INTERFACE#NAME.
func parseResolver(word string) (netip.Addr, bool) {
	word, _, _ = strings.Cut(word, "#")
	word, _, _ = strings.Cut(word, "%")
	if with, err := netip.ParseAddrPort(word); err == nil {
		return with.Addr().Unmap(), with.Port() == 53
	}
	addr, err := netip.ParseAddr(word)
	return addr.Unmap(), err == nil
}
