// Package guest is what the virtual machine of `make test-vm` runs: tests of the daemon on a kernel with radios, a GPIO
// chip and fair queues, which netlab's namespaces cannot have. The radios are mac80211_hwsim's, the chip is gpio-sim's.
//
// It owns the other side of the daemon there: residents' phones that join by wpa_supplicant (Station), a lender's phone
// with tethering (Phone), a finger on the button (Button) and an eye on the light (Light). All are in a netlab world.
// The daemon is the shipped program (Box): the package must not know its internals, only `status --json` and the light
// pattern of each State.
//
// The tests run only with the flag -vm, which the machine passes. Among parallel tests, go test starts with the first
// in the order of files: the longest is there.
package guest
