"""Endings of files that may hold sound: which files of a folder are worth opening.

What is in a file decides how it is read, not its ending. Listed is what libsndfile or the FFmpeg
libraries of PyAV can read; formats without any header (raw samples) are not, since their rate
cannot be known.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_VIDEO = """
    .3g2 .3gp .asf .avi .divx .dv .f4v .flv .gxf .m2t .m2ts .m4v .mk3d .mkv .mov .mp4 .mpeg .mpg
    .mts .mxf .nut .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv .wtv
"""
_SOUND = """
    .8svx .aa3 .aac .ac3 .adts .adx .aif .aifc .aiff .amr .ape .ast .au .avr .awb .bw64 .bwf .caf
    .dff .dsf .dts .dtshd .eac3 .ec3 .f4a .flac .gsm .iff .ircam .isma .latm .loas .m1a .m2a .m4a
    .m4b .m4r .mka .mlp .mmf .mp+ .mp1 .mp2 .mp3 .mpa .mpc .mpga .nist .oga .ogg .ogx .oma .opus
    .paf .pvf .qcp .ra .rf64 .sds .shn .snd .sox .sph .spx .svx .tak .thd .truehd .tta .voc .w64
    .wav .wave .weba .wma .wv .wve
"""
#: Films: files that are expected to hold pictures, and mostly a sound track.
VIDEO_SUFFIXES = frozenset(_VIDEO.split())
#: All that may hold sound.
AUDIO_SUFFIXES = VIDEO_SUFFIXES | frozenset(_SOUND.split())

#: So much of a file is looked at where its ending is not enough.
HEAD_BYTES = 2048
#: Sizes of the packets of an MPEG transport stream: plain, with time codes, with error correction.
TS_PACKET_BYTES = (188, 192, 204)
#: So many packets in a row must begin with TS_SYNC.
TS_PACKETS = 5
TS_SYNC = 0x47
#: How DTS begins: its sync word in 16 and 14 bits and both byte orders, DTS-HD, DTS in a WAV file.
DTS_MAGIC = (
    b"\x7f\xfe\x80\x01",
    b"\xfe\x7f\x01\x80",
    b"\x1f\xff\xe8\x00",
    b"\xff\x1f\x00\xe8",
    b"\x64\x58\x20\x25",
    b"DTSHDHDR",
    b"RIFF",
)


def may_hold_sound(path: str | os.PathLike[str]) -> bool:
    """Whether a file is worth opening: by its ending, in upper or lower case.

    Of endings that mostly mean something else (.ts and .mts are TypeScript, too, .dts describes
    devices, .iff holds pictures), the first HEAD_BYTES decide. A file that cannot be read may hold
    sound: reading it says what is wrong. path: of a regular file.
    """
    suffix = os.path.splitext(path)[1].lower()
    begins_so = AMBIGUOUS_SUFFIXES.get(suffix)
    if begins_so is None:
        return suffix in AUDIO_SUFFIXES
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return True
    return begins_so(head)


def _is_transport_stream(head: bytes) -> bool:
    """Whether these bytes begin or go on with packets of an MPEG transport stream."""
    return (
        b"\0" in head
        and any(  # lines of one length repeat, too
            set(head[first : first + size * TS_PACKETS : size]) == {TS_SYNC}
            and len(head) > first + size * (TS_PACKETS - 1)
            for size in TS_PACKET_BYTES
            for first in range(size)
        )
    )


def _is_dts(head: bytes) -> bool:
    return head.startswith(DTS_MAGIC)


def _is_iff_sound(head: bytes) -> bool:
    return head.startswith(b"FORM") and head[8:12] in (b"8SVX", b"16SV", b"AIFF", b"AIFC")


#: Endings that mostly mean something else, with what tells sound from it by its first bytes.
AMBIGUOUS_SUFFIXES: dict[str, Callable[[bytes], bool]] = {
    ".ts": _is_transport_stream,
    ".mts": _is_transport_stream,
    ".dts": _is_dts,
    ".iff": _is_iff_sound,
}

_FORMS = {
    "mp3": ".mp3 .mp2 .mp1 .mpa .mpga .m1a .m2a",
    "aac": ".aac .adts",
    "ac3": ".ac3",
    "eac3": ".eac3 .ec3",
    "dts": ".dts",
    "loas": ".latm .loas",
    "mlp": ".mlp",
    "truehd": ".thd .truehd",
    "shn": ".shn",
    "mpeg": ".mpeg .mpg .vob",
    "mpegts": ".m2t .m2ts .mts .ts",
}
#: FFmpeg's names of formats that may begin anywhere, by ending: for files that it does not know by
#: how they begin.
FORM_OF_SUFFIX = {suffix: form for form, row in _FORMS.items() for suffix in row.split()}
