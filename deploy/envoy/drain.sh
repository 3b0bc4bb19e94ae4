#!/usr/bin/env bash
# Before this proxy is stopped: peers are told to connect elsewhere, and calls that run have time to
# end. Needs nothing but bash, as the image has nothing else.
#
#   drain.sh SECONDS     at most so long; ADMIN=host/port where the admin interface is elsewhere
set -eu

ADMIN=${ADMIN:-127.0.0.1/9901}

ask() { # METHOD PATH
  exec 3<>"/dev/tcp/$ADMIN"
  printf '%s %s HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: 0\r\n\r\n' "$1" "$2" >&3
  while IFS= read -r line <&3; do printf '%s\n' "$line"; done
  exec 3>&-
}

running() { # calls of clients that run; the listener "observed" is probes and metrics
  local sum=0 line
  while IFS= read -r line; do
    [[ $line =~ ^http\.(services|clients)\.downstream_rq_active:\ ([0-9]+) ]] && sum=$((sum + BASH_REMATCH[2]))
  done < <(ask GET '/stats?filter=downstream_rq_active')
  echo "$sum"
}

# Answers say GOAWAY or close from now on, and /ready says 503: no new calls come.
ask POST /healthcheck/fail >/dev/null
end=$((SECONDS + $1))
sleep 5
while (($(running) > 0 && SECONDS < end)); do sleep 1; done
