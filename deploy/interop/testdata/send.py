"""Sends messages by senders in Python. Arguments: sender, API URL, token, user, key."""

import sys

sender, api, token, user, key = sys.argv[1:]

if sender == "apprise":
    from apprise import NotifyType
    from apprise.plugins.pushover import NotifyPushover

    NotifyPushover.notify_url = api + "/1/messages.json"
    plugin = NotifyPushover(user_key=user, token=token, encryption_key=key or None)
    sent = plugin.notify(body="pump failed", title="Cellar", notify_type=NotifyType.INFO)
    sent = sent and plugin.notify(body="pump failed", notify_type=NotifyType.INFO)
else:
    import pushover_complete
    from pushover_complete import pushover_api

    pushover_api.PUSHOVER_API_URL = api + "/1/"
    client = pushover_complete.PushoverAPI(token)
    client.send_message(user, "pump failed", title="Cellar", url="https://example.org", url_title="open")
    sent = client.send_message(user, "pump failed", priority=2, retry=30, expire=60).get("receipt")

sys.exit(0 if sent else 1)
