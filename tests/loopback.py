"""The tests' servers on loopback: the rehearsal's handler, which also says how soon clients are to try again."""

from omnirepro.kit.rehearsal import servers


class JsonHandler(servers.JsonHandler):
    """A handler that reads and writes JSON; `wait` is the time after which clients are to try again, in ms."""

    wait = 5

    def end_headers(self):
        self.send_header("retry-after-ms", str(self.wait))
        super().end_headers()
