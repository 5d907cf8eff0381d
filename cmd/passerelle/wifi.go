package main

import "context"

// wifiWords are the words behind "passerelle wifi".
var wifiWords = []command{
	{"scan", "[--config FILE] [--interface IF] [--json]", "list the Wi-Fi networks in range", wifiScan},
	{"lend", "[--config FILE] [--interface IF] [--name NAME] [--cap SIZE] [--period P] SSID [PASSPHRASE]",
		"make a donation of a lender's Wi-Fi", wifiLend},
}

// wifi has the commands about lenders' networks.
func wifi(ctx context.Context, c *cli, args []string) error {
	return subcommand(ctx, c, "wifi", wifiWords, args)
}
