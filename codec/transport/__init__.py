"""From codes to a link: the bitstream of files and packets, its reading and writing, and the commands around them."""

from codec.transport.header import Layout, StreamHeader
from codec.transport.packets import Packet
from codec.transport.reading import StreamReader
from codec.transport.receiving import StreamDecoder
from codec.transport.writing import StreamWriter

__all__ = ["Layout", "Packet", "StreamDecoder", "StreamHeader", "StreamReader", "StreamWriter"]
