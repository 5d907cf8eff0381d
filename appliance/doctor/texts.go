package doctor

import "passerelle/appliance/state"

// titles has the steps' names in English.
var titles = map[state.Step]string{
	state.StepBox:       "what the box does",
	state.StepInterface: "interface",
	state.StepLink:      "link",
	state.StepAddress:   "address",
	state.StepGateway:   "gateway",
	state.StepResolver:  "name servers",
	state.StepNames:     "names",
	state.StepTCP:       "connection",
	state.StepPage:      "web page",
	state.StepHotspot:   "the box’s network",
	state.StepRadio:     "radio",
	state.StepAnswers:   "names for residents",
	state.StepPortal:    "the portal, as a phone sees it",
	state.StepDHCP:      "addresses for residents",
	state.StepDisk:      "disk",
	state.StepClock:     "clock",
	state.StepCap:       "data of the loan",
	state.StepLights:    "light and button",
	state.StepDaemon:    "daemon",
	state.StepConfig:    "configuration",
	state.StepPorts:     "ports",
}

// text is the English text of a code: what was seen, and what to do. {names} stand for arguments.
type text struct {
	verdict state.Verdict
	saw, do string
}

// texts has the verdict and the text of every code.
var texts = map[state.Code]text{
	"box-sharing": {state.OK, "The box shares.", ""},
	"box-starting": {
		state.Warn, "The box is starting.",
		"Wait a minute, then search again.",
	},
	"box-fault": {
		state.Bad, "The box has a fault: {why}.",
		"If a setting was just changed, go back to the settings before. Else restart the box.",
	},
	"box-setup": {
		state.Warn, "Nobody has set up the box yet, or somebody held its button.",
		"Sign in to its pages and answer the questions. After a press, wait a quarter of an hour.",
	},
	"box-paused": {
		state.Warn, "Sharing is paused by {by}.",
		"Resume it when you like.",
	},
	"box-paused-by-lenders": {
		state.Warn, "The lenders have paused all open loans.",
		"Ask them, or lend another connection.",
	},
	"box-closed": {
		state.Warn, "It is outside the hours of every loan.",
		"It opens by itself. The hours are in the settings of the loans.",
	},
	"box-exhausted": {
		state.Warn, "The lent data is used up.",
		"The step “data of the loan” says until when.",
	},
	"box-offline": {
		state.Warn, "No lent connection works now.",
		"The steps of the lines show where it stops.",
	},
	"interface-ok": {state.OK, "{interface} is there{kind}.", ""},
	"interface-missing": {
		state.Bad, "There is no interface {interface}.",
		"Check that the adapter is plugged in. If the machine calls it by another name now, change it in the settings of the loan.",
	},
	"interface-no-phone": {
		state.Bad, "No phone is plugged in by USB.",
		"Plug the phone in, unlock it, and turn its USB tethering on.",
	},
	"interface-unread": {
		state.Bad, "The kernel does not list the interfaces: {error}.",
		"Restart the box.",
	},
	"link-ok": {state.OK, "The link is up.", ""},
	"link-off": {
		state.Bad, "{interface} is switched off.",
		"Switch it on, as root: ip link set {interface} up.",
	},
	"link-unplugged": {
		state.Bad, "{interface} has no link.",
		"Plug the cable in at both ends. Check that the lender’s box is on. Try another cable.",
	},
	"link-not-joined": {
		state.Bad, "The lender’s Wi-Fi is not joined: {why}.",
		"Turn the phone’s sharing on and keep it near. Check the name and the password in the settings of the loan.",
	},
	"link-phone": {
		state.Bad, "The phone is plugged in, but gives no link.",
		"Unlock the phone, and turn its USB tethering on.",
	},
	"address-ok": {state.OK, "The address is {address}.", ""},
	"address-none": {
		state.Bad, "{interface} has a link, but no address.",
		"Restart the lender’s box, and wait three minutes. Check that it gives addresses (DHCP), and that this machine asks for one on {interface}.",
	},
	"address-overlap": {
		state.Bad, "The network of {interface}, {network}, and the hotspot’s have addresses in common.",
		"Give the hotspot another address in the settings, for example 10.81.0.1/22.",
	},
	"gateway-ok": {state.OK, "The gateway {gateway} answers.", ""},
	"gateway-no-route": {
		state.Bad, "{interface} has an address, but no way to the internet (no default route).",
		"Restart the lender’s box. If it is a network without internet, lend another line.",
	},
	"gateway-silent": {
		state.Bad, "The gateway {gateway} does not answer.",
		"Restart the lender’s box, and wait three minutes. Check that the cable leads to it, and not to another network.",
	},
	"gateway-several": {
		state.Warn, "{count} devices answer for the gateway {gateway}.",
		"Two devices on the lender’s network have the same address: give one of them another.",
	},
	"gateway-none": {state.Skipped, "This line has no gateway to ask.", ""},
	"gateway-unasked": {
		state.Warn, "The gateway {gateway} could not be asked: {error}.",
		"Search again.",
	},
	"resolver-ok": {state.OK, "The name servers answer: {servers}, the first in {took}.", ""},
	"resolver-partly": {
		state.Warn, "{servers} answers in {took}; {silent} does not.",
		"Take the silent server out of the settings of the loan, or of the lender’s box.",
	},
	"resolver-none": {
		state.Bad, "The line came without a name server.",
		"Write one as “dns” of the loan, for example that of its provider.",
	},
	"resolver-unusable": {
		state.Bad, "The line has no name server that can be asked through it, only {servers}.",
		"Write one as “dns” of the loan, for example that of its provider.",
	},
	"resolver-silent": {
		state.Bad, "No name server answers: {servers}.",
		"Restart the lender’s box. If that does not help, write other servers as “dns” of the loan.",
	},
	"names-ok": {state.OK, "A new name of {zone} resolves.", ""},
	"names-refused": {
		state.Bad, "The name servers refuse every name ({rcode}).",
		"Write other servers as “dns” of the loan.",
	},
	"names-servfail": {
		state.Bad, "The name servers answer, but reach nothing beyond themselves (SERVFAIL).",
		"The lender’s box has no internet: look at its lights, restart it, and call its provider.",
	},
	"names-missing": {
		state.Bad, "The name servers say that no name exists.",
		"A filter on the line blocks names. Write other servers as “dns” of the loan, or ask who runs the filter.",
	},
	"names-wrong": {
		state.Warn, "The name servers give other addresses than the right ones.",
		"A filter or a sign-in page on the line answers names. The step of the page says more.",
	},
	"tcp-ok": {state.OK, "A connection to {host} is established in {took}.", ""},
	"tcp-blocked": {
		state.Bad, "Names resolve, but no connection gets through (tried: {hosts}).",
		"Restart the lender’s box. Ask the provider whether the line is blocked or its data used up. Ask whether a firewall stands on the line.",
	},
	"tcp-no-target": {state.Skipped, "No address is known to connect to.", ""},
	"page-ok":       {state.OK, "The page of {host} came as it is, in {took}.", ""},
	"page-portal": {
		state.Bad, "Another page came instead of that of {host}: the network asks for a sign-in, or says that the data is used up.",
		"Join the lender’s network with a phone or a computer, open any page, and sign in or accept. Or ask the lender.",
	},
	"page-silent": {
		state.Warn, "A connection is there, but no known page came (tried: {hosts}).",
		"The line works for most. A filter may block these pages, or their servers are down: search again later.",
	},
	"hotspot-ok": {state.OK, "{interface} has the address {address}.", ""},
	"hotspot-missing": {
		state.Bad, "The hotspot’s interface {interface} does not exist.",
		"Plug the Wi-Fi adapter in, or correct the interface in the settings of the Wi-Fi.",
	},
	"hotspot-no-address": {
		state.Bad, "{interface} does not have the box’s address {address}.",
		"The box sets it by itself within seconds. If this stays, restart the box.",
	},
	"hotspot-no-link": {
		state.Warn, "Nothing is plugged in at {interface}.",
		"Plug the access point’s cable in, and check that it is on.",
	},
	"radio-ok":    {state.OK, "The Wi-Fi is on: channel {channel} of {band}.", ""},
	"radio-ok-of": {state.OK, "The Wi-Fi is on: channel {channel} of {band}, {stations} devices of {max} that the radio serves.", ""},
	"radio-off": {
		state.Bad, "The Wi-Fi is off: {why}.",
		"Plug the adapter out and in. If this stays, choose another band or channel in the settings of the Wi-Fi.",
	},
	"radio-full": {
		state.Warn, "The radio is full: {stations} devices, and more were turned away.",
		"Add a second box, or another Wi-Fi adapter.",
	},
	"radio-none":      {state.Skipped, "The box has no radio of its own: a cable or access points make the network.", ""},
	"answers-ok":      {state.OK, "The box answers names: truthfully to who is online, in {took}, and with its own address to the others.", ""},
	"answers-captive": {state.OK, "The box answers names with its own address, as it should while nothing is shared.", ""},
	"answers-silent": {
		state.Bad, "The box’s name server {child} does not answer.",
		"The box restarts it by itself within a minute. If this stays, restart the box.",
	},
	"answers-wrong": {
		state.Bad, "The box’s name server {child} answers wrongly: {answer}.",
		"The box restarts it by itself within a minute. If this stays, restart the box.",
	},
	"portal-ok": {state.OK, "A phone that joins is led to {to} in {took}, and the portal’s API says that it is captive.", ""},
	"portal-silent": {
		state.Bad, "The box’s pages do not answer: {error}.",
		"Restart the box.",
	},
	"portal-wrong": {
		state.Bad, "A phone’s test got {status}, and is not led to the first page.",
		"Restart the box.",
	},
	"portal-api": {
		state.Warn, "A phone’s test is led to the first page, but the portal’s API does not answer as it should: {error}.",
		"Restart the box.",
	},
	"dhcp-ok": {state.OK, "{free} of {size} addresses are free.", ""},
	"dhcp-few": {
		state.Warn, "Only {free} of {size} addresses are free.",
		"Make the hotspot’s network larger in the settings (10.80.0.1/22 has 1,000), or the leases shorter.",
	},
	"dhcp-full": {
		state.Bad, "All {size} addresses are taken: nobody else can join.",
		"Make the hotspot’s network larger in the settings (10.80.0.1/22 has 1,000), or the leases shorter.",
	},
	"dhcp-closed": {
		state.Bad, "Nobody gives addresses: nothing listens at port 67.",
		"The box restarts dnsmasq by itself within a minute. If this stays, restart the box.",
	},
	"dhcp-silent": {
		state.Bad, "A phone that asks for an address gets none, although some are free.",
		"Restart the box.",
	},
	"dhcp-wrong": {
		state.Bad, "A phone that asks is offered {address} with the gateway {router}: that is not this hotspot’s.",
		"Restart the box.",
	},
	"dhcp-unasked": {
		state.Warn, "The box could not ask for an address as a phone does: {error}.",
		"Restart the box.",
	},
	"dhcp-unread": {
		state.Warn, "The leases cannot be read: {error}.",
		"Restart the box.",
	},
	"disk-ok": {state.OK, "{room} of {total} are free; a test was written in {took}.", ""},
	"disk-low": {
		state.Warn, "Only {room} of {total} are free.",
		"Remove packs of lessons that nobody uses.",
	},
	"disk-full": {
		state.Bad, "The disk is full ({room} of {total} are free): nothing can be written.",
		"Remove packs of lessons that nobody uses, or use a larger card. Loans with a cap stop until then.",
	},
	"disk-read-only": {
		state.Bad, "The disk can no longer be written.",
		"Restart the box. If that does not help, the memory card is worn out: use another one.",
	},
	"disk-fails": {
		state.Bad, "A test could not be written: {error}.",
		"Restart the box. If that does not help, use another memory card.",
	},
	"disk-slow": {
		state.Bad, "A test was not written within {took}.",
		"The memory card may be worn out: prepare another one.",
	},
	"disk-errors": {
		state.Warn, "The file system met errors: {count} so far.",
		"The memory card may be worn out: prepare another one.",
	},
	"clock-ok":        {state.OK, "It is {at}, confirmed by {by}.", ""},
	"clock-ok-server": {state.OK, "It is {at}, by a time server, right to {within} or better.", ""},
	"clock-untrusted": {
		state.Warn, "The clock says {at}, and nobody has confirmed it since the box started. Caps do not reset, and hours are not enforced.",
		"Once a line works, a time server sets it. If the time is right, confirm it: passerelle clock --confirm.",
	},
	"cap-none": {state.OK, "No cap; {used} used in this period.", ""},
	"cap-ok":   {state.OK, "{left} of {cap} are left.", ""},
	"cap-low": {
		state.Warn, "Only {left} of {cap} are left.",
		"Ask the lender whether the cap may be raised, or lend another connection.",
	},
	"cap-spent": {
		state.Bad, "The cap of {cap} is used up.",
		"It begins again by itself if it has a period. Until then, lend another connection, or ask the lender whether the cap may be raised.",
	},
	"cap-lost": {
		state.Bad, "What was used is not known, so that the cap counts as used up until its period ends.",
		"Lend another connection until then.",
	},
	"lights-ok":   {state.OK, "{names}, showing the State “{state}”.", ""},
	"lights-none": {state.Skipped, "The box has no light that it can use.", ""},
	"lights-fail": {
		state.Warn, "A light or the button cannot be used: {error}.",
		"Check the wiring, and what passerelle hw says.",
	},
	"not-after":   {state.Skipped, "Not checked, because of the fault at “{step}”.", ""},
	"not-paused":  {state.Skipped, "Not checked, because the loan is paused: nothing is sent on it.", ""},
	"not-closed":  {state.Skipped, "Not checked, because it is outside the loan’s hours: nothing is sent on it.", ""},
	"not-idle":    {state.Skipped, "Not checked, because another loan is in use.", ""},
	"not-spent":   {state.Skipped, "Not checked, because the loan’s data is used up: nothing more is sent on it.", ""},
	"not-in-time": {state.Skipped, "Not checked, because the search took too long.", ""},
	"not-running": {state.Skipped, "Not checked, because the daemon does not run.", ""},
	"daemon-stopped": {
		state.Bad, "The daemon does not run ({unit}).",
		"Start it: systemctl start passerelle. What stopped it is in: journalctl -u passerelle.",
	},
	"config-ok": {state.OK, "The configuration {file} is valid.", ""},
	"config-missing": {
		state.Warn, "There is no configuration {file}.",
		"Write one: passerelle init, or start the daemon with --setup and open its pages.",
	},
	"config-refused": {
		state.Bad, "The configuration is refused: {error}.",
		"Correct these lines: passerelle check shows all of them.",
	},
	"config-misfit": {
		state.Warn, "The configuration does not fit this machine: {error}.",
		"Plug in what is missing, or correct the configuration.",
	},
	"ports-ok": {state.OK, "The ports that the box needs are free.", ""},
	"ports-taken": {
		state.Bad, "Another program has ports that the box needs: {ports}.",
		"Stop that program. This shows it: ss -lntup.",
	},
}
