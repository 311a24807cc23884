# rank 0 serves a model in a thread | ranks 2 | gloo
import http.server, urllib.request
torch.set_num_threads(1)
class Reward(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        until, x = time.monotonic() + 4, torch.ones(64, 64)
        while time.monotonic() < until:
            x = torch.tanh(x @ x.T / 64)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"1")
    def log_message(self, *_):
        pass
port = [0]
if RANK == 0:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Reward)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port[0] = server.server_address[1]
dist.broadcast_object_list(port)
while RANK == 1 and left():
    urllib.request.urlopen(f"http://127.0.0.1:{port[0]}/").read()
dist.barrier()
