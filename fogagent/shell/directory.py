"""The relay directory as it comes: judged before it is used, kept for the next start."""

from __future__ import annotations

import asyncio
import logging
import time

from fogagent.events import DirectoryAccepted, DirectoryRefused
from fogagent.instructions import JudgeDirectory, KeepDirectory
from fogagent.overlay.directory import BadDirectory, Changes, Directory, judge
from fogagent.overlay.directory_file import DirectoryFile
from fogagent.shell.wiring import Feed, Spawn

log = logging.getLogger("fogagent")


class DirectoryKeeper:
    """With thousands of relays a directory takes long to judge, and a disk may be slow: both in threads."""

    def __init__(self, file: DirectoryFile, panel_key: bytes, *, feed: Feed, spawn: Spawn) -> None:
        self._file, self._panel_key = file, panel_key
        self._feed, self._spawn = feed, spawn

    def kept(self) -> Directory | None:
        """What an earlier start of the agent has kept, if it can be used. Reads the disk at once."""
        try:
            return self._file.read()
        except (BadDirectory, OSError) as error:
            log.warning("The relay directory that was kept cannot be used: %s", error)
            return None

    def judge(self, instruction: JudgeDirectory) -> None:
        self._spawn(self._judge(instruction))

    async def _judge(self, instruction: JudgeDirectory) -> None:
        given = instruction.held, instruction.encoded, self._panel_key, time.time()
        try:
            directory, whole = await asyncio.to_thread(judge, *given)
        except BadDirectory as error:
            self._feed(DirectoryRefused(error))
        else:
            self._feed(DirectoryAccepted(directory, whole))

    def keep(self, instruction: KeepDirectory) -> None:
        self._spawn(self._write(instruction.whole))

    async def _write(self, whole: Changes) -> None:
        try:
            await asyncio.to_thread(self._file.write, whole)
        except OSError as error:
            log.warning("The relay directory cannot be kept: %s.", error)
