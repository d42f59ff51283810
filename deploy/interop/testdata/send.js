// Sends messages by pushover-notifications. Arguments: host, port, token, user.
import Push from "pushover-notifications";

const [host, port, token, user] = process.argv.slice(2);
const sender = new Push({ token, user, httpOptions: { proxy: `http://${host}`, hostname: host, port } });

function send(message) {
  return new Promise((resolve, reject) => {
    sender.send(message, (err, body) => (err || JSON.parse(body).status !== 1 ? reject(err ?? body) : resolve()));
  });
}

await send({ message: "pump failed" });
await send({ message: "pump failed", title: "Cellar", url: "https://example.org", url_title: "open" });
await send({ message: "pump failed", priority: 2, retry: 30, expire: 60 });
