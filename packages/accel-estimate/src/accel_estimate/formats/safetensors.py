"""The safetensors header: 8 bytes of length, then JSON that gives every tensor's type, shape and place.

Format: https://huggingface.co/docs/safetensors. A header comes from strangers, so it is never built as one JSON
value: what is kept is bounded by the number of tensors that fit in its length. One without surprises is read by
`columns` at once, any other entry by entry by `scan`, which says what is wrong.
"""

from functools import partial

from accel_estimate.errors import CorruptFileError
from accel_estimate.formats import columns
from accel_estimate.source import Source
from accel_estimate.tensors import Listing

# The Hub's own client refuses headers above this (huggingface_hub.constants.SAFETENSORS_MAX_HEADER_LENGTH).
MAX_HEADER = 25_000_000
_PREFIX = 8


def read(source: Source) -> Listing:
    """Read the tensors of one safetensors file, in the order of their bytes.

    Raises:
        CorruptFileError: the header lies about its length, is no such JSON, names a tensor twice, or gives offsets
            that overlap, leave holes, do not match type and shape, or do not end where the file ends.

    """
    prefix = source.read(0, _PREFIX)
    if len(prefix) < _PREFIX:
        raise CorruptFileError(f"{source.name}: {len(prefix)} bytes long, too short to be a safetensors file.")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER:
        raise CorruptFileError(
            f"{source.name}: claims a header of {length:,} bytes; more than {MAX_HEADER:,} is "
            "refused, and this is probably not a safetensors file."
        )
    if 8 + length > source.size:
        raise CorruptFileError(
            f"{source.name}: claims a header of {length:,} bytes, but the whole file has {source.size:,}."
        )
    read_header = partial(source.read, _PREFIX, _PREFIX + length)
    header = read_header()
    if len(header) < length:
        raise CorruptFileError(f"{source.name}: ended inside its header.")
    data = source.size - 8 - length
    listing = columns.cut(header, data, read_header)
    if listing is None:
        from accel_estimate.formats import scan  # most headers need none of it

        listing = scan.scanned(header, data, source.name)
    return listing
