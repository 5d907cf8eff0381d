# U-Boot's script (boot.scr on the FAT partition). It chooses the slot, counts the tries, and falls back to the good slot. The
# part that depends on a slot's kernel is in boot/slot.cmd.
#
# The slot state is outside the FAT partition: two copies of 4096 bytes at 1 MiB and 2 MiB of the card, as env export -c writes
# them (a CRC-32, then key=value). The valid copy with the higher serial is in effect. The other copy is written next, so that a
# power cut leaves one copy intact. While slot is the good one, nothing is written.
#
# In this language numbers are hexadecimal, except for test. In the copies, which image/slot writes too, they are decimal. So
# the serial is increased in BCD.

setenv state_at 0x07000000
setenv container 0x08000000
mmc dev ${devnum}

# held is the serial of the copy in effect, over the block where the next copy is written.
setenv held
setenv over 800
for block in 800 1000; do
	if mmc read ${state_at} ${block} 8 && env import -c ${state_at} 1000 serial slot good tries failed; then
		if test -z "${held}" || test ${serial} -gt ${held}; then
			setenv held ${serial}
			setenv held_slot ${slot}
			setenv held_good ${good}
			setenv held_tries ${tries}
			setenv held_failed ${failed}
			if test ${block} = 800; then setenv over 1000; else setenv over 800; fi
		fi
	fi
done
setenv slot ${held_slot}
setenv good ${held_good}
setenv tries ${held_tries}
setenv failed ${held_failed}

if test "${slot}" != a && test "${slot}" != b; then
	echo "no copy says which slot to boot"
	setenv slot a
	setenv good a
fi
if test "${slot}" != "${good}"; then
	if test -n "${tries}" && test ${tries} -gt 0; then
		if test ${tries} -gt 9; then setenv tries 9; fi
		setexpr tries ${tries} - 1
		echo "slot ${slot} is unproven: after this one ${tries} tries are left"
	else
		echo "slot ${slot} failed: back to ${good}"
		setenv failed ${slot}
		setenv slot ${good}
		setenv tries 0
	fi
	setexpr serial ${held} + 1
	for mask in f f0 f00 f000 f0000 f00000 f000000 f0000000; do
		setexpr digit ${serial} "&" ${mask}
		setexpr one ${mask} / f
		setexpr ten ${one} * a
		setexpr six ${one} * 6
		if itest ${digit} == ${ten}; then setexpr serial ${serial} + ${six}; fi
	done
	# Clear what is left in memory of the copy that was read, so that it is not written.
	mw.b ${state_at} 0 1000
	env export -c -s 1000 ${state_at} serial slot good tries failed
	mmc write ${state_at} ${over} 8
fi

# The kernel's container is in the last 64 MiB of the slot's partition: a legacy multi-file image with a CRC-32. Its first part is
# the slot's script. Its length is the big-endian word at offset 12 of the header, which has 64 bytes.
setenv boot_slot '
	echo "booting slot ${slot}"
	setenv part 2
	if test ${slot} = b; then setenv part 3; fi
	part start mmc ${devnum} ${part} block
	part size mmc ${devnum} ${part} length
	setexpr block ${block} + ${length}
	setexpr block ${block} - 20000
	if mmc read ${container} ${block} 1; then
		setexpr at ${container} + d; setexpr.b high *${at}
		setexpr at ${at} + 1; setexpr.b middle *${at}
		setexpr at ${at} + 1; setexpr.b low *${at}
		setexpr length ${high} * 10000
		setexpr middle ${middle} * 100
		setexpr length ${length} + ${middle}
		setexpr length ${length} + ${low}
		setexpr length ${length} + 23f
		setexpr length ${length} / 200
		if mmc read ${container} ${block} ${length} && iminfo ${container}; then
			setenv verify no
			imxtract ${container} 0
			source ${fileaddr}
		fi
	fi
	echo "slot ${slot} has no kernel that can be booted"'

run boot_slot
if test ${slot} = a; then setenv slot b; else setenv slot a; fi
setenv verify
run boot_slot
echo "no slot can be booted: trying again in 10 seconds"
sleep 10
reset
