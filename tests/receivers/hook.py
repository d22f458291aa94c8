"""An HTTP receiver that fails on purpose: hook.py PORT_FILE LOG FAILURES REFUSED_ID [PORT]

The first FAILURES requests get 503; the event REFUSED_ID gets 400, always; the others 200 and one
JSON line with headers and body in LOG.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

port_file, log, failures, refused = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]


class Receiver(BaseHTTPRequestHandler):
    left = failures

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        code = 200
        if Receiver.left > 0:
            Receiver.left -= 1
            code = 503
        elif self.headers["X-Shadowtap-Event"] == refused:
            code = 400
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            line = json.dumps({"headers": headers, "body": body}) + "\n"
            # One write, before the answer: whoever is killed here has all of it, or did not say so.
            with open(log, "ab", buffering=0) as out:
                out.write(line.encode())
        self.send_response(code)
        if code == 503:
            self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", int(sys.argv[5]) if len(sys.argv) > 5 else 0), Receiver)
with open(port_file + ".new", "w") as out:
    out.write(str(server.server_port))
os.rename(port_file + ".new", port_file)
server.serve_forever()
