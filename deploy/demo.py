"""What deploy/demo starts once everything is built: plays deals in both directions, told as they happen.

Exit status 0 when all went as told, 1 when not, and 128 and the signal's number after Ctrl-C, SIGTERM or SIGHUP.
Whatever the end, everything that was started is stopped.
"""

from __future__ import annotations

import signal

# Blocked by deploy/demo until here, so that the first Ctrl-C is not Python's to answer.
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))

import os  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Callable  # noqa: E402
from datetime import datetime  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import NoReturn  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "deploy"), str(ROOT / "tests")]

from demonstration import from_crm, from_partner_center, keeping, latency, looking  # noqa: E402
from demonstration.running import Running, heading, say  # noqa: E402
from demonstration.telling import TIMELINE, TOTALS, psql, side_by_side  # noqa: E402
from support import interruption  # noqa: E402

SIGNAL_STATUS = 128


def play(running: Running) -> tuple[str, str]:
    """All scenarios; returns a deal that stays open."""
    referrals = from_partner_center.new_deals(running)
    from_partner_center.updates(running, referrals["microsoft-cosell"])
    from_partner_center.life(running, referrals)
    from_crm.private_deal(running)
    opportunity, referral = from_crm.cosell_deal(running)
    from_crm.edit(running, opportunity, referral)
    from_crm.both_at_once(running, opportunity, referral)
    from_crm.won(running, opportunity, referral)
    led = referrals["partner-led"]
    row = running.stack.opportunity_of(led)
    assert row is not None
    latency.play(running, led, row["opportunityid"])
    heading("the co-sell deal of scenario 5, side by side")
    side_by_side(running, opportunity, referral)
    heading("its audit (PostgreSQL, what was written, from tandem.deal_timeline)")
    psql(running, TIMELINE, [f"crm:{opportunity}", referral])
    heading("the whole audit, counted")
    psql(running, TOTALS)
    [(faults,)] = running.stack.audit("SELECT count(*) FROM verify_audit()")
    say(f"   hash chains verified: {faults} faults")
    return led, row["opportunityid"]


def run(on_start: Callable[[Path], None], on_played: Callable[[Running, str, str], None]) -> int:
    """The whole demo; returns the exit status."""
    # Not below a home directory: PostgreSQL's own user has to get there.
    folder = Path(tempfile.mkdtemp(prefix=keeping.FOLDER_PREFIX))
    folder.chmod(0o755)
    on_start(folder)
    running = Running(folder)
    status, has_failed = 1, False
    try:
        with interruption.raised():
            running.start()
            on_played(running, *play(running))
        status = 0
    except interruption.Interruption:
        tell("\n== interrupted; stopping everything")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:
        has_failed = True
        (folder / "failure.txt").write_text(traceback.format_exc())
        tell(f"\ndeploy/demo: failed: {error or type(error).__name__}")
        for ended in running.ended():
            tell(f"   {ended}")
        tell(f"   logs and the traceback stay in {folder}")
    finally:
        end(running)
    if not has_failed:
        shutil.rmtree(folder, ignore_errors=True)
    number = interruption.noted()
    return status if number is None else SIGNAL_STATUS + number


def tell(text: str) -> None:
    """Also when nobody reads any more."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def end(running: Running) -> None:
    try:
        running.close()
        tell("   everything stopped")
    except Exception as error:
        tell(f"deploy/demo: while stopping: {error}")


def play_and_stop() -> int:
    return run(lambda _folder: None, lambda *_played: heading("stopping"))


def keep() -> int:
    """A child of our own plays and then holds everything until it is told to stop; we end when it has played."""
    kept = keeping.Kept()
    if not kept.take():
        keeping.refuse(kept)
        return 1
    left = str(kept.read().get("folder", ""))
    if left and keeping.end_left(left):
        say(f"== ended what an earlier demo had left in {left}")
    kept.write()
    played, tell_played = os.pipe()
    with interruption.deferred():
        child = os.fork()
        if child == 0:
            os.close(played)
            os.setsid()
            hold(kept, tell_played)
        kept.forget()
        os.close(tell_played)
    try:
        with interruption.raised():
            if os.read(played, 1):
                return 0
    except interruption.Interruption:
        os.kill(child, signal.SIGTERM)
    _, waited = os.waitpid(child, 0)
    number = interruption.noted()
    return SIGNAL_STATUS + number if number else os.waitstatus_to_exitcode(waited) or 1


def hold(kept: keeping.Kept, tell_played: int) -> NoReturn:
    content = {"pid": os.getpid(), "since": datetime.now().astimezone().isoformat(timespec="seconds")}
    kept.write(**content)

    def on_start(folder: Path) -> None:
        content["folder"] = str(folder)
        kept.write(**content)

    def wait_for_the_end(running: Running, referral: str, opportunity: str) -> None:
        content["lines"] = looking.lines(running, referral, opportunity)
        kept.write(**content)
        heading("everything runs on; look around")
        say(str(content["lines"]))
        os.write(tell_played, b"k")
        os.close(tell_played)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        while True:
            signal.pause()

    status = 1
    try:
        status = run(on_start, wait_for_the_end)
    except Exception:
        traceback.print_exc()
    finally:
        kept.release()
        os._exit(status)


def main() -> int:
    interruption.install()
    return keep() if sys.argv[1:] == ["--keep"] else play_and_stop()


if __name__ == "__main__":
    sys.exit(main())
