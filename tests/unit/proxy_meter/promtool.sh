#!/bin/sh
# promtool.sh PAGE - has promtool read the metrics page that the program PAGE prints. 77 means skipped.
set -u
command -v promtool >/dev/null 2>&1 || exit 77
page=$(mktemp) || exit 1
trap 'rm -f "$page"' EXIT
"$1" >"$page" || { echo "the page could not be made"; exit 1; }
said=$(promtool check metrics <"$page" 2>&1)
code=$?
[ -z "$said" ] || echo "$said"
exit $code
