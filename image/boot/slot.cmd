# U-Boot's script of one slot, the first part of its container. It boots the slot's kernel. boot/boot.cmd, which belongs to no slot,
# has read and checked the container and set container, slot and devnum.
#
# The parts after this one: 1 the kernel (gzip), 2 the initrd, from 3 on the device trees in the order of image/boot/boards.

setenv dtb
@BOARDS@
if test -z "${dtb}"; then
	echo "this slot has no device tree for ${fdtfile}"
else
	imxtract ${container} 1
	unzip ${fileaddr} 0x02000000 0x05000000
	imxtract ${container} ${dtb} 0x07800000
	imxtract ${container} 2
	setenv initrd ${fileaddr}:${filesize}

	# Start the watchdog with 15 s, its maximum. The kernel's driver (bcm2835_wdt.c) resets it once it is loaded. So a kernel that
	# hangs uses up a try. QEMU has no timer there and would reset at once; its boards have the serial number 0.
	setenv power 3f100000
	if test ${dtb} -ge @BCM2711@; then setenv power fe100000; fi
	if itest.s "${serial#}" != 0000000000000000; then
		setexpr register ${power} + 24; mw.l ${register} 5a0effff
		setexpr register ${power} + 1c; mw.l ${register} 5a000020
	fi

	setenv bootargs "console=tty0 console=ttyS1,115200 @ARGUMENTS@ passerelle.slot=${slot}"
	booti 0x02000000 ${initrd} 0x07800000
fi
