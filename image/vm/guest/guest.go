// Package guest is what the virtual machine of `make test-vm` runs: tests of the daemon on a kernel with radios, a GPIO chip and fair
// queues, which netlab's namespaces cannot have. The radios are mac80211_hwsim's, the chip is gpio-sim's.
//
// It owns everything that the daemon meets there: residents' phones that join with wpa_supplicant (Station), a lender's phone with
// tethering (Phone), the button (Button) and the light (Light). All are in a netlab world. The daemon is the shipped program (Box).
// The package must not know its internals, only `status --json` and the light pattern of each State.
//
// The tests run only with the flag -vm, which the machine passes. go test starts parallel tests in the order of files, so the longest
// test is in the first file.
package guest
