"""The safetensors header: 8 bytes of length, then JSON that gives every tensor's type, shape and place.

Format: https://huggingface.co/docs/safetensors. A header comes from strangers, so it is never built as one JSON
value: memory is bounded by the number of tensors that fit in its length. `columns` reads a header as the library
writes it, all at once. `scan` reads any other entry by entry, and reports what is wrong.
"""

from __future__ import annotations

from functools import partial
from threading import Lock

from accel_estimate.errors import CorruptFileError
from accel_estimate.formats import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.formats.tensors import Listing
    from accel_estimate.sources.source import Source

# The Hub's own client refuses headers above this (huggingface_hub.constants.SAFETENSORS_MAX_HEADER_LENGTH).
MAX_HEADER = 25_000_000
_PREFIX = 8
_ONE_AT_A_TIME = Lock()
"""Headers are fetched at once, but read one after the other: that takes several times their memory."""


def read(source: Source) -> Listing:
    """Return the tensors of one safetensors file, in the order of their bytes.

    Raises:
        CorruptFileError: the header has a wrong length, isn't such JSON, names a tensor twice, or has offsets that
            overlap, leave holes, don't match type and shape, or don't end where the file ends.

    """
    prefix = source.read(0, _PREFIX)
    if len(prefix) < _PREFIX:
        raise CorruptFileError(f"{source.name}: {len(prefix)} bytes are too short for a safetensors file")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER:
        raise CorruptFileError(
            f"{source.name}: claims a header of {length:,} bytes, more than the {MAX_HEADER:,} that are accepted; "
            "this is probably not a safetensors file"
        )
    if 8 + length > source.size:
        raise CorruptFileError(
            f"{source.name}: claims a header of {length:,} bytes, but the whole file has {source.size:,}"
        )
    read_header = partial(source.read, _PREFIX, _PREFIX + length)
    header = read_header()
    if len(header) < length:
        raise CorruptFileError(f"{source.name}: ends inside its header")
    data = source.size - 8 - length
    with _ONE_AT_A_TIME:
        listing = columns.cut(header, data, read_header)
        if listing is None:
            from accel_estimate.formats import scan

            listing = scan.scanned(header, data, source.name)
    return listing
