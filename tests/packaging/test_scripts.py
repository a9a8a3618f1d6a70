"""
The scripts below C{.ci}, on machines of all sorts: fakes of the programs they call stand first
on PATH and write down how they were called.
"""

from __future__ import annotations

import os
from pathlib import Path
from subprocess import CompletedProcess

from twisted.trial.unittest import SynchronousTestCase

from tests.packaging.checkout import ROOT, run


class Machine:
    """A machine whose programs are fakes."""

    #: What the scripts need of a real machine.
    TOOLS = ("bash", "cat", "chmod", "dirname", "env", "ls", "rm", "sed", "sh", "tee", "true")

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory).absolute()
        self.programs = self.directory / "bin"
        self.programs.mkdir(parents=True)
        self.log = self.directory / "calls"
        self.log.touch()
        self.policy = self.directory / "policy-rc.d"
        for tool in self.TOOLS:
            real = next(
                Path(place, tool)
                for place in os.environ["PATH"].split(os.pathsep)
                if Path(place, tool).exists()
            )
            (self.programs / tool).symlink_to(real)

    def program(self, name: str, body: str = "") -> None:
        """Add a program; what it is called with is written down."""
        path = self.programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.log}"\n{body}\n')
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """What was called so far, a line each."""
        return self.log.read_text().splitlines()

    def run(self, script: str, *args: str, text: str = "") -> CompletedProcess[str]:
        """Run one of our scripts on this machine."""
        return run(
            ROOT / ".ci" / script,
            *args,
            cwd=self.directory,
            env={"PATH": str(self.programs), "POLICY_RC_D": str(self.policy)},
            text=text,
        )


class DebianTests(SynchronousTestCase):
    """C{.ci/debian} installs what is missing and nothing else."""

    def machine(self, *installed: str, user: int = 0, known: str = "*") -> Machine:
        """A Debian with some packages, and a shell pattern for those it could install."""
        machine = Machine(self.mktemp())
        machine.program("id", f"echo {user}")
        names = "|".join(installed) or "nothing"
        machine.program("dpkg-query", f'case "$3" in {names}) printf installed;; *) exit 1;; esac')
        machine.program("apt-cache", f'case "$3" in {known}) echo Package: it;; esac')
        machine.program("apt-get", f'cat "{machine.policy}" 2>/dev/null; exit 0')
        machine.program("dpkg", "echo /usr/lib/systemd/system/it.service")
        return machine

    def asked(self, machine: Machine) -> list[str]:
        """The words of the calls of apt-get that matter: the subcommand, and the packages."""
        options = ("-", "DPkg::", "Acquire::")
        return [
            " ".join(word for word in call.split()[1:] if not word.startswith(options))
            for call in machine.calls
            if call.startswith("apt-get ")
        ]

    def test_nothingMissing(self) -> None:
        """Where all is there apt-get is not even asked, nor is sudo."""
        machine = self.machine("curl", "chromium-browser", user=1000)
        machine.program("sudo")
        said = machine.run(
            "debian", text="# a comment\n\ncurl  # one\nchromium | chromium-browser\n"
        )
        self.assertEqual((said.returncode, self.asked(machine)), (0, []), said.stderr)
        self.assertFalse([call for call in machine.calls if call.startswith("sudo")])

    def test_missing(self) -> None:
        """What is missing is installed, after one update."""
        machine = self.machine("curl")
        said = machine.run("debian", text="curl\ngit\nmicrosocks\n")
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertEqual(self.asked(machine), ["update", "install git microsocks"])

    def test_alternatives(self) -> None:
        """Of alternatives the first is taken that the release has."""
        machine = self.machine(known="chromium-browser")
        said = machine.run("debian", text="chromium | chromium-browser\n")
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertEqual(self.asked(machine), ["update", "install chromium-browser"])

    def test_sudo(self) -> None:
        """Who is not root takes sudo for it, without a question where nobody can answer."""
        machine = self.machine(user=1000)
        machine.program("sudo", '[ "$1" = --non-interactive ] && shift; exec "$@"')
        said = machine.run("debian", text="git\n")
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertEqual(self.asked(machine), ["update", "install git"])
        self.assertIn("sudo --non-interactive true", machine.calls)

    def test_noRoot(self) -> None:
        """Without root and sudo one line says what to install, and it is a failure."""
        machine = self.machine(user=1000)
        said = machine.run("debian", text="git\nchromium | chromium-browser\n")
        self.assertEqual((said.returncode, self.asked(machine)), (1, []))
        self.assertEqual(len(said.stderr.splitlines()), 1)
        self.assertIn("apt-get install git chromium\n", said.stderr)

    def test_noDebian(self) -> None:
        """Elsewhere one line names the packages; a missing program fails its test later."""
        machine = Machine(self.mktemp())
        said = machine.run("debian", text="git\n")
        self.assertEqual((said.returncode, len(said.stderr.splitlines())), (0, 1))
        self.assertIn("git", said.stderr)

    def test_failure(self) -> None:
        """What apt-get cannot install is a failure."""
        machine = self.machine()
        machine.program("apt-get", '[ "$7" = update ]')
        said = machine.run("debian", text="git\n")
        self.assertNotEqual(said.returncode, 0)

    def test_noUpdate(self) -> None:
        """A package source that is out of reach alone is none."""
        machine = self.machine()
        machine.program("apt-get", '[ "$7" = install ]')
        said = machine.run("debian", text="git\n")
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertIn("apt-get update failed", said.stderr)

    def test_noServices(self) -> None:
        """While it installs, services may not start; afterwards the machine is as it was."""
        machine = self.machine()
        said = machine.run("debian", text="dante-server\n")
        self.assertIn("exit 101", said.stdout)
        self.assertFalse(machine.policy.exists())

    def test_policyOfTheirs(self) -> None:
        """A policy on services that is there stays."""
        machine = self.machine()
        machine.policy.write_text("theirs")
        machine.run("debian", text="dante-server\n")
        self.assertEqual(machine.policy.read_text(), "theirs")

    def test_notAtBoot(self) -> None:
        """The services of new packages do not start at the next boot either."""
        machine = self.machine()
        machine.program("systemctl")
        machine.run("debian", text="dante-server\n")
        self.assertIn("systemctl --quiet disable it.service", machine.calls)


