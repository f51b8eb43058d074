import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import markdown


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(markdown.markdown("# poetry-app v1").encode())


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", 8080))), Handler).serve_forever()
