#!/bin/sh
# Acknowledges an emergency:  ack.sh RECEIPT
#
# Prints the result and succeeds only if the emergency is acknowledged.
#
# Needs the nats command line (https://github.com/nats-io/natscli), which finds
# the server and its credentials in NATS_URL, NATS_CREDS and so on.
set -eu
receipt=${1:?usage: ack.sh RECEIPT}

# Durable: once this has succeeded, the emergency is acknowledged even if the
# connector is down now, or Pushover is.
nats pub --quiet --jetstream pushover.control.ack "$receipt"

# The result, if it comes soon. Asking twice does not cost Pushover anything.
result=$(nats req --raw --timeout=30s pushover.rpc.ack "$receipt")
echo "$result"
case $result in *'"status":"acknowledged"'*) ;; *) exit 1 ;; esac
