# Reads what flat.awk printed of network_data.json or of NoCloud's network-config and prints the fixed IPv4 address of the
# NIC with this MAC as `address prefix-length gateway`; nothing if it is to ask by DHCP.  Use: awk -v mac=52:54:… -f static.awk
BEGIN { FS = "\t" }
$1 == "links" && $3 == "id" { link[$2] = $4 }
$1 == "links" && $3 == "ethernet_mac_address" && tolower($4) == tolower(mac) { wanted = $2 }
$1 == "networks" && NF == 4 { network[$2, $3] = $4; last = $2 }
$1 == "networks" && $3 == "routes" && $5 == "gateway" { gateway[$2] = $6 }
$1 == "ethernets" && $3 == "match" && tolower($5) == tolower(mac) { nic = $2 }
$1 == "ethernets" && $3 == "addresses" && $NF ~ /^[0-9.]+\/[0-9]+$/ { address[$2] = $NF }
$1 == "ethernets" && ($3 == "gateway4" || $3 == "routes" && $5 == "via" && $6 !~ /:/) { via[$2] = $NF }
END {
    if (nic in address) { split(address[nic], part, "/"); print part[1], part[2], via[nic]; exit }
    for (i = 0; i <= last; i++)
        if (wanted != "" && network[i, "link"] == link[wanted] && network[i, "type"] == "ipv4") {
            print network[i, "ip_address"], ones(network[i, "netmask"]), gateway[i]
            exit
        }
}

function ones(netmask,    part, i, value, sum) {
    split(netmask, part, ".")
    for (i = 1; i <= 4; i++) for (value = part[i]; value > 0; value = (value * 2) % 256) sum++
    return sum
}
