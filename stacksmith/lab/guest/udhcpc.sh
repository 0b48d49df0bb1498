#!/bin/sh
# What udhcpc calls on a change of lease.
case $1 in
bound | renew)
    ip address flush dev "$interface" scope global
    ip address add "$ip/${mask:-24}" dev "$interface"
    [ -n "$router" ] && ip route replace default via "${router%% *}" dev "$interface"
    [ -n "$dns" ] && echo "nameserver ${dns%% *}" >/etc/resolv.conf
    read -r mac </sys/class/net/"$interface"/address
    [ "$1" = bound ] && printf '\nSTACKSMITH-ADDRESS %s %s %s\n' "$interface" "$mac" "$ip/${mask:-24}" >/dev/ttyS0
    echo "$ip" >/run/lease."$interface"
    ;;
esac
exit 0
