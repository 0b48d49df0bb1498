# Disks as the ramdisk sees them; names are those of /sys/block. Sizes are in MiB and sectors of 512 bytes unless told.

disks() { # a line for each disk that can take an image: name, bytes, rotational, model, vendor, serial, wwn, hctl
    for path in /sys/block/*; do
        name=${path##*/}
        case $name in loop* | ram* | zram* | fd* | sr* | md* | dm-* | nbd* | '*') continue ;; esac
        case $(readlink -f "$path") in */usb[0-9]*) continue ;; esac
        [ "$(cat "$path/size")" -gt 0 ] && [ "$(cat "$path/ro")" = 0 ] && [ "$(cat "$path/removable")" = 0 ] || continue
        printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$name" $(($(cat "$path/size") * 512)) \
            "$(word "$path/queue/rotational")" "$(word "$path/device/model")" "$(word "$path/device/vendor")" \
            "$(serial "$path")" "$(wwn "$path")" "$(hctl "$path")"
    done
}

own() { # of the lines that come in, those of disks that a deploy of the server UUID has marked
    while IFS= read -r line; do
        case $(marker "${line%%"$(printf '\t')"*}") in *" $1 "*) echo "$line" ;; esac
    done
}

named() { # DISK, a name, serial or wwn: the name of the disk among the lines that come in; false when there is none
    awk -F '\t' -v is="$1" '$1 == is || $6 == is || $7 == is { print $1; found = 1 } END { exit !found }'
}

word() { # a file's text without the blanks around it
    cat "$1" 2>/dev/null | tr '\t\n' '  ' | sed 's/^ *//; s/ *$//'
}

serial() {
    for file in "$1/serial" "$1/device/serial"; do
        [ -e "$file" ] && word "$file" && return
    done
    dd if="$1/device/vpd_pg80" bs=4 skip=1 2>/dev/null | tr -d '\0' | sed 's/^ *//; s/ *$//'
}

wwn() {
    for file in "$1/wwid" "$1/device/wwid"; do
        [ -e "$file" ] && word "$file" && return
    done
}

hctl() {
    case $(readlink -f "$1/device") in
    */[0-9]*:[0-9]*:[0-9]*:[0-9]*) readlink -f "$1/device" | sed 's,.*/,,' ;;
    esac
}

choose() { # NEEDED-BYTES: the root device among the lines that come in; else what there is, and false
    awk -F '\t' -v needed="$1" -v hints="${HINTS:-/hints}" -f "${CHOOSE:-/bin/choose.awk}"
}

whole() { # the disk of a partition, or of itself
    if [ -e "/sys/class/block/$1/partition" ]; then
        basename "$(dirname "$(readlink -f "/sys/class/block/$1")")"
    else
        echo "$1"
    fi
}

partitions() {
    for path in /sys/block/"$1"/"$1"*; do
        [ -e "$path/partition" ] && echo "${path##*/}"
    done
}

contents() { # words for what is on a disk; nothing when it is empty
    probe "$1"
    for part in $(partitions "$1"); do probe "$part"; done
}

probe() { # words for a partition table or a signature
    blkid -p -o export "/dev/$1" 2>/dev/null | awk -F = -v name="$1" '
        { value[$1] = $2 }
        END {
            if (value["PTTYPE"] != "") printf "%s table with ", value["PTTYPE"]
            if (value["TYPE"] != "") printf "%s %s%s ", name, value["TYPE"], value["LABEL"] == "" ? "" : " \"" value["LABEL"] "\""
            else if (value["PART_ENTRY_UUID"] != "") printf "%s ", name
        }'
    [ $? = 0 ] && case $(blkid -p "/dev/$1" 2>/dev/null; echo $?) in *8) printf '%s several signatures ' "$1" ;; esac
}

# --- the mark: the last sector of the last MiB that is whole before the backup of a GPT

end_mib() { echo $((($(cat "/sys/block/$1/size") - 34) / 2048)); }

marker() { # "writing UUID CHECKSUM DIGEST", "done …", or nothing
    dd if="/dev/$1" bs=512 skip=$(($(end_mib "$1") * 2048 - 1)) count=1 2>/dev/null | tr -d '\0' |
        sed -n '1s/^stacksmith-deploy //p'
}

marked() { # STATE SERVER…: what a mark says, in words
    case $1 in
    '') ;;
    done) echo "an image for server $2" ;;
    *) echo "an image for server $2 that is not finished" ;;
    esac
}

mark() {
    printf 'stacksmith-deploy %s\n' "$2" |
        dd of="/dev/$1" bs=512 seek=$(($(end_mib "$1") * 2048 - 1)) count=1 conv=sync,notrunc,fsync 2>/dev/null
}

unmark() { # a server that was deployed there before is not finished there any more
    [ -z "$(marker "$1")" ] || dd if=/dev/zero of="/dev/$1" bs=512 seek=$(($(end_mib "$1") * 2048 - 1)) count=1 \
        conv=notrunc,fsync 2>/dev/null
}