class EnvironmentTests(SynchronousTestCase):
    """C{.ci/venv} makes an environment, or says in one line why not."""

    def machine(self, release: str = "3.12", *, complete: bool = True) -> Machine:
        """A machine with a Python of some release, with or without ensurepip."""
        machine = Machine(self.mktemp())
        new = "0" if tuple(map(int, release.split("."))) >= (3, 10) else "1"
        machine.program(
            "python3",
            f"""case "$*" in
                *print*) echo {release};;
                *exit*) exit {new};;
                *ensurepip*) exit {0 if complete else 1};;
            esac""",
        )
        return machine

    def made(self, machine: Machine) -> list[str]:
        """The calls that make an environment."""
        return [call for call in machine.calls if "-m venv" in call]

    def test_made(self) -> None:
        """Where there is none it is made."""
        machine = self.machine()
        said = machine.run("venv", "python3", "env")
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertEqual(self.made(machine), ["python3 -m venv --clear env"])

    def existing(self, machine: Machine, release: str) -> None:
        """An environment that works is there."""
        programs = machine.directory / "env" / "bin"
        programs.mkdir(parents=True)
        (programs.parent / "pyvenv.cfg").touch()
        for name in ("python", "pip"):
            (programs / name).write_text(f"#!/bin/sh\necho {release}\n")
            (programs / name).chmod(0o755)

    def test_kept(self) -> None:
        """One that works is left as it is, whatever Python python3 is by now."""
        machine = self.machine("3.12")
        self.existing(machine, "3.11")
        self.assertEqual(machine.run("venv", "python3", "env").returncode, 0)
        self.assertEqual(self.made(machine), [])

    def test_asked(self) -> None:
        """Another Python that is asked for by name replaces it; the same does not."""
        machine = self.machine("3.12")
        self.existing(machine, "3.12")
        machine.run("venv", "python3", "env", "asked")
        self.assertEqual(self.made(machine), [])
        self.existing(machine := self.machine("3.12"), "3.11")
        machine.run("venv", "python3", "env", "asked")
        self.assertEqual(len(self.made(machine)), 1)

    def test_broken(self) -> None:
        """One whose Python is gone is made anew."""
        machine = self.machine()
        self.existing(machine, "3.11")
        (machine.directory / "env" / "bin" / "python").write_text("#!/bin/sh\nexit 127\n")
        machine.run("venv", "python3", "env")
        self.assertEqual(len(self.made(machine)), 1)

    def test_notOurs(self) -> None:
        """A directory with something else in it is left alone."""
        machine = self.machine()
        (machine.directory / "env").mkdir()
        (machine.directory / "env" / "letters").touch()
        said = machine.run("venv", "python3", "env")
        self.assertEqual((said.returncode, len(said.stderr.splitlines())), (1, 1), said.stderr)
        self.assertEqual(self.made(machine), [])

    def test_tooOld(self) -> None:
        """A Python that is too old is refused in one line."""
        said = self.machine("3.9").run("venv", "python3", "env")
        self.assertEqual((said.returncode, len(said.stderr.splitlines())), (1, 1), said.stderr)
        self.assertIn("3.9", said.stderr)

    def test_noSuchPython(self) -> None:
        """So is one that is not there."""
        said = self.machine().run("venv", "python4", "env", "asked")
        self.assertEqual((said.returncode, len(said.stderr.splitlines())), (1, 1), said.stderr)
        self.assertIn("python4", said.stderr)

    def test_noEnsurepip(self) -> None:
        """On Debian the package with the modules is installed; elsewhere a line names them."""
        machine = self.machine(complete=False)
        said = machine.run("venv", "python3", "env")
        self.assertEqual(said.returncode, 1)
        self.assertIn("python3.12-venv", said.stderr)

        machine = self.machine(complete=False)
        machine.program("id", "echo 0")
        machine.program("dpkg-query", "exit 1")
        machine.program("apt-cache", "echo Package: it")
        machine.program("apt-get")
        machine.run("venv", "python3", "env")
        self.assertTrue(
            any("install" in call and "python3.12-venv" in call for call in machine.calls)
        )
