#!/usr/bin/env bash
# Creates a render, watches it to its end, and downloads its video: REST with JSON, by curl and jq.
#
#   ./render.sh http://HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...
#
# The address is that of Envoy's edge (deploy/envoy), which makes gRPC of REST; https:// for TLS.
# GATOR_CA_FILE: certificates to trust. GATOR_TOKEN: shown with each request.
# Ctrl-C cancels the render.
set -euo pipefail
if (($# < 4)); then
  echo "usage: $0 http://HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT..." >&2
  exit 2
fi
url=$1/v1/renders out=$2 quality=QUALITY_${3^^}
if [[ -n ${GATOR_TOKEN:-} && $url != https:* ]]; then
  echo "GATOR_TOKEN is shown over https only" >&2
  exit 2
fi

# rest [OPTION...] URL: one request; tries again while the server cannot be reached or says 503.
rest() {
  local options=(--silent --show-error --fail-with-body --retry 6 --retry-connrefused)
  if [[ -n ${GATOR_CA_FILE:-} ]]; then options+=(--cacert "$GATOR_CA_FILE"); fi
  # The token comes by a file descriptor: it is not seen in the list of processes.
  curl "${options[@]}" --header @<(printf '%s' "${GATOR_TOKEN:+authorization: Bearer $GATOR_TOKEN}") "$@"
}
fail() {
  echo "render failed: $*" >&2
  exit 1
}

request=$(jq -n --arg quality "$quality" --arg id "$(cat /proc/sys/kernel/random/uuid)" '{
  scenes: [$ARGS.positional[] | {prompt: .}], quality: $quality, duration_per_frame: "1s",
  request_id: $id}' --args "${@:4}") # request_id: safe to repeat
created=$(rest --max-time 30 --json "$request" "$url") || fail "$(jq -r .message <<<"$created")"
id=$(jq -r .render.render_id <<<"$created")

cancel() {
  rest --max-time 30 --json '{}' "$url/$id:cancel" | jq -r '.render.state' >&2
  kill "${watching:-}" 2>/dev/null || true
  exit 130
}
trap cancel INT TERM

# A stream is one JSON document a line. One that breaks off is asked for again: how the render
# ended is found in any case by asking for it as it stands.
until [[ $(rest --max-time 30 "$url/$id" | jq -r .render.state) =~ SUCCEEDED|FAILED|CANCELLED ]]; do
  rest --no-buffer "$url/$id:watch" > >(jq -r --unbuffered '.render.state // (.progress.fraction |
    values | "\(100 * . | round)%")' >&2) &
  watching=$!
  wait "$watching" || sleep 1 # in the background: a signal is heard while it runs
done
render=$(rest --max-time 30 "$url/$id" | jq .render)
if [[ $(jq -r .state <<<"$render") != RENDER_STATE_SUCCEEDED ]]; then
  fail "$(jq -r '"\(.state): \(.error.message // "")"' <<<"$render")"
fi

rest --output "$out.part" "$url/$id/video"
expected=$(jq -r .result.sha256 <<<"$render" | base64 -d | od -An -v -tx1 | tr -d ' \n')
sha256sum --check --quiet <<<"$expected  $out.part"
mv "$out.part" "$out" # the file gets its name once it is whole
jq -r --arg out "$out" --arg sha256 "$expected" \
  '"\($out): \(.result.frame_count) pictures, \(.result.size_bytes) bytes, sha256 \($sha256)"' <<<"$render"
