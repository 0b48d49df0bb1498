# Ironic's root device hints: prints the name of the smallest disk that is large enough and fits all hints; of equal
# ones the first by serial, wwn and hctl, for a name may be another disk's at the next boot. Else says what there is and
# ends with 1.  Lines: name, bytes, rotational, model, vendor, serial, wwn, hctl, parted by tabs.
# Use: awk -F '\t' -v needed=BYTES -v hints=FILE -f choose.awk; FILE has lines NAME, tab, VALUE.
BEGIN {
    while ((getline line < hints) > 0) {
        split(line, part, "\t")
        hint[part[1]] = part[2]
    }
    best = -1
}
{
    seen = seen sprintf("%s%s (%.1f GiB, model %s, serial %s)", seen == "" ? "" : ", ", $1, $2 / 1073741824, $4, $6)
    key = $6 "\t" $7 "\t" $8 "\t" $1
    if (fits() && $2 + 0 >= needed + 0 && (best < 0 || $2 + 0 < best || ($2 + 0 == best && key < first))) {
        best = $2 + 0
        first = key
        name = $1
    }
}
END {
    if (best >= 0) {
        print name
        exit 0
    }
    for (each in hint) asked = asked " " each "=" hint[each]
    printf "no disk has %.1f GiB%s: there %s\n", needed / 1073741824, asked == "" ? "" : " and fits" asked,
        seen == "" ? "is none" : "are " seen
    exit 1
}

function fits() {
    if (("name" in hint) && bare_name(hint["name"]) != $1) return 0
    if (("serial" in hint) && tolower(hint["serial"]) != tolower($6)) return 0
    if (("wwn" in hint) && bare_wwn(hint["wwn"]) != bare_wwn($7)) return 0
    if (("model" in hint) && !index(tolower($4), tolower(hint["model"]))) return 0
    if (("vendor" in hint) && !index(tolower($5), tolower(hint["vendor"]))) return 0
    if (("hctl" in hint) && hint["hctl"] != $8) return 0
    if (("rotational" in hint) && hint["rotational"] != $3) return 0
    if (("min_size" in hint) && $2 + 0 < hint["min_size"] * 1073741824) return 0
    return 1
}

function bare_name(text) {
    sub(/^\/dev\//, "", text)
    return text
}

function bare_wwn(text) {
    text = tolower(text)
    sub(/^(naa\.|eui\.|0x|uuid\.)/, "", text)
    return text
}
