# Prints each scalar of a JSON text, or of the plain YAML of NoCloud, as its keys and its value, parted by tabs:
#   {"meta": {"role": "web"}}  ->  meta<TAB>role<TAB>web
# Control characters stay escaped (\n is two characters), so a value is always one line.
BEGIN { RS = "\001" }
{ text = text $0 }
END { if (text ~ /^[ \t\r\n]*[{\[]/) json(text, ""); else yaml(text) }

function json(text, prefix,    depth, kind, key, wants_key, c, token, i) {
    depth = 0
    while (1) {
        sub(/^[ \t\r\n]+/, "", text)
        if (text == "") return
        c = substr(text, 1, 1)
        token = c
        if (c == "{" || c == "[") { depth++; kind[depth] = c; key[depth] = 0; wants_key = (c == "{") }
        else if (c == "}" || c == "]") { depth--; wants_key = 0 }
        else if (c == ",") { if (kind[depth] == "{") wants_key = 1; else key[depth]++ }
        else if (c == ":") wants_key = 0
        else {
            if (!match(text, /^"([^"\\]|\\.)*"/) && !match(text, /^[^],}[:space:]]+/)) return
            token = substr(text, 1, RLENGTH)
            if (wants_key) key[depth] = scalar(token)
            else {
                c = prefix
                for (i = 1; i <= depth; i++) c = c key[i] "\t"
                print c scalar(token)
            }
        }
        text = substr(text, length(token) + 1)
    }
}

function yaml(text,    lines, count, n, line, indent, depth, at, key, items, path, i) {
    count = split(text, lines, "\n")
    for (n = 1; n <= count; n++) {
        line = lines[n]
        sub(/[ \t\r]+$/, "", line)
        if (line ~ /^ *(#|$|---)/) continue
        match(line, /^ */)
        indent = RLENGTH
        line = substr(line, indent + 1)
        if (substr(line, 1, 2) == "- ") indent++           # an item belongs under the key at the same indent
        while (depth > 0 && at[depth] >= indent) depth--
        path = ""
        for (i = 1; i <= depth; i++) path = path key[i] "\t"
        if (substr(line, 1, 2) == "- ") { value(substr(line, 3), path items[path]++ "\t"); continue }
        if (!match(line, /^("([^"\\]|\\.)*"|'[^']*'|[^:]+):( |$)/)) continue
        depth++
        at[depth] = indent
        key[depth] = scalar(substr(line, 1, index_of_colon(line, RLENGTH)))
        line = substr(line, RLENGTH + 1)
        sub(/^ +/, "", line)
        if (line != "") value(line, path key[depth] "\t")
    }
}

function index_of_colon(line, end) { return substr(line, end, 1) == ":" ? end - 1 : end - 2 }

function value(text, path) {
    if (text ~ /^[{\[]/) json(text, path)
    else print path scalar(text)
}

function scalar(token,    quote) {
    quote = substr(token, 1, 1)
    if (quote == "\"") return unescape(substr(token, 2, length(token) - 2))
    if (quote == "'") { token = substr(token, 2, length(token) - 2); gsub(/''/, "'", token) }
    return token
}

function unescape(text,    out, at, c, code) {
    while ((at = index(text, "\\")) > 0) {
        out = out substr(text, 1, at - 1)
        c = substr(text, at + 1, 1)
        text = substr(text, at + 2)
        if (c == "u") {
            code = hex(substr(text, 1, 4))
            text = substr(text, 5)
            if (code >= 55296 && code < 56320 && substr(text, 1, 2) == "\\u") {
                code = 65536 + (code - 55296) * 1024 + hex(substr(text, 3, 4)) - 56320
                text = substr(text, 7)
            }
            out = out utf8(code)
        }
        else if (index("nrtbf", c)) out = out "\\" c
        else out = out c
    }
    return out text
}

function hex(digits,    i, sum) {
    for (i = 1; i <= length(digits); i++) sum = sum * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return sum
}

function utf8(code) {
    if (code < 32) return sprintf("\\u%04x", code)
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    if (code < 65536) return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
    return sprintf("%c%c%c%c", 240 + int(code / 262144), 128 + int(code / 4096) % 64, 128 + int(code / 64) % 64, 128 + code % 64)
}
