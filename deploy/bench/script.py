"""What one would write instead: every message to a stream, then deleted at the service."""
import asyncio
import json
import os
import threading

import nats
import requests
import websocket

API, SECRET, DEVICE = os.environ["API_URL"] + "/1/", os.environ["SECRET"], os.environ["DEVICE"]
http = requests.Session()
http.headers["User-Agent"] = "script/1"


async def drain(js):
    while True:
        answer = http.get(API + "messages.json", params={"secret": SECRET, "device_id": DEVICE}).json()
        if not answer["messages"]:
            return
        for message in answer["messages"]:
            await js.publish("pushover.messages.script", json.dumps(message).encode())
        last = max(message["id"] for message in answer["messages"])
        http.post(API + f"devices/{DEVICE}/update_highest_message.json", data={"secret": SECRET, "message": last})


async def main():
    js = (await nats.connect(os.environ["NATS_URL"])).jetstream()
    await js.add_stream(name="PUSHOVER", subjects=["pushover.>"])
    loop, wake = asyncio.get_running_loop(), asyncio.Event()

    def on_message(ws, frame):
        if frame in (b"!", "!"):
            loop.call_soon_threadsafe(wake.set)

    stream = websocket.WebSocketApp(os.environ["STREAM_URL"], on_message=on_message,
                                    on_open=lambda ws: ws.send(f"login:{DEVICE}:{SECRET}\n"))
    threading.Thread(target=lambda: stream.run_forever(reconnect=5), daemon=True).start()
    while True:
        await drain(js)
        await wake.wait()
        wake.clear()

asyncio.run(main())
