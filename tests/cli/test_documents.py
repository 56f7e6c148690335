#!/usr/bin/env python3
"""Are the commands that README.md and docs/ show true? Each `$ orrery ...` line there is run and must do what it says.

A line may end in `# exit N` when it shows a refusal. Commands that need files of the reader's own are not written with
a `$ `.
"""
import re
import shlex

from harness import ROOT, Case, main

COMMAND = re.compile(r"^\$ (orrery .*?)(?:\s+# exit (\d+))?$")


class Documents(Case):
    def check(self, document):
        found = 0
        for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
            match = COMMAND.match(line)
            if not match:
                continue
            found += 1
            with self.subTest(line=f"{document.name}:{number}", command=match[1]):
                run = self.run_orrery(*shlex.split(match[1])[1:])
                self.assertEqual(run.returncode, int(match[2] or 0), run.stdout + run.stderr)
        return found

    def setUp(self):
        super().setUp()
        (self.folder / "traces").symlink_to(ROOT / "traces")

    def test_are_the_commands_of_the_readme_true(self):
        self.assertGreater(self.check(ROOT / "README.md"), 2)

    def test_are_the_commands_of_the_docs_true(self):
        for document in sorted((ROOT / "docs").rglob("*.md")):
            self.check(document)

    def test_do_the_relative_links_lead_somewhere(self):
        documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
        for document in documents:
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
                if not re.match(r"[a-z]+:", target):
                    self.assertTrue((document.parent / target).exists(), f"{document.name}: {target}")

    def test_do_the_files_that_contributing_names_exist(self):
        text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        for path in set(re.findall(r"`((?:sim|models|hwprofiles|calibration|tests|tools|traces|kernels)/[\w./-]+)`", text)):
            self.assertTrue((ROOT / path).exists(), path)


if __name__ == "__main__":
    main()
