package uplink

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
)

const (
	maxResolvers = 4         // glibc uses three
	maxFileSize  = 64 * 1024 // all of these files are much smaller
)

// resolvers returns the resolvers of the interface with that index: those that the machine's network daemon has for it,
// otherwise those of the whole machine. None of the files is a stable interface, but the only alternative is D-Bus. If no
// resolver can be queried through the interface, others has those that were found.
func resolvers(root fs.FS, index int) (list []netip.Addr, others []string) {
	for _, source := range []struct {
		path  string
		parse func([]byte) []string
	}{
		// systemd-networkd: the link's servers (with static ones and UseDNS=), then the lease's.
		{fmt.Sprintf("run/systemd/netif/links/%d", index), keyed("", "DNS")},
		{fmt.Sprintf("run/systemd/netif/leases/%d", index), keyed("", "DNS")},
		// systemd-resolved, configured by another program (NetworkManager, resolvectl).
		{fmt.Sprintf("run/systemd/resolve/netif/%d", index), keyed("", "SERVERS")},
		// NetworkManager, the lease's options.
		{fmt.Sprintf("run/NetworkManager/devices/%d", index), keyed("dhcp4", "domain_name_servers")},
		// The whole machine; if it uses a local forwarder, the forwarder's upstreams.
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

// noResolver says that the uplink has no resolver that can be queried.
func (st Status) noResolver() string {
	if len(st.NotDNS) == 0 {
		return st.Interface + " has no name server: write one as dns of the donation"
	}
	return fmt.Sprintf("%s has no name server that can be asked through it, only %s: write one as dns of the donation",
		st.Interface, strings.Join(st.NotDNS, ", "))
}

// readSmall returns the file's first bytes, nil if it can't be read.
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

// keyed returns a parser of files with [section]s and key=value lines. It returns the words of one key's value. Section "" is
// the part before the first heading.
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

// lines yields the lines without surrounding space. It skips empty lines and comments.
func lines(data []byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for line := range bytes.Lines(data) {
			line := string(bytes.TrimSpace(line))
			if line == "" || line[0] == '#' || line[0] == ';' {
				continue
			}
			if !yield(line) {
				return
			}
		}
	}
}

// addresses returns the resolvers that can be queried through an uplink: IPv4, on port 53, not this machine itself.
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
