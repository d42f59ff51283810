package main

import (
	"flag"
	"fmt"
	"io"
)

// printHelp prints all one needs to use the simulator.
func printHelp(fs *flag.FlagSet, w io.Writer) {
	_, _ = fmt.Fprint(w, helpStart)
	fs.SetOutput(w)
	fs.PrintDefaults()
	_, _ = fmt.Fprint(w, helpEnd)
}

const helpStart = `pushover-sim is a Pushover service on this machine: accounts, devices, queues,
the push stream, emergencies, and the API that sends messages. Unmodified
clients and senders work against it. Nothing leaves the machine, and nothing
is kept when it ends.

Usage: pushover-sim [flags]

When it serves, it prints one JSON line:
  {"api_url","stream_url","tls_addr","ca_file","email","password",
   "totp_secret","user_key","app_token"}
(totp_secret is empty without -twofa; the host is 127.0.0.1 where it listens on
every interface). SIGINT or SIGTERM ends it. Exit code 1 means that it could not
serve, 2 that the flags were wrong.

Flags:
`

const helpEnd = `
A client is pointed at it with the two URLs, or with the CA file and TLS on
tls_addr under the real names api.pushover.net and client.pushover.net.

Receive by hand (with email and password of the start line):
  API=http://127.0.0.1:8800
  curl $API/1/users/login.json -d email=EMAIL --data-urlencode password=PASSWORD
  curl $API/1/devices.json -d secret=SECRET -d name=nas-1 -d os=O
  curl "$API/1/messages.json?secret=SECRET&device_id=DEVICE"
  curl $API/1/devices/DEVICE/update_highest_message.json -d secret=SECRET -d message=ID
  curl $API/1/receipts/RECEIPT/acknowledge.json -d secret=SECRET
  A websocket to stream_url that sends the text "login:DEVICE:SECRET" and a
  newline gets '#' now and then and '!' for each message.

Send, as any application does:
  curl $API/1/messages.json -d token=APP_TOKEN -d user=USER_KEY -d message=hello
  curl $API/1/messages.json -d token=APP_TOKEN -d user=USER_KEY -d message=fire \
       -d priority=2 -d retry=30 -d expire=600
  curl "$API/1/receipts/RECEIPT.json?token=APP_TOKEN"

Control, all JSON. Unknown fields and bad values are refused with a reason.
  POST /sim/messages   queue messages without the sender's rules
    curl $API/sim/messages -d '{"count":1000,"title":"t","message":"number {n}"}'
    also: priority, app, sound, url, url_title, html, monospace, encrypted, ttl,
    retry, expire, timestamp, age (of an old backlog), device, to (user key,
    group key or e-mail),
    fields (raw fields that add or replace), omit (fields left out)
  POST /sim/frames     send signals on streams
    curl $API/sim/frames -d '{"frame":"R"}'
    also: device; mode binary, text, joined (all bytes in one message) or split
    (in fragments); close (a close code, 0 hangs up) with reason
  POST /sim/faults     trouble to come; DELETE ends all of it
    curl $API/sim/faults -d '{"on":"GET messages","status":503,"count":3}'
    curl $API/sim/faults -d '{"on":"*","delay":"2s","for":"60s"}'
    curl $API/sim/faults -d '{"on":"POST delete","drop":"after","count":1}'
    on: "POST login" "POST devices" "GET messages" "POST delete"
    "POST acknowledge" "GET icon" "GET sound" "stream" (the handshake)
    "POST messages" "GET receipt" "POST cancel" "POST cancel_by_tag"
    "POST validate" "GET sounds" "GET limits" "unknown" "*"
    drop: before or after acting; half (half of the answer, then closed);
    stall (half, then silence)
    also: body, content_type, retry_after, act (act although status is given),
    pad_to (bytes, filled with blanks), skip (requests that pass first)
  POST /sim/accounts   {"email":"a@example.org","password":"p","twofa":true}
  POST /sim/groups     {"emails":["a@example.org"]} -> {"group_key"}
  POST /sim/devices    {"name":"nas-1","disabled":true} or {"name","remove":true}
  POST /sim/settings   licensed, keepalive (bool), order (ascending, descending,
                       shuffled), page_size, omit_strings, loose_ids (ascending
                       from second to second only), error_shape (list, object),
                       quiet_hours (bool), retry_mode (signal, message), revoke (a secret)
  GET  /sim/state      devices with their queues, receipts, counts of requests
  GET  /sim/violations what clients did against the rules of the service:
    [] or [{"rule","detail","at"}]; DELETE clears it. Rules: connections,
    repeated-rejected-request, early-retry, rate-limit-ignored, user-agent,
    delete-undelivered, reconnect-after-error, reconnect-after-takeover,
    polling, repeated-password

A current TOTP code: oathtool --totp -b TOTP_SECRET. Each code works once.
`
