// Package guest is what the virtual machine of `make test-vm` runs: tests of the daemon on a kernel that has radios, a
// GPIO chip and fair queues, which the namespaces of netlab cannot have. The radios are mac80211_hwsim's, the chip is
// gpio-sim's.
//
// It owns what stands on the other side of the daemon there: residents' phones that join by wpa_supplicant (Station), a
// lender's phone that shares its own line (Phone), a finger on the button (Button) and an eye on the light (Light). All
// live in a world of netlab. The daemon is the program as it is shipped (Box): the package must not know its inside, but
// for what `status --json` says and which pattern the light has for a State.
//
// The tests run with the flag -vm only, which the machine gives them. Of those that run beside each other, go test begins
// with the first in the order of files: the longest is there.
package guest
