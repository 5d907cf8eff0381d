// Package ledger keeps each donation's account: how much of its cap the line has carried in this period, and how much more the
// kernel may be granted. It also tells when a donation's pause ends. It is pure: it reads no clock, no counter and no disk. It must
// know no resident, only sums over residents.
//
// # The promise
//
// A donation's cap is spent in tranches. A tranche is a granted unit (Granted-Service-Unit, RFC 8506): bytes that the
// kernel may let through before it needs another grant.
//
// An [Account] is given what the box observes ([Reading]). It answers with what to write and then grant ([Write]). At every moment
// the record on disk commits at least as many bytes as the line can have carried: the bytes used, all that the kernel still holds
// plus 3 % that its rules don't see, the bytes in flight after a cut, and part of the box's own traffic. No tranche is granted that
// would commit more than the cap. So the effect of a failure depends on its moment:
//
//   - before the write, or if the write fails, nothing was granted;
//   - between write and grant, or later, if the power fails: all committed bytes count as used;
//   - if only the daemon dies (the machine does not reboot), the kernel's own counters say what was used, and nothing is lost. If
//     the line was also replugged, so that its counter is gone, only the small reserves are lost.
//
// Balance.Margin is the part of the cap that this keeps free: 100 ms of the line and 64 kB (at most 1/32 of the cap), an allowance
// for the box's own traffic (1/128, at most 8 MB), and what the margin grew by after it proved too small (at most 1/16).
//
// # Time
//
// A period ends when trusted time says so, and never restarts. If the clock is set back, the account stays in the period it had
// reached until that period is over. Bytes carried since time was last trusted count in both periods. So a trusted clock that was
// years ahead gives at most one period's cap, and then the donation rests until those years are over. That is the safe side for the
// lender. A technician who knows better renames the donation, which opens a new account.
//
// If the policy changes within a period, what was used still counts. A new kind of period starts with what was used in the running
// one, and first resets at its own next boundary. A cap below what the kernel holds makes the account Spent and Overcommitted: its
// tranches must be revoked.
//
// # What it costs
//
// A tranche is 1/256 of the cap, between 1 MiB and 256 MiB. The kernel holds at least a second of the line (at most a quarter of
// the cap). The disk is written once a tranche, when a day or a period begins, and when the box's own traffic has used its part of
// the committed bytes. A write is 12 kB (three pages of bbolt; measured by store's TestBytesWritten), to which ext4 adds 2 to 4 kB
// at the device (bench --rows flash). On a line of 25 Mbit/s:
//
//	                                     cap of 200 GB    cap of 2 GB    each month
//	tranche                                     268 MB         7.8 MB
//	writes, when all is used                       745            256
//	bytes written                               9.2 MB         3.1 MB
//	lost at an unplugging, on average           155 MB         8.2 MB
//	  at one a day                       4.6 GB, 2.3 %   246 MB, 12 %
//	lost at a stop of the daemon, at most         8 MB         0.5 MB   (and then the power)
//
// An idle box writes nothing. At 20 Mbit/s that is 34 and 1,150 writes an hour, or 0.4 and 14 MB.
package ledger
