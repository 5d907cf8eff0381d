package guest

import (
	"fmt"
	"os"

	"passerelle/netctl/netlab"
)

// dhcpScript configures an interface with its lease.
const dhcpScript = `#!/bin/sh
case $1 in
deconfig) ip address flush dev "$interface" ;;
bound | renew)
	ip address replace "$ip/$mask" dev "$interface"
	ip route replace default via "$router" dev "$interface" metric 300
	for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
	;;
esac
`

// StartDHCP runs a DHCP client on an interface of the host, as a box's system does, until the world is closed.
func StartDHCP(h *netlab.Host, device string) error {
	script := h.Path("/dhcp-" + device)
	err := os.WriteFile(script, []byte(dhcpScript), 0o755)
	if err == nil {
		_, err = h.Start("busybox", "udhcpc", "-f", "-t", "3", "-T", "1", "-A", "1", "-i", device, "-s", script)
	}
	if err != nil {
		return fmt.Errorf("start a DHCP client on %s: %w", device, err)
	}
	return nil
}
