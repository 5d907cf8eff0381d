// Package ledger keeps each donation's account: what of its cap the line has carried in this period, and how much more
// the kernel may be granted. It is pure: it reads no clock, no counter and no disk. It must not know residents, but for
// sums of them.
//
// # The promise
//
// A [Book] is shown what the box sees ([Reading]) and answers with what to write and, after that, what to grant
// ([Write]). At every moment the record on disk promises no less than the line can have carried: what was used, all
// that the kernel holds with 3 % for what its rules don't see, what is under way after a cut, and some of the box's own
// questions. No tranche is granted that would promise more than the cap. So whatever dies when:
//
//   - before the write, or if it fails, nothing was granted;
//   - between write and grant, or later, if the power fails, all that was promised counts as used;
//   - if only the daemon dies (the same boot of the machine), the kernel's own counters say what was used, and nothing
//     is lost; if the line was plugged in again meanwhile, so that its counter is gone, only the small reserves are.
//
// What is left free of the cap for that is Standing.Margin: 100 ms of the line and 64 kB (at most a 32nd of the cap),
// an allowance for the box itself (a 128th, at most 8 MB), and what it grew by because it once fell short (at most a
// 16th).
//
// # Time
//
// A period ends when trusted time says so, and never begins again: a clock that is set back stays in the period that it
// once was in until that is over. What was carried since time was last sure counts in both periods. So a trusted clock
// that was years ahead gives one period's cap at most, and then the gift rests until those years are over: that is the
// safe side for the lender; a technician who knows better gives the donation another name, which is a new account.
//
// Terms that change within a period don't forgive what was used. Another kind of period begins with what was used in
// the running one and first resets at its own next boundary. A cap below what the kernel holds makes the account Spent
// and its tranches Excess, to be taken out.
//
// # What it costs
//
// A tranche is a 256th of the cap, between 1 MiB and 256 MiB, and the kernel holds at least a second of the line (at
// most a quarter of the cap). The disk is written once a tranche, when a day or a period begins, and when the box's own
// questions used up their part of what was promised; a write is 12 kB (three pages of bbolt; measured by store's
// TestBytesWritten), to which ext4 adds 2 to 4 kB at the device (bench --rows flash). On a line of 25 Mbit/s:
//
//	                                     cap of 200 GB    cap of 2 GB    each month
//	tranche                                     268 MB         7.8 MB
//	writes, when all is used                       745            256
//	bytes written                               9.2 MB         3.1 MB
//	lost at an unplugging, on average           155 MB         8.2 MB
//	  at one a day                       4.6 GB, 2.3 %   246 MB, 12 %
//	lost at a stop of the daemon, at most         8 MB         0.5 MB   (and then the power)
//
// Idle, nothing is written. While 20 Mbit/s are used that is 34 and 1,150 writes an hour, or 0.4 and 14 MB.
package ledger
