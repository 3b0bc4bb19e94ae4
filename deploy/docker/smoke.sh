#!/usr/bin/env bash
# Builds the three images, and renders a draft video with them as they are deployed: read-only root, no
# capability, not root, no network but their own loopback.
#
#   deploy/docker/smoke.sh
#   ENGINE=podman deploy/docker/smoke.sh
#   BUILD="buildah bud --isolation chroot" ENGINE=podman deploy/docker/smoke.sh
#
# ENGINE is docker or podman, with options of your own if you like; BUILD is how it builds an image;
# VERSION is what they are tagged with.
set -euo pipefail
cd "$(dirname "$0")/../.."

ENGINE=${ENGINE:-docker}
BUILD=${BUILD:-$ENGINE build}
VERSION=${VERSION:-0.1.0}
NAME=gator-smoke

for service in gateway frame-gen compositor; do
  echo "==> building gator/$service:$VERSION"
  $BUILD --file "deploy/docker/$service.Dockerfile" --tag "gator/$service:$VERSION" .
done

cleanup() {
  for service in gateway compositor frame-gen; do
    $ENGINE rm --force "$NAME-$service" >/dev/null 2>&1 || true
  done
}
ended() {
  local status=$?
  if [ "$status" != 0 ]; then
    for service in gateway compositor frame-gen; do
      echo "==> the last that $service logged" >&2
      $ENGINE logs --tail 20 "$NAME-$service" >&2 || true
    done
  fi
  cleanup
  exit "$status"
}
trap ended EXIT
cleanup

# Like the pods of deploy/k8s: nothing is writable but what is mounted.
start() { # SERVICE NETWORK MEMORY [SETTING...]
  local service=$1 network=$2 memory=$3 settings=()
  shift 3
  for setting in "$@"; do settings+=(--env "$setting"); done
  echo "==> starting $service"
  $ENGINE run --detach --name "$NAME-$service" --network "$network" --read-only --cap-drop ALL \
    --security-opt no-new-privileges --memory "$memory" --pids-limit 256 \
    --tmpfs /tmp:rw,size=512m,mode=1777 "${settings[@]}" "gator/$service:$VERSION" >/dev/null
}

# One network for all three, which leads nowhere.
start frame-gen none 1g GATOR_FRAME_GEN_BACKENDS=placeholder GATOR_FRAME_GEN_HEALTH_LISTEN=127.0.0.1:50062
start compositor "container:$NAME-frame-gen" 2g GATOR_COMPOSITOR_THREADS=2 \
  GATOR_COMPOSITOR_HEALTH_LISTEN=127.0.0.1:50063
start gateway "container:$NAME-frame-gen" 1g GATOR_GATEWAY_INSECURE=true

echo "==> rendering"
$ENGINE exec --interactive "$NAME-gateway" /opt/gator/bin/python - <<'PYTHON'
import time

from gator_client import Client
from rpckit.probe import probe

end = time.monotonic() + 60
while probe("127.0.0.1:50060") != "SERVING":
    assert time.monotonic() < end, "the gateway is not ready"
    time.sleep(0.2)
with Client("127.0.0.1:50051") as client:
    result = client.render_to_file(
        ["a quiet harbour at dawn", "a market in full swing"],
        "/tmp/film.mp4",
        quality="draft",
        use_ai_generation=False,
    )
print(f"{result.frame_count} pictures, {result.size_bytes} bytes")
assert result.frame_count == 144
try:
    open("/opt/gator/written", "w")
except OSError as error:
    print(f"the root file system: {error.strerror}")
else:
    raise SystemExit("the root file system can be written to")
PYTHON

echo "==> stopping"
for service in gateway compositor frame-gen; do
  $ENGINE stop --time 30 "$NAME-$service" >/dev/null
  status=$($ENGINE inspect --format '{{.State.ExitCode}}' "$NAME-$service")
  echo "    $service ended with $status"
  test "$status" = 0
done
echo "==> done"
