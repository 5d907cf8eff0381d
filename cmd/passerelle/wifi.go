package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
)

// wifiWords are the words behind "passerelle wifi".
var wifiWords = []command{
	{"scan", "[--config FILE] [--interface IF] [--json]", "list the Wi-Fi networks in range", wifiScan},
	{"lend", "[--config FILE] [--interface IF] [--name NAME] [--cap SIZE] [--period P] SSID [PASSPHRASE]",
		"make a donation of a lender's Wi-Fi", wifiLend},
}

// wifi has the commands about lenders' networks.
func wifi(ctx context.Context, c *cli, args []string) error {
	var known []string
	for _, w := range wifiWords {
		if len(args) > 0 && args[0] == w.name {
			return w.run(ctx, c, args[1:])
		}
		known = append(known, fmt.Sprintf("passerelle wifi %s %s\n      %s", w.name, w.args, w.about))
	}
	if len(args) > 0 && strings.TrimLeft(args[0], "-") == "help" {
		fmt.Fprintln(c.err, strings.Join(known, "\n"))
		return flag.ErrHelp
	}
	return wrong{fmt.Errorf("passerelle wifi: which of these?\n%s", strings.Join(known, "\n"))}
}
