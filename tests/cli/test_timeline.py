#!/usr/bin/env python3
"""Can a viewer in a browser fetch a run's timeline from this machine, and nothing else?"""
import http.client
import re
import subprocess

from harness import BAD_INPUT, ORRERY, SMALL, Case, environment, main


class Open(Case):
    def test_is_the_trace_offered_until_it_was_fetched(self):
        self.succeed(*SMALL, "--out", "a", "--no-report")
        server = subprocess.Popen([str(ORRERY), "timeline", "open", "a", "--port", "0"], cwd=self.folder, env=environment(),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(server.kill)
        line = server.stdout.readline()
        self.assertIn("https://ui.perfetto.dev/#!/?url=http://127.0.0.1:", line)
        port = int(re.search(r"127\.0\.0\.1:(\d+)/timeline\.pftrace", line).group(1))

        def ask(method, path):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request(method, path)
            response = connection.getresponse()
            return response, response.read()

        for path in ("/", "/summary.json", "/../a/timeline.pftrace", "/timeline.pftracex"):
            self.assertEqual(ask("GET", path)[0].status, 404, path)
        response, _ = ask("OPTIONS", "/timeline.pftrace")
        self.assertEqual(response.getheader("Access-Control-Allow-Private-Network"), "true")
        response, body = ask("GET", "/timeline.pftrace")
        self.assertEqual(response.getheader("Access-Control-Allow-Origin"), "https://ui.perfetto.dev")
        self.assertEqual(body, (self.folder / "a/timeline.pftrace").read_bytes())
        self.assertEqual(server.wait(timeout=10), 0)
        server.stdout.close()
        server.stderr.close()

    def test_is_a_run_without_a_timeline_refused(self):
        self.succeed(*SMALL, "--out", "a", "--detail", "off", "--no-report")
        self.refuse(BAD_INPUT, "timeline", "open", "a", says=["timeline.pftrace", "--detail"])


if __name__ == "__main__":
    main()
