# Takes comments and what stands in strings and character constants out of C; #include lines are left as they are. Each line
# is written behind its file and number: path:12:code.
FNR == 1 {
    in_comment = 0
    quote = ""
}
{
    if (!in_comment && $0 ~ /^[ \t]*#[ \t]*include/) {
        print FILENAME ":" FNR ":" $0
        next
    }
    out = ""
    n = length($0)
    for (i = 1; i <= n; i++) {
        c = substr($0, i, 1)
        two = substr($0, i, 2)
        if (in_comment) {
            if (two == "*/") {
                in_comment = 0
                out = out " "
                i++
            }
        } else if (quote != "") {
            if (c == "\\")
                i++
            else if (c == quote) {
                out = out c
                quote = ""
            }
        } else if (two == "/*") {
            in_comment = 1
            i++
        } else if (two == "//") {
            break
        } else {
            if (c == "\"" || c == "'")
                quote = c
            out = out c
        }
    }
    print FILENAME ":" FNR ":" out
    quote = ""
}