clear_end() { # what is behind the mark: the backup of an old GPT
    sectors=$(cat "/sys/block/$1/size")
    dd if=/dev/zero of="/dev/$1" bs=512 seek=$(($(end_mib "$1") * 2048)) \
        count=$((sectors - $(end_mib "$1") * 2048)) conv=notrunc,fsync 2>/dev/null
}

# --- partitions

add_partition() { # DISK TABLE MIB: at the end of the disk, the mark in its last sector; why not, and false
    start=$((($(end_mib "$1") - $3) * 2048))
    case $2 in
    gpt)
        block=$(cat "/sys/block/$1/queue/logical_block_size")
        sgdisk -n "0:$((start * 512 / block)):$(((start + $3 * 2048) * 512 / block - 1))" -c 0:config-2 -t 0:8300 "/dev/$1"
        ;;
    dos) add_dos_partition "/dev/$1" $start $(($3 * 2048)) ;;
    *) echo 'the image has no partition table, and so no room for a config drive' && return 1 ;;
    esac
}

add_dos_partition() { # FILE START COUNT: the first free entry of a master boot record
    [ $(($2 + $3)) -le 4294967295 ] || { echo 'the disk is larger than a DOS partition table can say' && return 1; }
    for entry in 446 462 478 494; do
        [ "$(dd if="$1" bs=1 skip=$((entry + 4)) count=1 2>/dev/null | od -An -tu1 | tr -d ' ')" = 0 ] || continue
        printf "\\000\\376\\377\\377\\203\\376\\377\\377$(le32 "$2")$(le32 "$3")" |
            dd of="$1" bs=1 seek=$entry conv=notrunc,fsync 2>/dev/null
        return
    done
    echo 'the partition table of the image is full'
    return 1
}

le32() { # four bytes, the lowest first, as printf takes them
    printf '\\%03o\\%03o\\%03o\\%03o' $(($1 & 255)) $((($1 >> 8) & 255)) $((($1 >> 16) & 255)) $((($1 >> 24) & 255))
}

# --- config drives elsewhere

own_drive() { # the partition of DISK that is labelled config-2
    for each in $(partitions "$1"); do
        case $(blkid -p -s LABEL -o value "/dev/$each" 2>/dev/null) in config-2) echo "$each" && return ;; esac
    done
}

same_disk() { # whether two disks are one by two paths, as a SAN has them: each has what names it, and alike
    one="$(serial "/sys/block/$1") $(wwn "/sys/block/$1")"
    [ "$one" != ' ' ] && [ "$one" = "$(serial "/sys/block/$2") $(wwn "/sys/block/$2")" ]
}

other_drives() { # partitions and disks other than DISK's that are labelled config-2
    for name in $(disks | cut -f 1); do
        [ "$name" = "$1" ] || same_disk "$name" "$1" && continue
        for each in "$name" $(partitions "$name"); do
            case $(blkid -p -s LABEL -o value "/dev/$each" 2>/dev/null) in config-2 | CONFIG-2) echo "$each" ;; esac
        done
    done
}

blank() { # PARTITION SECTORS: what is behind so many, for a config drive may have held secrets; not over 64 MiB
    rest=$(($(cat "/sys/class/block/$1/size") - $2))
    dd if=/dev/zero of="/dev/$1" bs=512 seek="$2" count=$((rest > 131072 ? 131072 : rest)) conv=notrunc,fsync 2>/dev/null
}

remove_drive() { # what a partition holds goes, and it from a GPT; of a whole disk the label alone
    owner=$(whole "$1")
    dd if=/dev/zero of="/dev/$1" bs=64k count=1 conv=notrunc,fsync 2>/dev/null
    [ "$owner" = "$1" ] && return
    blank "$1" 128
    sgdisk -d "$(cat "/sys/class/block/$1/partition")" "/dev/$owner" >/dev/null 2>&1
}

zero() { # FILE SECTORS: every byte, with a word now and then, for a large disk takes hours
    at=0 end=$(($2 / 2048))
    while [ $at -lt $end ]; do
        tell clean "${1##*/}: $at of $end MiB"
        dd if=/dev/zero of="$1" bs=1M seek=$at count=$((end - at > 256 ? 256 : end - at)) conv=notrunc,fsync 2>/dev/null ||
            return 1
        at=$((at + 256))
    done
    rest=$(($2 % 2048))
    [ $rest = 0 ] || dd if=/dev/zero of="$1" bs=512 seek=$(($2 - rest)) count=$rest conv=notrunc,fsync 2>/dev/null
}

wipe_disk() { # DISK signatures|whole
    [ "$2" = whole ] && { zero "/dev/$1" "$(cat "/sys/block/$1/size")"; return; }
    mib=$(($(cat "/sys/block/$1/size") / 2048))
    for each in $(partitions "$1") "$1"; do
        dd if=/dev/zero of="/dev/$each" bs=1M count=1 conv=notrunc,fsync 2>/dev/null
    done
    dd if=/dev/zero of="/dev/$1" bs=1M seek=$((mib - 2)) conv=notrunc,fsync 2>/dev/null
    sync
    [ -z "$(blkid -p -s PTTYPE -s TYPE -o value "/dev/$1" 2>/dev/null)" ]
}
