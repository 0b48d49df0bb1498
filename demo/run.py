"""The main job, end to end, on a private lab: what `make demo` runs. Every command is shown before it runs."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STACK = "stacks/demo"
MEMORY_FLEET = """\
fleet: demo
hosts:
  hv1: {libvirt: "memory:///WORLD", availability_zone: rack-a}
  hv2: {libvirt: "memory:///WORLD", availability_zone: rack-b}
  hv3: {libvirt: "memory:///WORLD", availability_zone: rack-a}
images:
  lab: {kernel: {source: kernel}, ramdisk: {source: ramdisk}}
  lab-disk: {source: disk.img, format: raw}
"""


class Failed(Exception):
    """A command did not do what the demo says it does."""


def run(words: str, *extra: str, status: int = 0, show: bool = True) -> str:
    """Runs ``stacksmith WORDS`` and returns its stdout. Raises: Failed when the exit status is another."""
    argv = [str(Path(sys.executable).parent / "stacksmith"), *shlex.split(words), *extra]
    print(f"\n$ stacksmith {words} {shlex.join(extra)}".rstrip(), flush=True)
    said = []
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if show:
                print(line, end="", flush=True)
    if process.returncode != status:
        raise Failed(f"stacksmith {words}: exit status {process.returncode}, expected {status}")
    return "".join(said)


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def guests_speak(lab: Path, seconds: float = 300) -> None:
    """Waits until every guest's serial console has said that it is ready; shows what it found on its config drive.

    Raises: Failed when one does not in time.
    """
    deadline = time.monotonic() + seconds
    wanted = {"demo-web-0", "demo-web-1", "demo-web-2", "demo-db", "demo-tools"}
    logs: dict[str, str] = {}
    while time.monotonic() < deadline and set(logs) != wanted:
        for path in lab.rglob("*-serial.log"):
            name, text = path.name.removesuffix("-serial.log"), path.read_text(errors="replace")
            if "STACKSMITH-READY" in text:
                logs[name] = text
        time.sleep(0.5)
    for name, text in sorted(logs.items()):
        lines = re.findall(r"(?m)^(STACKSMITH-(?:HOSTNAME|FORMAT|ADDRESS|META).*|hello from.*|database on.*)$", text)
        print(f"{name}:", *(f"    {line.strip()}" for line in lines), sep="\n", flush=True)
    if set(logs) != wanted:
        raise Failed(f"not ready in {seconds:.0f} s: {', '.join(sorted(wanted - set(logs)))}")


def on_lab(lab: Path) -> None:
    """The demo on three real libvirtd hosts."""
    fleet = ("--fleet", str(lab / "fleet.yaml"))
    say("A private fleet: three libvirtd hosts in namespaces of their own")
    run(f"lab up --hosts 3 {lab}")
    run(f"hosts {STACK}", *fleet)
    say("What is wanted, and what that means")
    run(f"validate {STACK}", *fleet)
    run(f"plan {STACK}", *fleet)
    say("Make it so")
    run(f"apply --yes {STACK}", *fleet)
    say("The guests boot and read their config drives")
    guests_speak(lab)
    say("Applied again, nothing is left to do")
    out = run(f"plan {STACK} --detailed-exitcode", *fleet)
    if "No changes." not in out:
        raise Failed("the second plan is not empty")
    say("Somebody turns a server off by hand; cron would see it")
    host = run(f"output db_host {STACK}", *fleet, show=False).strip()
    run(f"lab exec {lab} {host} -- virsh -q destroy demo-db")
    run(f"drift {STACK}", *fleet, status=2)
    run(f"apply --yes {STACK}", *fleet)
    say("The stack changes: a web server less, and a second vCPU, live, where the flavor allows it")
    run(f"plan {STACK} --var web_count=2 --var small_vcpus=2", *fleet)
    run(f"apply --yes {STACK} --var web_count=2 --var small_vcpus=2 --allow replace", *fleet)
    say("All of it goes away")
    run(f"destroy --yes {STACK}", *fleet)


def on_memory() -> None:
    """The same on the memory provider, whose hosts are a file."""
    with tempfile.TemporaryDirectory(prefix="stacksmith-demo-") as name:
        folder = Path(name)
        for file in ("kernel", "ramdisk", "disk.img"):
            (folder / file).write_bytes(file.encode())
        (folder / "fleet.yaml").write_text(MEMORY_FLEET.replace("/WORLD", str(folder / "world.json")))
        fleet = ("--fleet", str(folder / "fleet.yaml"))
        run(f"validate {STACK}", *fleet)
        run(f"plan {STACK}", *fleet)
        run(f"apply --yes {STACK}", *fleet)
        run(f"plan {STACK} --detailed-exitcode", *fleet)
        run(f"apply --yes {STACK} --var web_count=2 --allow replace", *fleet)
        run(f"destroy --yes {STACK}", *fleet)


def main() -> int:
    from stacksmith import lab as library

    capability = library.capability()
    if capability.mode == "none" or "--memory" in sys.argv:
        say(f"No private hosts here ({capability.reason}): the demo runs on the memory provider.")
        on_memory()
        return 0
    lab = Path(os.environ.get("STACKSMITH_DEMO_DIR") or tempfile.mkdtemp(prefix="stacksmith-demo-"))
    try:
        on_lab(lab)
    finally:
        run(f"lab down {lab}")
    say("Done: nothing of the lab is left.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failure:
        sys.exit(f"demo: {failure}")
