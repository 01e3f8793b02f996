"""What the tests' servers on loopback share: reading a request's JSON, answering with JSON, and silence."""

import json
from http.server import BaseHTTPRequestHandler


class JsonHandler(BaseHTTPRequestHandler):
    """A handler that reads and writes JSON; `wait` is the time after which clients are to try again, in ms."""

    protocol_version = "HTTP/1.1"
    wait = 5

    def asked(self):
        """Return the bytes of the request's body."""
        return self.rfile.read(int(self.headers["Content-Length"]))

    def head(self, status, length):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        self.send_header("retry-after-ms", str(self.wait))
        self.end_headers()

    def answer(self, status, data):
        """Send a body: bytes as they are, anything else as JSON."""
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.head(status, len(data))
        self.wfile.write(data)

    def log_message(self, *args):
        """Keep the test's output clean."""
