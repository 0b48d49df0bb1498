#!/bin/sh
# What acpid runs when the power button is pressed.
printf '\nSTACKSMITH-POWEROFF\n' >/dev/ttyS0
sync
poweroff -f
