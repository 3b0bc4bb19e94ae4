#!/usr/bin/env bash
# Creates a render, watches it to its end, and downloads its video: grpcurl and jq.
#
#   ./render.sh HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...
#
# GATOR_CA_FILE: certificates to trust; turns TLS on. GATOR_TOKEN: shown over TLS only.
set -euo pipefail
if (($# < 4)); then
  echo "usage: $0 HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT..." >&2
  exit 2
fi
target=$1 out=$2 quality=QUALITY_${3^^}
protos=$(cd "$(dirname "$0")/../../../protos" && pwd)
# Servers beyond loopback answer no reflection: the API is read from the protos.
options=(-import-path "$protos" -proto gator/gateway/v1/render_service.proto
  -proto google/rpc/error_details.proto)
if [[ -n ${GATOR_CA_FILE:-} ]]; then
  options+=(-cacert "$GATOR_CA_FILE")
  # grpcurl takes ${NAME} from the environment: the token is not seen in the list of processes.
  if [[ -n ${GATOR_TOKEN:-} ]]; then
    options+=(-expand-headers -H 'authorization: Bearer ${GATOR_TOKEN}')
  fi
else
  options+=(-plaintext)
fi

# call METHOD REQUEST [OPTION...]
call() {
  grpcurl "${options[@]}" "${@:3}" -d "$2" "$target" "gator.gateway.v1.RenderService/$1"
}

# Tries again while the server cannot be reached, for about a minute. grpcurl exits with 64 + the
# status; 78 is UNAVAILABLE, and 1 says that it did not connect.
retried() {
  local delay=1 code
  while true; do
    code=0
    "$@" || code=$?
    if ((code != 1 && code != 78)) || ((delay > 30)); then return "$code"; fi
    sleep "$delay"
    delay=$((delay * 2))
  done
}

# Bytes are base64 in JSON, each chunk by itself. Begins anew at each try.
download() {
  call DownloadVideo "{\"render_id\": \"$id\"}" | jq -r --unbuffered '.chunk.data // empty' |
    while read -r chunk; do base64 -d <<<"$chunk"; done >"$out.part"
}

request=$(jq -n --arg quality "$quality" --arg id "$(cat /proc/sys/kernel/random/uuid)" '{render: {
  scenes: [$ARGS.positional[] | {prompt: .}], quality: $quality, duration_per_frame: "1s",
  request_id: $id}}' --args "${@:4}") # request_id: safe to repeat
id=$(retried call CreateRender "$request" -max-time 30 | jq -r .render.renderId)

# A watch that is tried again begins with the render as it stands; the last message is its end.
render=$(retried call WatchRender "{\"render_id\": \"$id\"}" | jq -c . | tee >(jq -r '.render.state // empty' >&2) |
  jq -cs 'map(.render // empty) | last')
if [[ $(jq -r .state <<<"$render") != RENDER_STATE_SUCCEEDED ]]; then
  echo "render failed: $(jq -r '"\(.state): \(.error.message // "")"' <<<"$render")" >&2
  exit 1
fi

retried download
expected=$(jq -r .result.sha256 <<<"$render" | base64 -d | od -An -v -tx1 | tr -d ' \n')
sha256sum --check --quiet <<<"$expected  $out.part"
mv "$out.part" "$out" # the file gets its name once it is whole
jq -r --arg out "$out" --arg sha256 "$expected" \
  '"\($out): \(.result.frameCount) pictures, \(.result.sizeBytes) bytes, sha256 \($sha256)"' <<<"$render"
