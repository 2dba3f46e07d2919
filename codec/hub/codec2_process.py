"""Decodes Codec 2 in processes of their own: its phases of unvoiced speech come from one generator per process.

Run as a script, without PyTorch: it forks for each clip, so that each draws from the generator's start, and the audio
depends on the packets alone. A request is `HEADER` and the packets, an answer int16 samples.
"""

import atexit
import os
import struct
import subprocess
import sys
from functools import lru_cache

HEADER = struct.Struct("<III")  # mode, packets, bytes of a packet
ANSWER = struct.Struct("<I")  # bytes of samples; 0 for a failure


def decode_clip(mode: int, packets: list[bytes]) -> bytes:
    """Samples of one clip's packets, int16, by a decoder whose random numbers start anew."""
    process = _server(os.getpid())
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(HEADER.pack(mode, len(packets), len(packets[0])) + b"".join(packets))
    process.stdin.flush()
    (size,) = ANSWER.unpack(process.stdout.read(ANSWER.size) or ANSWER.pack(0))
    if size == 0:
        raise RuntimeError(f"Codec 2's decoder ended on {len(packets)} packets of mode {mode}.")
    return process.stdout.read(size)


@lru_cache(maxsize=1)
def _server(parent: int) -> "subprocess.Popen[bytes]":
    """The process that forks, one for each process that decodes; it ends with its parent."""
    command = [sys.executable, "-P", __file__]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def end() -> None:
        if os.getpid() == parent and process.stdin is not None and process.stdout is not None:
            process.kill()  # it is idle, and would not see the pipe end while a fork of this process holds it
            process.wait()
            process.stdin.close()
            process.stdout.close()

    atexit.register(end)
    return process


def _serve() -> None:
    """Answer requests until the parent closes the pipe."""
    import pycodec2

    while header := sys.stdin.buffer.read(HEADER.size):
        mode, count, size = HEADER.unpack(header)
        data = sys.stdin.buffer.read(count * size)
        child = os.fork()
        if child == 0:
            decoder = pycodec2.Codec2(mode)
            audio = b"".join(decoder.decode(data[i : i + size]).tobytes() for i in range(0, len(data), size))
            sys.stdout.buffer.write(ANSWER.pack(len(audio)) + audio)
            sys.stdout.buffer.flush()
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            sys.stdout.buffer.write(ANSWER.pack(0))
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
