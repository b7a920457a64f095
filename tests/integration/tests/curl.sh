#!/bin/sh
# A stranger's script: makes, follows, stops and removes one session with curl alone, going by the daemon's own
# description for every address.
#
#   curl.sh SPEC TEXT CURL-ARGUMENTS...    SPEC: a session spec, as JSON
#                                          TEXT: what the session writes; "-" where its backend keeps no logs
#   curl.sh '{"backend": "process", "command": ["sh", "-c", "echo hello; sleep 600"]}' hello \
#       --unix-socket /var/lib/seawall/seawall.sock http://seawall
#   curl.sh '{"backend": "mock"}' - -H "Authorization: Bearer $TOKEN" https://seawall.example:7790
set -eu

spec=$1 text=$2
shift 2
# The last argument is where the daemon is.
for base in "$@"; do :; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ask() {
    curl --silent --show-error --max-time 120 "$@"
}

fail() {
    echo "curl.sh: $*" >&2
    exit 1
}

# One request: METHOD PATH [more arguments of curl]. Prints the status; headers and body are in the work directory.
request() {
    method=$1 path=$2
    shift 2
    ask --output "$work/body" --dump-header "$work/headers" --write-out '%{http_code}' --request "$method" \
        "$@" --config "$work/curl" "$base$path"
}

# What is the same in each request is kept where curl reads it: other users see the arguments of a program.
while [ $# -gt 1 ]; do
    case $1 in
        -H | --header) printf 'header = "%s"\n' "$2" ;;
        --unix-socket | --cacert) printf '%s = "%s"\n' "${1#--}" "$2" ;;
        *) fail "what is $1?" ;;
    esac
    shift 2
done >"$work/curl"

[ "$(request GET /openapi.json)" = 200 ] || fail "no description: $(cat "$work/body")"
cp "$work/body" "$work/openapi"

# The path of an operation, with {id} replaced.
path_of() {
    found=$(awk -v name="\"$1\"" '
        /^    "\// { split($0, part, "\""); path = part[2] }
        $1 == "\"operationId\":" && index($2, name) == 1 { print path }
    ' "$work/openapi")
    [ -n "$found" ] || fail "nothing is described as $1"
    echo "$found" | sed "s/{id}/${2:-}/"
}

# A field of the last answer, which is one JSON object: the first that has the name.
field() {
    grep -o "\"$1\":\"[^\"]*\"" "$work/body" | head -n 1 | cut -d '"' -f 4
}

expect() {
    [ "$1" = "$2" ] || fail "$3: $1, not $2: $(cat "$work/body")"
}

key="curl-sh-$$-$(date +%s)"
for _ in first again; do
    status=$(request POST "$(path_of create_session)?wait=true" -H "Content-Type: application/json" \
        -H "Idempotency-Key: $key" --data "$spec")
    expect "$status" 201 "making a session"
    id=$(field id)
    expect "${made:-$id}" "$id" "sent again"
    made=$id
done
expect "$(field state)" running "its state"
echo "made: $(field name)"

# Follows a stream (PATH [more arguments of curl]) until it has a line of this pattern.
follow() {
    pattern=$1 path=$2
    shift 2
    (exec curl --silent --no-buffer --max-time 120 --config "$work/curl" "$@" "$base$path" >"$work/stream") &
    curl=$!
    until grep -q "$pattern" "$work/stream" 2>/dev/null; do
        kill -0 "$curl" 2>/dev/null || grep -q "$pattern" "$work/stream" || fail "no $pattern in $(cat "$work/stream")"
        sleep 0.1
    done
    kill "$curl" 2>/dev/null || true
    wait "$curl" 2>/dev/null || true
}

follow '^event: session.started' "$(path_of events)?session=$id&since=0&follow=true"
echo "followed: it started"

logs=$(path_of session_logs "$id")
if [ "$text" = - ]; then
    expect "$(request GET "$logs")" 501 "logs that are not kept"
    echo "logs: none"
else
    follow "$text" "$logs?follow=true" -H "Accept: text/plain"
    echo "logs: $text"
fi

# It may change after it was looked at, as when it is found to be healthy: then it is looked at again.
status=412
while [ "$status" = 412 ]; do
    expect "$(request GET "$(path_of show_session "$id")")" 200 "looking at it"
    tag=$(sed -n 's/^etag: *//p' "$work/headers" | tr -d '\r')
    status=$(request POST "$(path_of stop_session "$id")?wait=true&grace=5s" -H "If-Match: $tag")
done
expect "$status" 200 "stopping it"
echo "stopped: $(field state)"
expect "$(request DELETE "$(path_of remove_session "$id")" -H "If-Match: $tag")" 412 "removing what changed meanwhile"
expect "$(request DELETE "$(path_of remove_session "$id")?wait=true")" 204 "removing it"
expect "$(request GET "$(path_of show_session "$id")")" 404 "looking at what is gone"
echo "removed"
